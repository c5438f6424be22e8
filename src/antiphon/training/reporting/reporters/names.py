"""Reporters by name: the built-in ones, registered ones, and `module:Name`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from antiphon.errors import ConfigError, one_line
from antiphon.registry import lookup, names, nearest
from antiphon.settings import SettingError, saying
from antiphon.training.reporting.reporters.base import BuiltInReporter, ReportedRun
from antiphon.training.reporting.reporters.guarded import GuardedReporter

BUILT_IN = {  # name -> module here, class, the package that it needs
    "tensorboard": ("tensorboard", "TensorBoardReporter", "tensorboard"),
    "wandb": ("weights_and_biases", "WandbReporter", "wandb"),
    "mlflow": ("mlflow", "MlflowReporter", "mlflow"),
    "trackio": ("trackio", "TrackioReporter", "trackio"),
}
SECTION = ("training", "log_to")


def check_reporters(items: Iterable[object], *, folder: Path | None = None) -> None:
    """SettingError for a reporter that is not known, or whose package is not installed; nothing is opened."""
    for name, _ in map(_named, items):
        if name not in BUILT_IN:
            _custom(name, folder)
        elif find_spec(BUILT_IN[name][2]) is None:
            raise SettingError(
                SECTION,
                f"names {name}, which needs the package {BUILT_IN[name][2]}, but that is not installed",
                remedy=f"Run pip install 'antiphon[{name}]'.",
            )


def open_reporters(
    items: Iterable[object],
    folder: Path,
    *,
    recipe: Mapping[str, Any],
    resumed_at: int | None,
    say: Callable[[str], None],
    search_folder: Path | None = None,
) -> list[GuardedReporter]:
    """The reporters of `training.log_to`, and the registered ones that it does not name.

    ConfigError for one that cannot begin: nothing has been computed yet.
    """
    run = ReportedRun(folder, recipe, resumed_at)
    chosen = [_named(item) for item in items]
    asked = {name for name, _ in chosen}
    chosen += [(name, {}) for name in names("reporter") if name not in asked]
    opened: list[GuardedReporter] = []
    for name, settings in chosen:
        try:
            opened.append(_opened(name, settings, run, say, search_folder))
        except Exception as error:  # a library, a network or a user's function may raise anything
            for other in opened:
                other.close(failed=True)
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(
                f"the reporter `{name}` cannot begin ({type(error).__name__}: {one_line(error)}). Change "
                "`training.log_to`, which a resumed run may do."
            ) from error
    return opened


def _opened(
    name: str, settings: dict[str, Any], run: ReportedRun, say: Callable[[str], None], folder: Path | None
) -> GuardedReporter:
    if name not in BUILT_IN:
        return GuardedReporter(name, _custom(name, folder)(run.folder, **settings), say)
    module, attribute, _ = BUILT_IN[name]
    made = vars(importlib.import_module(f"{__package__}.{module}"))[attribute]
    try:
        reporter: BuiltInReporter = made(run, **settings)
    except TypeError as error:
        raise ConfigError(f"the reporter `{name}` does not take these settings ({one_line(error)}).") from error
    return GuardedReporter(name, reporter, say, lambda failed: reporter.close(failed=failed))


def _custom(name: str, folder: Path | None) -> Callable[..., Callable[[Mapping[str, Any]], object]]:
    known = [*BUILT_IN, *names("reporter")]
    if ":" not in name and name not in known:
        problem = f"must name reporters ({', '.join(known)}, or module:Name), but has `{name}`"
        raise SettingError(SECTION, problem, hint=nearest(name, known))
    with saying(*SECTION):
        return lookup("reporter", name, folder=folder)


def _named(item: object) -> tuple[str, dict[str, Any]]:
    """The name and the settings of an entry, whose form the recipe has checked."""
    if isinstance(item, Mapping):
        [(name, settings)] = item.items()
        return str(name), {str(key): value for key, value in (settings or {}).items()}
    return str(item), {}
