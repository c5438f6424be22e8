"""The parts of a training run without its folder: for tests of rates and batch sizes, which only make steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from antiphon.config import BaseConfig, TrainConfig
from antiphon.devices import choose_device
from antiphon.errors import ConfigError
from antiphon.recipe import from_mapping, placed, read_recipe
from antiphon.settings import SettingError
from antiphon.workflows.base import find_base
from antiphon.workflows.job import TrainingJob


def as_config(
    recipe: TrainConfig | Mapping[str, Any] | str | Path,
    overrides: Mapping[str, str] | None = None,
    *,
    variant: str | None = None,
) -> TrainConfig:
    """The config of a recipe in a file, a mapping or an object; `overrides` and `variant` only of a file."""
    if isinstance(recipe, str | Path):
        return read_recipe(recipe, overrides, variant=variant)
    if overrides or variant:
        raise ConfigError("`overrides` and `variant` need the path of a recipe. Change the config itself.")
    return from_mapping(recipe) if isinstance(recipe, Mapping) else recipe


def bare_job(config: TrainConfig, *, device: str | torch.device = "auto") -> TrainingJob:
    """The parts of a run of `config`. Steps of its `loop` train and write nothing. Raises what `train` raises."""
    try:
        base = find_base(config, None) if isinstance(config.model, BaseConfig) else None
        return TrainingJob(config, Path(config.output), choose_device(device), base=base, quiet=True)
    except SettingError as error:
        raise placed(error, config) from None
