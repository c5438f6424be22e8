"""What a run folder says about its model: the data, the training, the metrics of the last validation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antiphon.errors import UsageError
from antiphon.recipe import read_yaml

# Of a line of metrics.jsonl: what is no metric of a validation.
_OF_TRAINING = {"loss", "nll", "lr", "grad_norm", "tokens", "tokens_per_second", "padding_waste", "peak_memory_bytes",
                "step_seconds", "seconds_left", "trainable_parameters", "time_seconds", "step", "epoch"}  # fmt: skip
_TRAINING = ("optimizer", "lr", "schedule", "max_steps", "max_epochs", "batch_tokens", "label_smoothing", "precision")
_LONGEST = 300  # characters of a text in the card


def facts_of_run(path: Path) -> dict[str, Any]:
    """The entries `data`, `training` and `metrics` of a card, as far as there is a run folder at or around `path`."""
    folder = next((each for each in (path, path.parent) if (each / "config.yaml").is_file()), None)
    if folder is None:
        return {}
    return {**_facts_of_config(folder / "config.yaml"), **_facts_of_metrics(folder / "metrics.jsonl")}


def _facts_of_config(file: Path) -> dict[str, Any]:
    try:
        config, _ = read_yaml(file.read_text(encoding="utf-8"), file.name)
    except (OSError, UsageError, ValueError):
        return {}
    found: dict[str, Any] = {}
    data, training = config.get("data"), config.get("training")
    if isinstance(data, Mapping):
        found["data"] = {key: _public(data[key]) for key in ("train", "valid", "test") if data.get(key) is not None}
    if isinstance(training, Mapping):
        found["training"] = {key: _public(training[key]) for key in _TRAINING if training.get(key) is not None}
    return found


def _facts_of_metrics(file: Path) -> dict[str, Any]:
    """The last line of a validation, and the steps and seconds of the training."""
    try:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError):
        return {}
    rows = [line for line in lines if isinstance(line, dict)]
    validated = next((row for row in reversed(rows) if "valid_loss" in row), None)
    if validated is None:
        return {}
    metrics = {key: value for key, value in validated.items() if key not in _OF_TRAINING}
    return {"metrics": metrics, "steps": validated.get("step"), "training_seconds": validated.get("time_seconds")}


def _public(value: Any) -> Any:
    """A value of a recipe for everybody: of paths only the last name."""
    if isinstance(value, Mapping):
        return {str(key): _public(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_public(entry) for entry in value]
    if isinstance(value, str) and "/" in value and not value.startswith("hub:"):
        return value.rstrip("/").rpartition("/")[2][:_LONGEST]
    return value[:_LONGEST] if isinstance(value, str) else value
