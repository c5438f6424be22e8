"""Trains the variants of a recipe one after the other and tabulates their results.

    rows = train_variants("recipes/attention-bakeoff.yaml", ["--threads", "1"])
    rows[0]["variant"], rows[0]["bleu"], rows[0]["tokens_per_second"]

Each run is a separate process (`processes.py`); one that fails does not affect the others. Finished runs are not
repeated (`--resume`). Ctrl-C and SIGTERM are passed to the current run, which saves; a second signal ends it at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from antiphon.config import TrainConfig
from antiphon.errors import WorkError
from antiphon.models.folders.checkpoint import replace_file
from antiphon.recipe import read_recipe, variant_names
from antiphon.sweeps.processes import run_training
from antiphon.sweeps.run_figures import run_figures

TABLE = "sweep.json"


def train_variants(
    recipe: str | Path,
    flags: Sequence[str] = (),
    *,
    overrides: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Train every variant of `recipe` and return a row of figures for each; they are also written to `sweep.json`.

    `flags` are passed to each `antiphon train`; `overrides` are the settings among them, which are needed to find the
    run folders. Raises ConfigError before the first run if any variant is invalid, and WorkError after the last one if
    any failed. After Ctrl-C or SIGTERM, when the current run has saved, raises KeyboardInterrupt or SystemExit(143).
    """
    configs = {name: read_recipe(recipe, overrides, variant=name) for name in variant_names(recipe)}
    rows, failed = [], []
    for number, (name, config) in enumerate(configs.items(), 1):
        say(f"variant {number} of {len(configs)}: {name}")
        if run_training(["train", str(recipe), "--variant", name, *flags]).code:
            failed.append(name)
        else:
            rows.append(figures(name, config))
    if rows:
        folder = Path(next(iter(configs.values())).output).parent
        replace_file(folder / TABLE, (json.dumps(rows, indent=1, ensure_ascii=False) + "\n").encode())
    if failed:
        raise WorkError(
            f"{len(failed)} of {len(configs)} variants failed: {', '.join(failed)}. What they said is above."
        )
    return rows


def figures(name: str, config: TrainConfig) -> dict[str, Any]:
    """The row of a variant: its name and the figures of its finished run."""
    return {"variant": name, **run_figures(Path(config.output))}
