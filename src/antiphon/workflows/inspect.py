"""`antiphon.inspect(recipe)`: what is wrong with the data of a recipe, and what its run would cost.

    report = antiphon.inspect("recipe.yaml")
    print(report)                       # or, in a notebook, `report`
    report.snippet                      # the filters that remove what was found

Nothing is written but temporary files. The data are read once with all checks (antiphon.inspection), and the training
pairs, or a sample of them, go through a trial of the run itself (trying/).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from antiphon.config import BaseConfig, ModelConfig, TokenizerConfig, TrainConfig, source_list
from antiphon.data.media.rows import MediaSources
from antiphon.devices import choose_device
from antiphon.errors import AntiphonError, ConfigError, DataError, UsageError, argument, one_line
from antiphon.inspection.findings import in_order, refusal, snippet_of, token_findings
from antiphon.inspection.report import Inspection
from antiphon.inspection.scaling.devices import Cluster, read_cluster
from antiphon.inspection.scaling.plan import plan_run
from antiphon.inspection.source_files import WHOLE_FILES
from antiphon.inspection.survey import Survey, survey
from antiphon.models.folders.reading import model_folder, read_shape
from antiphon.recipe import from_mapping, placed, read_recipe
from antiphon.settings import SettingError, saying
from antiphon.text import Task, load_task
from antiphon.workflows.labels import with_labels
from antiphon.workflows.media import media_of, with_media
from antiphon.workflows.trying.recipe import is_sampled, try_recipe
from antiphon.workflows.trying.trial import memory_of_process

NAMES = (
    "the sources are names of sound or image files, but the model reads text; what is said here is about the texts. "
    "Set `model.input` to audio or image, or give what is in the files as text."
)


def inspect(
    recipe: TrainConfig | Mapping[str, Any] | str | Path,
    *,
    world: str | None = None,
    price_per_hour: float | None = None,
    device: str | torch.device = "auto",
    data_only: bool = False,
    title: str = "",
) -> Inspection:
    """Inspect a recipe (a TrainConfig, a mapping, or the path of a file).

    `world`, such as `64xH200`, `2x8xH100` or `16x96GB,400TFLOP/s,200GB/s`: also plan the run on these devices;
    `price_per_hour` is that of one of them. `data_only`: no tokens, no time and memory. `title`: how the report names
    the recipe. Raises ConfigError for an invalid recipe, UsageError for an unknown device and DataError for data that
    cannot be read at all.
    """
    begun, cluster = time.perf_counter(), None if world is None else read_cluster(world)
    _check_price(price_per_hour, cluster)
    place, fresh = choose_device(device), memory_of_process()
    if isinstance(recipe, (str, Path)):
        config, title = read_recipe(recipe), title or str(recipe)
    else:
        config = from_mapping(recipe) if isinstance(recipe, Mapping) else recipe
    if not isinstance(config, TrainConfig):
        raise ConfigError(f"`recipe` must be a TrainConfig, a mapping or the path of a recipe, but is {recipe!r:.80}.")
    try:
        described, unread = _described(config)
        task, problem = _task(described)
        found = survey(described, task, _media(described))
        findings = list(found.findings)
        problem = problem or ("; ".join(unread) if found.named and unread else NAMES if found.named else "")
        tokens, costs, planned = None, None, None
        if not data_only and not problem:
            now = memory_of_process()
            extra = now - fresh if now is not None and fresh is not None else 0
            tokens, costs, planned, problem = try_recipe(config, task, found, place, extra)
    except SettingError as error:
        raise placed(error, config) from None
    findings += [refusal(problem)] if problem else []
    findings += token_findings(tokens, found.kept, overflow=config.data.overflow) if tokens is not None else []
    findings = in_order(findings)
    existing = config.data.filters if isinstance(config.data.filters, Sequence) else ()
    return Inspection(
        recipe=title or "the recipe",
        task=config.task,
        splits=found.splits,
        findings=findings,
        snippet=snippet_of(findings, existing),
        tokens=tokens,
        estimate=costs,
        world=None if cluster is None or planned is None else plan_run(planned, cluster, price=price_per_hour),
        problem=problem,
        notes=[*unread, *_notes(config, found, unplanned=cluster is not None and planned is None)],
        seconds=time.perf_counter() - begun,
    )


def _described(config: TrainConfig) -> tuple[TrainConfig, list[str]]:
    """The recipe with the shape of its base, which says what its sources are; and a note if the base cannot be read."""
    if not isinstance(config.model, BaseConfig):
        return config, []
    try:
        shape = replace(read_shape(model_folder(config.model.base)), **config.model.changes)
    except AntiphonError as error:
        return config, [f"The base was not read, and sources are taken for texts: {one_line(error)}"]
    return replace(config, model=shape, tokenizer=TokenizerConfig()), []


def _media(config: TrainConfig) -> MediaSources | None:
    """How the training sources of the recipe are read if they are files; None for texts."""
    if not isinstance(config.model, ModelConfig):
        return None
    found = media_of(config, Path(config.folder) if config.folder else None)
    return None if found is None else found["train"]


def _notes(config: TrainConfig, found: Survey, *, unplanned: bool) -> list[str]:
    notes = []
    if unplanned and found.files:
        notes.append("A run on images or sound is not planned for other devices: the arithmetic is that of texts.")
    if found.files and any(split.read > WHOLE_FILES for split in found.splits):
        notes.append(f"After {WHOLE_FILES:,} files of a data set one in ten was read whole, of the others the head.")
    if config.data.valid is None and config.data.test is None:
        notes.append("There are no validation and test data, so overlap with them was not looked for.")
    if is_sampled(found):
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
        task = with_media(task, config)
        return with_labels(task, config), ""
    except DataError as error:
        if not source_list(config.data.train) or all(Path(file).exists() for file in _files(config.data.train)):
            return task, str(error)
        raise


def _files(data: object) -> list[str]:
    return [file for source in source_list(data) for file in source.files]


def _check_price(price: float | None, cluster: Cluster | None) -> None:
    """UsageError unless `price` is a price, and there is something to plan."""
    if price is None:
        return
    if cluster is None:
        what = argument("price_per_hour", flag="--price-per-hour")
        raise UsageError(f"{what} must come with {argument('world', flag='--world')}, which says what is paid for.")
    if not 0 <= price < float("inf"):
        what = argument("price_per_hour", flag="--price-per-hour")
        raise UsageError(f"{what} must be at least 0, the price of a GPU for an hour, but is {price:g}.")
