"""The folder of a run: checks whether a run may be started, resumed or replaced in it, and clears it.

fresh = check_folder(folder, config, resume=False, overwrite=True)
clear(folder)        # under its lock, once all parts of the new run exist
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from antiphon.config import BaseConfig, TokenizerConfig, TrainConfig, source_list
from antiphon.distributed.failure import launch_id, restarts
from antiphon.durable import make_folder, replace_file
from antiphon.errors import ConfigError, DiskError, argument
from antiphon.recipe import dump_yaml, from_mapping, read_yaml, to_mapping
from antiphon.reports.answers import ANSWERS
from antiphon.reports.run_file import RUN_FILE
from antiphon.reports.run_report import REPORT
from antiphon.text import Tokenizer
from antiphon.training.guards.protection import MEMORY
from antiphon.training.lease import is_lease
from antiphon.training.lock import FolderLock, exclusive_lock
from antiphon.training.reporting.record import METRICS, SAMPLES
from antiphon.training.reporting.reporters.base import IDS
from antiphon.training.resume import START
from antiphon.urls import is_url
from antiphon.workflows.base import BASE, InitialModel, check_same_base, save_base

TOKENIZERS, CONFIG = "tokenizers", "config.yaml"
FREE_TO_CHANGE = ("max_", "save_", "log_")  # settings of `training` that a resumed run may change
FREE_NAMES = {"output", "folder", "data.test", "model.base", "validation.every", "validation.every_steps"}
FREE_NAMES |= {"training.parallel", "training.shard_within", "training.cpu_offload"}
FREE_NAMES |= {"validation.samples", "license", "data.license", "data.train.license", "data.valid.license"}
FREE_NAMES |= {f"data.{name}" for name in ("workers", "retries", "cache", "cache.folder", "cache.max_bytes")}
# The entries that a run creates in its folder; with the suffix .tmp, an unfinished file.
RUN_ENTRIES = {TOKENIZERS, CONFIG, BASE, METRICS, SAMPLES, START, "snapshots", "best", "model", "adapter"}
RUN_ENTRIES |= {MEMORY, ANSWERS, REPORT, RUN_FILE, IDS, "tensorboard", "wandb"}
_LAUNCH = "# launch {}"


def check_folder(folder: Path, config: TrainConfig, *, resume: bool, overwrite: bool) -> bool:
    """Whether the run is new. ConfigError for a folder that exists, or a run to resume with another recipe."""
    file, output = folder / CONFIG, argument("output", flag="--output")
    if overwrite and resume:
        both = f"{argument('resume=True', flag='--resume')} and {argument('overwrite=True', flag='--overwrite')}"
        raise ConfigError(f"{both} must not both be given: one continues the run, the other replaces it. Drop one.")
    if overwrite:
        _check_replaceable(folder, config)
        return True
    if not resume:
        if _is_free(folder):
            return True
        if _foreign_entries(folder):
            raise ConfigError(
                f"the run folder `{folder}` must not exist yet, but does, and is no run. Choose another {output}."
            )
        raise ConfigError(
            f"the run folder `{folder}` must not exist yet, but does. Continue it with "
            f"{argument('resume=True', flag='--resume')}, replace it with "
            f"{argument('overwrite=True', flag='--overwrite')}, or choose another {output}."
        )
    if not file.exists():
        # A run that was killed during its creation has at most its tokenizers and its base.
        if folder.exists() and (not folder.is_dir() or _names(folder) - {TOKENIZERS, BASE}):
            raise ConfigError(
                f"the folder `{folder}` must be a run or not exist, but holds other things and no {CONFIG}. "
                f"Choose another {output}."
            )
        return True
    if isinstance(config.model, BaseConfig) and (folder / BASE).is_dir():
        check_same_base(folder, config.model.base)
    was = _completed(read_yaml(file.read_text(encoding="utf-8"), str(file))[0], where=str(file))
    for key, before, now in _differences(was, to_mapping(config)):
        raise ConfigError(
            f"a resumed run must keep its recipe, but `{key}` was {before!r} and is {now!r} (`{file}`). "
            f"Put it back, or choose another {output}."
        )
    return False


def after_restart(folder: Path, *, resume: bool, overwrite: bool) -> tuple[bool, bool]:
    """`resume` and `overwrite` of this start: as given, but when torchrun has started the ranks again, the run that
    they began before is continued. ConfigError if it cannot be known whether the run in the folder is that one."""
    if not restarts():
        return resume, overwrite
    if not overwrite or not (folder / CONFIG).exists():
        return not overwrite, overwrite
    launch = launch_id()
    if launch is None:
        doing = argument("overwrite=True", flag="--overwrite")
        raise ConfigError(
            f"a run that torchrun starts again must be known by a name, but --rdzv-id is not set, so that with {doing} "
            f"it cannot be said whether `{folder}` holds this run or the one to replace. Continue with "
            f"{argument('resume=True', flag='--resume')} instead of {doing}."
        )
    with (folder / CONFIG).open(encoding="utf-8") as lines:
        begun = next(lines, "").rstrip("\n") == _LAUNCH.format(launch)
    return begun, not begun


def recipe_head() -> str:
    """The first line of the recipe in a run folder, where torchrun started the run: `after_restart` finds it again."""
    return "" if (launch := launch_id()) is None else _LAUNCH.format(launch) + "\n"


def _completed(was: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """A saved recipe, completed with the defaults of settings that are newer than the version that wrote it."""
    # Pairs from Python are saved as a text with their number and hash.
    pairs = {side: was["data"][side] for side in ("train", "valid", "test") if isinstance(was["data"].get(side), str)}
    whole = to_mapping(from_mapping({**was, "data": {**was["data"], **{side: [] for side in pairs}}}, where=where))
    return {**whole, "data": {**whole["data"], **pairs}}


def _differences(was: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The settings that must not differ but do: name, old value, new value."""
    for key in {**was, **now}:
        name, before, after = f"{path}{key}", was.get(key), now.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(before, after, f"{name}.")
        elif (
            before != after and name not in FREE_NAMES and not (path == "training." and key.startswith(FREE_TO_CHANGE))
        ):
            yield name, before, after


