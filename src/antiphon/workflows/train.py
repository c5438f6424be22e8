"""From a recipe to a run folder: `train(config)`.

A run folder holds `config.yaml` (resolved), `tokenizers/`, `metrics.jsonl`, `samples.jsonl`, `snapshots/step-N/` and
`model/` (ready to load), and for reports `valid_answers.jsonl`, `run.json`, `report.html` and `model/README.md`.
Nothing is written before the data, the tokenizers and the network have been built, so that an invalid recipe leaves no
folder behind.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from antiphon.config import BaseConfig, TrainConfig
from antiphon.devices import choose_device
from antiphon.display import panel, table
from antiphon.distributed.agreement import exchange, together
from antiphon.distributed.failure import is_rank
from antiphon.distributed.parent import PATIENCE_SECONDS, end_with_parent
from antiphon.distributed.world import World, process_group, rank_device
from antiphon.errors import ConfigError
from antiphon.generation.model import Model
from antiphon.keywords import known_keywords
from antiphon.recipe import from_mapping, placed, read_recipe
from antiphon.settings import SettingError
from antiphon.training.reporting.record import read_rows
from antiphon.training.reporting.rows import MetricRows, summary_of
from antiphon.watching import WatchPage, watch
from antiphon.workflows.base import find_base
from antiphon.workflows.folder import after_restart, check_folder
from antiphon.workflows.job import TrainingJob


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, the best model, and the rows of `metrics.jsonl`."""

    folder: Path
    model: Model
    metrics: MetricRows
    reason: str

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}: {self.reason}; {summary_of(self.metrics)})"

    def _repr_html_(self) -> str:
        """The folder, the reason of the end, the last figures and the curves, for notebooks."""
        facts = [["folder", str(self.folder)], ["ended", self.reason], ["last", summary_of(self.metrics)]]
        return panel("Run", table([], facts), self.metrics.curves())

    def watch(self, *others: str | Path, port: int | None = None) -> WatchPage:
        """Serve a page with the curves of this run and of `others`; a notebook shows it below the cell. `port`: None
        is 6007, or the next free one."""
        return watch(self.folder, *others, port=port)


@known_keywords("train")
def train(
    config: TrainConfig | Mapping[str, Any] | str | Path,
    resume: bool = False,
    *,
    device: str | torch.device = "auto",
    overwrite: bool = False,
    quiet: bool = False,
) -> Run:
    """Train a model by `config` (a TrainConfig, a mapping, or the path of a recipe) and return the run.

    `resume` continues from the newest valid snapshot, or starts if there is no run. `overwrite` replaces the run in the
    folder, after the data, the tokenizers and the network of the new one have been built; a folder with other entries
    is an error. `device`: auto is the first available of CUDA, MPS and CPU. Raises ConfigError or DataError before
    anything is written; NonFiniteError or DiskError with the last snapshot untouched.
    """
    place = rank_device(choose_device(device))
    if is_rank():
        end_with_parent(os.getppid(), patience=PATIENCE_SECONDS)
    with process_group(place) as world:
        with together(world):
            job = _job(as_config(config), place, world, resume=resume, overwrite=overwrite, quiet=quiet)
        reason, model = job.run()
        rows = world.broadcast(read_rows(job.folder) if world.main else None) or []
    return Run(job.folder, model, MetricRows(rows), reason)


def as_config(config: TrainConfig | Mapping[str, Any] | str | Path) -> TrainConfig:
    """The checked recipe. ConfigError if there is none."""
    if isinstance(config, (str, Path)):
        return read_recipe(config)
    if isinstance(config, Mapping):
        return from_mapping(config)
    if not isinstance(config, TrainConfig):
        raise ConfigError(f"`config` must be a TrainConfig, a mapping or the path of a recipe, but is {config!r}.")
    return config


def _job(
    config: TrainConfig, place: torch.device, world: World, *, resume: bool, overwrite: bool, quiet: bool
) -> TrainingJob:
    """The parts of the run. Rank 0 looks at the run folder, for all."""
    folder = Path(config.output)

    def checked() -> tuple[bool, bool]:
        again, replace = after_restart(folder, resume=resume, overwrite=overwrite)
        return check_folder(folder, config, resume=again, overwrite=replace), replace

    known = exchange(world, checked() if world.main else None)[0]
    assert known is not None
    fresh, overwrite = known
    try:
        base = find_base(config, None if overwrite else folder) if isinstance(config.model, BaseConfig) else None
        settings: dict[str, Any] = {"fresh": fresh, "overwrite": overwrite, "quiet": quiet or not world.main}
        return TrainingJob(config, folder, place, base=base, world=world, **settings)
    except SettingError as error:
        raise placed(error, config) from None
