"""`antiphon.inspect(recipe)`: what is wrong with the data of a recipe, and what its run would cost.

    report = antiphon.inspect("recipe.yaml")
    print(report)                       # or, in a notebook, `report`
    report.snippet                      # the filters that remove what was found

Nothing is written but temporary files. The data are read once with all checks (antiphon.inspection), and the training
pairs, or a sample of them, go through a trial of the run itself (trial.py).
"""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from antiphon.config import SourceConfig, TrainConfig, source_list
from antiphon.data import Pair
from antiphon.devices import choose_device
from antiphon.errors import AntiphonError, ConfigError, DataError
from antiphon.inspection.estimate import Estimate, estimated
from antiphon.inspection.findings import in_order, refusal, snippet_of, token_findings
from antiphon.inspection.hardware import extrapolated, read_world
from antiphon.inspection.report import Inspection
from antiphon.inspection.survey import Survey, survey
from antiphon.inspection.tokens import TokenReport, count_tokens
from antiphon.recipe import from_mapping, placed, read_recipe
from antiphon.settings import SettingError, saying
from antiphon.text import CLASSIFICATION, Task, load_task
from antiphon.workflows.labels import with_labels
from antiphon.workflows.trial import memory_of_process, try_run

WHOLE_PAIRS = 40_000  # up to so many pairs the trial has all of the data; else a sample of that size
MEDIA = (
    "the sources are names of sound or image files, which cannot be learned from yet; what is said here is about the "
    "texts. Give what is in the files as text."
)


def inspect(
    recipe: TrainConfig | Mapping[str, Any] | str | Path,
    *,
    world: str | None = None,
    device: str | torch.device = "auto",
    data_only: bool = False,
    title: str = "",
) -> Inspection:
    """Inspect a recipe (a TrainConfig, a mapping, or the path of a file).

    `world`, such as `8xH100`: also extrapolate the time to these devices. `data_only`: no tokens, no time and memory.
    `title`: how the report names the recipe. Raises ConfigError for an invalid recipe and DataError for data that
    cannot be read at all.
    """
    begun, elsewhere = time.perf_counter(), None if world is None else read_world(world)
    place, fresh = choose_device(device), memory_of_process()
    if isinstance(recipe, (str, Path)):
        config, title = read_recipe(recipe), title or str(recipe)
    else:
        config = from_mapping(recipe) if isinstance(recipe, Mapping) else recipe
    if not isinstance(config, TrainConfig):
        raise ConfigError(f"`recipe` must be a TrainConfig, a mapping or the path of a recipe, but is {recipe!r:.80}.")
    try:
        task, problem = _task(config)
        found = survey(config, task)
        findings = list(found.findings)
        problem = problem or (MEDIA if found.media else "")
        tokens, costs = None, None
        if not data_only and not problem:
            now = memory_of_process()
            extra = now - fresh if now is not None and fresh is not None else 0
            tokens, costs, problem = _tried(config, task, found, place, extra)
    except SettingError as error:
        raise placed(error, config) from None
    findings += [refusal(problem)] if problem else []
    findings += token_findings(tokens, found.kept, overflow=config.data.overflow) if tokens is not None else []
    findings = in_order(findings)
    far = None
    if elsewhere is not None and costs is not None:
        steps = costs.steps or costs.steps_per_epoch
        far = extrapolated(elsewhere, flops=costs.measured.flops, steps=steps, accumulate=costs.accumulate)
    existing = config.data.filters if isinstance(config.data.filters, Sequence) else ()
    return Inspection(
        recipe=title or "the recipe",
        task=config.task,
        splits=found.splits,
        findings=findings,
        snippet=snippet_of(findings, existing),
        tokens=tokens,
        estimate=costs,
        world=far,
        problem=problem,
        notes=_notes(config, found),
        seconds=time.perf_counter() - begun,
    )


def _notes(config: TrainConfig, found: Survey) -> list[str]:
    notes = []
    if config.data.valid is None and config.data.test is None:
        notes.append("There are no validation and test data, so overlap with them was not looked for.")
    if found.kept > WHOLE_PAIRS:
        notes.append(
            f"Tokens, padding and time are measured on {len(found.pairs):,} pairs, spread evenly over the "
            f"{found.kept:,}; a tokenizer that the run would train is trained on them."
        )
    return notes


