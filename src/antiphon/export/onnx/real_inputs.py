"""Sources of the validation data of a run, to check an export on."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from antiphon.config import DataConfig
from antiphon.data.sources import records
from antiphon.errors import AntiphonError
from antiphon.recipe import read_yaml
from antiphon.text import load_task

COUNT = 32


def run_sources(model: str | Path) -> list[str]:
    """The first sources of the validation data of a run folder, or of the run that a model folder is in; else those of
    its `samples.jsonl`; empty for any other model, or where nothing can be read."""
    for folder in (Path(model), Path(model).parent):
        if (folder / "config.yaml").is_file():
            return _validation(folder) or _samples(folder / "samples.jsonl")
    return []


def _validation(folder: Path) -> list[str]:
    try:
        # Only this part of the recipe is read: its training data may be elsewhere, or have come from Python.
        recipe, _ = read_yaml((folder / "config.yaml").read_text(encoding="utf-8"), "config.yaml")
        valid = recipe.get("data", {}).get("valid")
        if not isinstance(valid, dict | list):
            return []
        rows = records(DataConfig(train=valid).train, load_task(str(recipe.get("task", "text"))), bad_rows="skip")
        return [source for source, _, _ in itertools.islice(rows, COUNT)]
    except (AntiphonError, OSError, UnicodeDecodeError, AttributeError):
        return []


def _samples(file: Path) -> list[str]:
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    except (OSError, ValueError):
        return []
    sources = (row.get("source") for row in rows if isinstance(row, dict))
    return list(dict.fromkeys(source for source in sources if isinstance(source, str)))[:COUNT]