def _is_free(folder: Path) -> bool:
    """Whether a new run may be created: the folder does not exist or is empty."""
    return not folder.exists() or (folder.is_dir() and not _names(folder))


def _names(folder: Path) -> set[str]:
    """The names of the entries of a folder but those of its lock."""
    return {path.name for path in folder.iterdir() if not is_lease(path.name)}


def _foreign_entries(folder: Path) -> list[str]:
    """The entries of a folder that do not belong to a run; ["."] if it is not a folder."""
    if not folder.is_dir():
        return ["."]
    names = _names(folder)
    if CONFIG not in names or TOKENIZERS not in names:
        return sorted(names - {TOKENIZERS, BASE, f"{CONFIG}.tmp"})
    return sorted(name for name in names if name.removesuffix(".tmp") not in RUN_ENTRIES)


def _check_replaceable(folder: Path, config: TrainConfig) -> None:
    """Raise ConfigError for a folder with other entries than a run's, or with inputs of the new run."""
    output, doing = argument("output", flag="--output"), argument("overwrite=True", flag="--overwrite")
    if _is_free(folder):
        return
    if found := _foreign_entries(folder):
        what = "is none" if found == ["."] else f"holds `{found[0]}`" + (" and more" if len(found) > 1 else "")
        raise ConfigError(
            f"{doing} replaces only the folder of a run, but `{folder}` {what}. Move that, or choose another {output}."
        )
    home = folder.resolve()
    for name, path in _read_by(config):
        if Path(path).resolve().is_relative_to(home):
            raise ConfigError(
                f"`{name}` must lie outside the folder that {doing} replaces (`{folder}`), but is `{path}`. Copy it, "
                f"or choose another {output}."
            )
    with exclusive_lock(folder):  # fail now, not after the data is read; the lock is taken again to clear the folder
        pass


def _read_by(config: TrainConfig) -> Iterator[tuple[str, str]]:
    """The settings that name input files or folders of a run, with their paths."""
    for side in ("train", "valid", "test"):
        for source in source_list(getattr(config.data, side)):
            yield from ((f"data.{side}", file) for file in source.files if not is_url(file))
    if isinstance(config.model, BaseConfig):
        yield "model.base", config.model.base
    if isinstance(config.tokenizer, TokenizerConfig):
        sides = (config.tokenizer.of("source"), config.tokenizer.of("target"))
        yield from (("tokenizer", side.kind) for side in sides if os.sep in side.kind)
    if config.training.distillation is not None:
        yield from (("training.distillation.teacher", teacher) for teacher in config.training.distillation.teachers)


def clear(folder: Path) -> None:
    """Delete the files of a run in `folder`, which the caller has locked.

    The recipe and the tokenizers are deleted last, in this order. So an interrupted `clear` leaves a run, or a partly
    created one, and can be repeated.
    """
    last = {CONFIG: 1, BASE: 2, TOKENIZERS: 3}
    for path in sorted((folder / name for name in _names(folder)), key=lambda path: (last.get(path.name, 0), path)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@dataclass(frozen=True, slots=True)
class RunStart:
    """What a new run begins with: its recipe, its tokenizers by name, and its base with the `weights` of that (None:
    those of its network)."""

    recipe: TrainConfig
    tokenizers: Mapping[str, Tokenizer]
    base: InitialModel | None
    weights: Mapping[str, Tensor] | None


@contextmanager
def run_folder(folder: Path) -> Iterator[FolderLock]:
    """The context in which `folder` exists, and is locked. DiskError if it cannot be made."""
    try:
        make_folder(folder)
    except OSError as error:
        raise _not_made(folder, error) from error
    with exclusive_lock(folder) as lock:
        yield lock


def create_run(folder: Path, start: RunStart, *, overwrite: bool) -> None:
    """Write what the run begins with; with `overwrite`, in place of the run in the folder."""
    try:
        if overwrite:
            clear(folder)
        elif (folder / CONFIG).exists():
            raise ConfigError(f"the run folder `{folder}` was free, but another process has made a run there.")
        make_folder(folder / TOKENIZERS)
        if start.base is not None:
            save_base(folder, start.base, start.recipe, weights=start.weights)
        for name, tokenizer in start.tokenizers.items():
            tokenizer.save(folder / TOKENIZERS, name)
        # Written last: a folder with a config.yaml counts as a run.
        replace_file(folder / CONFIG, (recipe_head() + dump_yaml(to_mapping(start.recipe))).encode())
    except OSError as error:
        raise _not_made(folder, error) from error


def _not_made(folder: Path, error: OSError) -> DiskError:
    where = argument("output", flag="--output")
    return DiskError(f"the run folder `{folder}` cannot be made ({error.strerror}). Choose another {where}.")