def _task(config: TrainConfig) -> tuple[Task, str]:
    """The task of the recipe, and why training would refuse its labels, if it would."""
    with saying("task"):
        task = load_task(config.task, folder=Path(config.folder) if config.folder else None)
    try:
        return with_labels(task, config), ""
    except DataError as error:
        if not source_list(config.data.train) or all(Path(file).exists() for file in _files(config.data.train)):
            return task, str(error)
        raise


def _files(data: object) -> list[str]:
    return [file for source in source_list(data) for file in source.files]


def _tried(
    config: TrainConfig, task: Task, found: Survey, device: torch.device, extra: int
) -> tuple[TokenReport | None, Estimate | None, str]:
    """The tokens and the costs of the run; or why it could not be tried."""
    pairs = found.pairs
    if not pairs:
        return None, None, "the data must hold at least one pair to learn from, but holds none"
    with tempfile.TemporaryDirectory(prefix="antiphon-inspect-") as folder:
        whole = found.kept <= WHOLE_PAIRS
        tried = config if whole else _on_sample(config, task, found, Path(folder))
        # What is too long is a finding; the trial goes on without it.
        overflow = "skip" if config.data.overflow == "error" else config.data.overflow
        tried = replace(tried, data=replace(tried.data, overflow=overflow, bad_rows="skip"))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # unreadable rows are a finding
                trial = try_run(tried, device=device, base_bytes=extra)
        except SettingError:
            raise
        except (AntiphonError, torch.OutOfMemoryError, MemoryError) as error:
            return None, None, str(error) or type(error).__name__
    measured = trial.measured
    sides = (trial.source_tokenizer, trial.target_tokenizer)
    windows = config.data.overflow == "window"
    tokens = count_tokens(pairs, sides, max_length=measured.max_length, windows=windows)
    scale = 1.0 if whole else found.kept / len(pairs)
    return tokens, estimated(config, measured, pairs=round(measured.pairs * scale), start_scale=scale), ""


def _on_sample(config: TrainConfig, task: Task, found: Survey, folder: Path) -> TrainConfig:
    """The recipe with the sampled pairs, in files that have what the task made of the data."""
    sources = source_list(config.data.train)
    made = []
    for number, sample in found.samples.items():
        known = sources[number] if sources else None
        path = folder / f"sample-{number}.jsonl"
        if known is not None and known.is_text:
            path = path.with_suffix(".txt")
            path.write_text("".join(f"{' '.join(pair.target.split())}\n" for pair in sample.pairs), encoding="utf-8")
            made.append(SourceConfig(text=str(path), objective=known.objective, tag=known.tag, prefix=known.prefix))
            continue
        _write_pairs(path, sample.pairs)
        tag, prefix, weight = (known.tag, known.prefix, known.weight) if known is not None else (None, None, None)
        made.append(SourceConfig(path=str(path), tag=tag, prefix=prefix, weight=weight))
    train = made[0] if len(made) == 1 else tuple(made)
    named = task.name == CLASSIFICATION
    # The filters have acted already; those that learn would learn from a tenth of what they learn from in the run.
    data = replace(config.data, train=train, filters=None, labels=tuple(sorted(set(task.labels.values()))))
    if not named:
        data = replace(data, labels=(), valid=_again(config.data.valid, task, folder / "valid.jsonl"))
    return replace(config, task=config.task if named else "text", data=data)


def _again(data: object, task: Task, path: Path) -> object:
    """`data` in a file that has what the task made of it; plain text is left as it is."""
    from antiphon.data.sources import cases

    if data is None or any(source.is_text for source in source_list(data)):
        return data
    with path.open("w", encoding="utf-8") as stream:
        for source, targets, _ in cases(data, task, bad_rows="skip"):
            stream.write(json.dumps({"source": source, "target": targets}, ensure_ascii=False) + "\n")
    return SourceConfig(path=str(path))


def _write_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for pair in pairs:
            stream.write(json.dumps({"source": pair.source, "target": pair.target}, ensure_ascii=False) + "\n")
