"""Evaluates a model: generates answers to the sources of pairs and measures them against the references.

>>> report = evaluate(model, [("in 3 hours", "in 3 Stunden")], metrics=["bleu", "chrf"])    # doctest: +SKIP
>>> report["bleu"].score, report["bleu"].signature, report["bleu"].interval                # doctest: +SKIP
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from antiphon.data.media.references import Reference
from antiphon.errors import ConfigError
from antiphon.evaluation.measuring import Pair, Report, check_groups, checked_metrics, checked_pairs, measured
from antiphon.generation.answers import Generation
from antiphon.generation.translator import Translator
from antiphon.settings import show

MOST_FILES = 256  # images or recordings that are in memory together


def evaluate(
    model: Translator,
    pairs: Iterable[Pair],
    metrics: Sequence[object] | str = ("bleu", "chrf"),
    *,
    groups: Sequence[str] | None = None,
    **search: Any,
) -> Report:
    """Generate `model`'s answers to `pairs` (source, reference or list of references) and compute metrics.

    metrics: names, or mappings {name: settings}, for example {"bleu": {"tokenize": "none"}}; or a single one. groups:
    the name of the group of each pair (a language, a file), for scores of each group and their macro means. search:
    settings of `Model.generate`; the others come from the model's `generation.json`. A pair may be a mapping with
    `source` and `target`. Raises DataError if there is no pair, or one without a reference, and ConfigError for an
    unknown metric or setting (both before anything is generated). Warns if a score is not meaningful (`Report.notes`).
    `measure_answers` of measuring.py measures answers that exist already.
    """
    if isinstance(model, str | os.PathLike):
        raise ConfigError(f"`model` must be a model, but is {show(model)}. Load it: antiphon.load(folder).")
    parsed = checked_metrics(metrics, model.labels)
    sources, references = checked_pairs(pairs)
    check_groups(groups, len(sources))
    began = time.perf_counter()
    answers = _answers(model, sources, search)
    report = measured(answers, sources, references, parsed, groups, time.perf_counter() - began)
    for line in report.notes:
        warnings.warn(line, stacklevel=2)
    return report


def _answers(model: Translator, sources: Sequence[Any], search: dict[str, Any]) -> Sequence[Generation]:
    """The answers to all sources; of references to images or sound some at a time, unless a setting is for each row."""
    of_rows = any(isinstance(value, list | tuple) for value in search.values())
    if of_rows or not any(isinstance(source, Reference) for source in sources):
        return model.generate(sources, **search)
    return [
        answer
        for first in range(0, len(sources), MOST_FILES)
        for answer in model.generate(sources[first : first + MOST_FILES], first_row=first, **search)
    ]
