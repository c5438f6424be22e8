"""The card of a model as plain values, for programs and the server's page: from its run folder, or else its README."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antiphon.errors import UsageError
from antiphon.recipe import read_yaml
from antiphon.reports.contents import CONFIG, RunContents, read_contents
from antiphon.reports.facts import TRAINING_SETTINGS, data_facts, data_files, energy_of, public_path
from antiphon.reports.run_report import CARD

MAX_TEXT = 300  # characters
MAX_CARD_BYTES = 1 << 20


def card_facts(path: Path) -> dict[str, Any]:
    """The entries data, training, metrics, metric_intervals, license, steps, training_seconds and energy of a card, as
    far as they are known of the model in `path`: a run folder, or a model folder in one or alone."""
    folder = next((each for each in (path, path.parent) if (each / CONFIG).is_file()), None)
    if folder is not None:
        try:
            return _of_run(read_contents(folder, running=False))
        except (UsageError, OSError):
            return {}
    return _of_card(path / CARD)


def _of_run(run: RunContents) -> dict[str, Any]:
    training = run.section("training")
    found: dict[str, Any] = {
        "data": {side: names for side in ("train", "valid", "test") if (names := _names(run, side))}
        | {name: _cut(value) for name, value in data_facts(run)},
        "training": {key: _public(training[key]) for key in TRAINING_SETTINGS if training.get(key) is not None},
    }
    if run.recipe.get("license"):
        found["license"] = _cut(str(run.recipe["license"]))
    row = run.best_row
    if row is not None:
        wanted = ("valid_loss", *run.rows.metrics)
        found["metrics"] = {name: row[name] for name in wanted if row.get(name) is not None}
        found |= {"steps": row["step"], "training_seconds": row.get("time_seconds"), "energy": _cut(energy_of(run))}
    results = run.recorded.get("results")
    for name, result in results.items() if isinstance(results, Mapping) else ():
        if isinstance(result, Mapping) and "score" in result:
            found.setdefault("metrics", {})[name] = result["score"]
            if "low" in result and "high" in result:
                interval = f"{result['low']:.2f} to {result['high']:.2f}"
                found.setdefault("metric_intervals", {})[name] = interval
    return found


def _of_card(file: Path) -> dict[str, Any]:
    """What the front matter of a card says: the licence, and the results of its model-index."""
    try:
        if file.stat().st_size > MAX_CARD_BYTES:
            return {}
        _, front, _ = file.read_text(encoding="utf-8").split("---\n", 2)
        matter, _ = read_yaml(front, str(file))
        found = {"license": _cut(str(matter["license"]))} if matter.get("license") else {}
        metrics = {
            str(metric["name"])[:MAX_TEXT]: float(metric["value"])
            for model in matter.get("model-index", [])
            for result in model["results"]
            for metric in result["metrics"]
        }
    except (OSError, ValueError, UsageError, KeyError, TypeError, AttributeError):
        return {}
    return {**found, **({"metrics": metrics} if metrics else {})}


def _names(run: RunContents, side: str) -> list[str]:
    """The data of a side, each with its licence if that is known."""
    files = [file for file in data_files(run) if file.side == side]
    licensed = [f"{public_path(file.name)} ({file.license})" for file in files]
    plain = [public_path(file.name) for file in files]
    return [_cut(text) for text in (licensed if any(file.license != "unknown" for file in files) else plain)]


def _public(value: Any) -> Any:
    """A setting for everybody: of paths only the last name."""
    if isinstance(value, Mapping):
        return {str(key): _public(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_public(entry) for entry in value]
    return _cut(public_path(value)) if isinstance(value, str) and "/" in value else value


def _cut(text: str) -> str:
    return text[:MAX_TEXT]
