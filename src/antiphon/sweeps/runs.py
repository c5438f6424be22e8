"""The recipes of the runs of a sweep: the sweep's recipe with a setting laid over it.

config = run_config(definition, {"training.lr": 0.003}, seed=1, output="runs/sweep/trial-0000/seed-1")
check_runs(definition)           # every setting that can be wrong is found before the first run
"""

from __future__ import annotations

import copy
import itertools
import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from antiphon.config import ROLES, BaseConfig, SourceConfig, TrainConfig, source_list
from antiphon.errors import ConfigError, DataError
from antiphon.evaluation.metrics import parse_metrics
from antiphon.models.attentions import build_rule
from antiphon.recipe import dump_yaml, from_mapping, to_mapping
from antiphon.settings import SettingError, inside, saying, show
from antiphon.sweeps.definition import Definition
from antiphon.sweeps.space import VARIANT, ChoiceSpace, Params, describe, grid_of
from antiphon.text import load_task
from antiphon.training.optim import build_schedule, find_optimizer

MOST_CHECKED = 500  # combinations of a large space that are checked before the first run


def run_mapping(definition: Definition, params: Params, *, seed: int | None = None) -> dict[str, Any]:
    """The recipe of a setting as nested mappings, with paths as the recipe has them."""
    variant = params.get(VARIANT)
    mapping: dict[str, Any] = copy.deepcopy(dict(definition.recipes[None if variant is None else str(variant)]))
    fixed = definition.config.set
    for key, value in fixed.items() if isinstance(fixed, Mapping) else ():
        lay_over(mapping, str(key), value)
    for key, value in params.items():
        if key != VARIANT:
            lay_over(mapping, key, definition.space[key].value(value))
    if definition.config.metric is not None:
        lay_over(mapping, "validation.keep_best", definition.config.metric)
    if seed is not None:
        lay_over(mapping, "training.seed", seed)
    return mapping


def lay_over(mapping: dict[str, Any], key: str, value: object) -> None:
    """Set the dotted `key` in nested mappings. The value of a whole section replaces only the settings that it has."""
    *sections, last = key.split(".")
    for section in sections:
        inner = mapping.get(section)
        mapping[section] = dict(inner) if isinstance(inner, Mapping) else {}
        mapping = mapping[section]
    before = mapping.get(last)
    merged = not sections and isinstance(value, Mapping) and isinstance(before, Mapping)
    mapping[last] = {**before, **value} if merged else copy.deepcopy(value)  # type: ignore[dict-item]


def run_config(definition: Definition, params: Params, *, seed: int | None = None, output: str = "") -> TrainConfig:
    """The config of a run. ConfigError names the setting, its value and the line of the sweep that has it."""
    mapping = run_mapping(definition, params, seed=seed)
    mapping["output"] = output or str(definition.folder)
    try:
        return from_mapping(mapping, folder=definition.recipe_path.resolve().parent)
    except SettingError as error:
        raise _placed(error, definition, params) from None


def _placed(error: SettingError, definition: Definition, params: Params) -> SettingError:
    """The error with the line of the sweep that causes it, else with the recipe."""
    fixed = definition.config.set
    for section, keys in (("space", params), ("set", fixed if isinstance(fixed, Mapping) else {})):
        for key in keys:
            path = tuple(key.split("."))
            if error.path[: len(path)] == path or path[: len(error.path)] == error.path:
                return error.at(definition.where(section, key))
    return error.at(f"{definition.recipe_path} with {describe(params)}")


def check_runs(definition: Definition) -> None:
    """Check the settings of the sweep before the first run: all of a grid, or of a space that is not larger than
    MOST_CHECKED; else each value of each key, and MOST_CHECKED random combinations. Raises ConfigError or DataError.
    """
    for params in _to_check(definition):
        config = run_config(definition, params)
        try:
            _check_parts(config)
        except SettingError as error:
            raise _placed(error, definition, params) from None
        except (ConfigError, DataError) as error:
            raise type(error)(f"{str(error).rstrip('.')} ({definition.path}, {describe(params)}).") from None


