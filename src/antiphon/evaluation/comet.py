"""COMET (Rei et al. 2020), a neural metric, computed in a separate Python environment.

    metrics: [{comet: {python: /path/to/comet-env/bin/python}}]      # or ANTIPHON_COMET_PYTHON in the environment

The package `unbabel-comet` cannot be installed in the environment of this toolkit (it needs numpy < 2). So another
Python interpreter runs comet_process.py, which reads the texts from standard input and writes the scores to standard
output, both as JSON. docs/comet.md explains how to create that environment. Scores are 100 times COMET's; for several
references of an answer, the mean of their scores.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from antiphon.errors import ConfigError, WorkError
from antiphon.evaluation.result import MetricResult, References, count_of, ratio
from antiphon.registry import register
from antiphon.settings import show

VARIABLE = "ANTIPHON_COMET_PYTHON"
MODEL = "Unbabel/wmt22-comet-da"
SCRIPT = Path(__file__).with_name("comet_process.py")

Item = tuple[str, str, str]  # source, answer, reference
_scores: dict[tuple[str, str], dict[Item, float]] = {}  # (python, model) -> scores, so that groups reuse them
_versions: dict[tuple[str, str], str] = {}
_checked: set[str] = set()  # interpreters that are known to have COMET


@register("metric", "comet")
def comet(
    hypotheses: Sequence[str],
    references: References,
    *,
    sources: Sequence[str],
    python: str | None = None,
    model: str = MODEL,
    batch_size: int = 16,
    reference_free: bool = False,
) -> MetricResult:
    """COMET of `model`, a name on the Hugging Face hub or a checkpoint's path, run by the interpreter `python`.

    `reference_free`: the model estimates quality from source and answer (COMET-QE, CometKiwi), so references are not
    sent to it.
    Raises ConfigError if there is no such environment, WorkError if the computation fails in it.
    """
    interpreter = check(python=python, model=model, batch_size=batch_size)
    place = (interpreter, model)
    known = _scores.setdefault(place, {})
    rows = [
        [(source, answer, "")] if reference_free else [(source, answer, reference) for reference in row]
        for source, answer, row in zip(sources, hypotheses, references, strict=True)
    ]
    if missing := list(dict.fromkeys(item for row in rows for item in row if item not in known)):
        found = _run(interpreter, {"model": model, "batch_size": batch_size, "items": missing})
        scores = found.get("scores")
        if not isinstance(scores, list) or len(scores) != len(missing):
            raise WorkError(
                f"COMET must give {len(missing)} scores, but gave {show(scores)} (`{interpreter}`). See docs/comet.md."
            )
        known.update(zip(missing, map(float, scores), strict=True))
        _versions[place] = str(found.get("version"))
    parts = [(sum(known[item] for item in row) / len(row), 1.0) for row in rows]
    compared = "nrefs:0" if reference_free else f"{count_of(references)}|refs:mean"
    return ratio(parts, f"{compared}|model:{model}|unbabel-comet:{_versions[place]}")


def check(*, python: str | None = None, model: str = MODEL, batch_size: int = 16, reference_free: bool = False) -> str:
    """The interpreter with COMET; ConfigError if there is none, or for a wrong setting. Does not load a model."""
    if not isinstance(reference_free, bool):
        raise ConfigError(f"`reference_free` of comet must be true or false, but is {show(reference_free)}.")
    if not isinstance(model, str) or not model:
        raise ConfigError(f"`model` of comet must be a name or a path, but is {show(model)}.")
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigError(f"`batch_size` of comet must be a whole number of at least 1, but is {show(batch_size)}.")
    interpreter = str(python or os.environ.get(VARIABLE) or "")
    if not interpreter:
        raise ConfigError(
            f"the metric comet needs a Python that has unbabel-comet, but neither its setting `python` nor {VARIABLE} "
            "names one. docs/comet.md says how to make it."
        )
    if interpreter not in _checked:
        if _run(interpreter, {"check": True}).get("there") is not True:
            raise ConfigError(
                f"the Python of comet must have the package unbabel-comet, but `{interpreter}` has not. Install it "
                "there; docs/comet.md says how."
            )
        _checked.add(interpreter)
    return interpreter


def _run(interpreter: str, request: dict[str, Any]) -> dict[str, Any]:
    """Run comet_process.py in that interpreter and return its answer."""
    try:
        ended = subprocess.run(
            [os.path.expanduser(interpreter), str(SCRIPT)],
            input=json.dumps(request).encode(),
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise ConfigError(
            f"the Python of comet cannot be started (`{interpreter}`: {error.strerror}). Correct `python` or "
            f"{VARIABLE}; docs/comet.md says how to make that environment."
        ) from error
    try:
        answer = json.loads(ended.stdout)
    except ValueError:
        answer = None
    if ended.returncode or not isinstance(answer, dict):
        output = ended.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
        raise WorkError(
            f"COMET failed in `{interpreter}` with exit code {ended.returncode}; its last line was: {output[-1]:.300}"
        )
    return answer