def _to_check(definition: Definition) -> Iterator[Params]:
    space = definition.space
    corners = {
        key: domain.grid() if isinstance(domain, ChoiceSpace) else _ends(domain) for key, domain in space.items()
    }
    if definition.config.search == "grid":
        yield from itertools.islice(grid_of(space), 10 * MOST_CHECKED)
        return
    total = 1
    for values in corners.values():
        total *= len(values)
    if total <= MOST_CHECKED:
        yield from (dict(zip(corners, chosen, strict=True)) for chosen in itertools.product(*corners.values()))
        return
    first = {key: values[0] for key, values in corners.items()}
    yield from ({**first, key: value} for key, values in corners.items() for value in values)
    chance = random.Random(0)
    yield from ({key: chance.choice(values) for key, values in corners.items()} for _ in range(MOST_CHECKED))


def _ends(domain: Any) -> list[Any]:
    return [domain.value(domain.low), domain.value(domain.high)]


def _check_parts(config: TrainConfig) -> None:
    """Look up by name what a run builds, and look for its files, without reading them."""
    folder = Path(config.folder) if config.folder else None
    with saying("task"):
        load_task(config.task, folder=folder)
    if config.data.valid is None:
        raise SettingError(("data", "valid"), "must be given in a sweep, whose runs are compared on it, but is not")
    parse_metrics(config.validation.metrics)
    build_schedule(config.training, folder=folder)
    find_optimizer(config.training, folder=folder)
    for role in ROLES:
        entry = getattr(config.attention, role)
        for part in entry if isinstance(entry, list | tuple) else [entry]:
            if part is not None:
                with saying("attention", role):
                    build_rule(part, folder=folder)
    for side in ("train", "valid"):
        with inside("data"), inside(side):
            _check_files(source_list(getattr(config.data, side)))
    if isinstance(config.model, BaseConfig) and os.sep in config.model.base and not Path(config.model.base).is_dir():
        raise SettingError(
            ("model", "base"), f"must be a folder or a name on the hub, but there is no {show(config.model.base)}"
        )


def _check_files(sources: Any) -> None:
    for source in sources:
        if isinstance(source, SourceConfig) and source.hub is None:
            for name in ("path", "source", "target", "text"):
                file = getattr(source, name)
                if isinstance(file, str) and file != "-" and not Path(file).exists():
                    raise SettingError((name,), f"must be a file, but there is no `{file}`")


def metric_of(definition: Definition, config: TrainConfig) -> tuple[str, bool]:
    """The metric that is compared, as rows of `metrics.jsonl` name it, and whether lower is better."""
    validation = config.validation
    asked = validation.keep_best or next(iter(validation.metric_names), "valid_loss")
    metrics = [
        metric for metric in parse_metrics(validation.metrics) if metric.name.split(":")[0] == asked.split(":")[0]
    ]
    name = metrics[0].name if metrics else asked
    if definition.config.goal is not None:
        return name, definition.config.goal == "min"
    if not metrics:
        return name, True  # valid_loss
    try:
        return name, metrics[0](["a"], [["a"]], ["a"]).lower_is_better
    except DataError:  # the pair may be invalid, for example not one of the labels
        return name, False


def recipe_text(definition: Definition, params: Params, *, note: str, output: str) -> str:
    """The recipe of a setting as `antiphon train` reads it: what the recipe of the sweep says, the setting laid over
    it, and absolute paths. `note` stands above as a comment."""
    mapping = {**run_mapping(definition, params), "output": output}
    whole = to_mapping(run_config(definition, params, output=output))
    short = {section: _as_written(value, whole.get(section)) for section, value in mapping.items() if section in whole}
    short["folder"] = whole["folder"]  # module:Name is looked up there first
    comment = "".join(f"# {line}\n" for line in note.splitlines())
    return comment + dump_yaml(short)


def _as_written(value: object, whole: object) -> object:
    """The resolved values of the settings that a section of the recipe has."""
    if isinstance(value, Mapping) and isinstance(whole, Mapping):
        return {key: whole.get(key, item) for key, item in value.items()}
    return value if whole is None else whole
