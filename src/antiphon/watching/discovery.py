"""Run folders by the paths that a user gives, with short names.

find_runs([Path("runs")])                # {"g2p": Path("runs/g2p"), "ml30k/long": Path("runs/ml30k/long")}
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from antiphon.errors import ConfigError
from antiphon.training.reporting.record import METRICS

CONFIG = "config.yaml"  # a folder with it is a run, though it may have no figures yet
MAX_DEPTH = 3  # of runs below a given folder
MAX_RUNS = 1000


def is_run(folder: Path) -> bool:
    """Whether `folder` is a run folder: it has a log, or the resolved recipe."""
    return (folder / METRICS).is_file() or (folder / CONFIG).is_file()


def find_runs(paths: Sequence[Path]) -> dict[str, Path]:
    """The runs at `paths` or below them, by name. The names are the shortest paths that tell them apart. ConfigError
    for a path that is not there, or that has no run."""
    folders: dict[Path, None] = {}
    for path in paths:
        found = list(_runs_in(path))
        if not found:
            what = "is not there" if not path.exists() else f"has neither {METRICS} nor {CONFIG}"
            raise ConfigError(
                f"`{path}` must be a run folder, or a folder with run folders in it, but {what}. "
                "Give the `output` of a recipe."
            )
        folders.update(dict.fromkeys(found))
    return named(list(folders)[:MAX_RUNS])


def runs_below(paths: Sequence[Path]) -> list[Path]:
    """The run folders at `paths` or below them now; paths that are gone are left out."""
    return list(dict.fromkeys(folder for path in paths for folder in _runs_in(path)))[:MAX_RUNS]


def named(folders: Sequence[Path]) -> dict[str, Path]:
    """The folders by the shortest ends of their paths that are different."""
    names: dict[str, Path] = {}
    parts = [Path(os.path.abspath(folder)).parts for folder in folders]
    for folder, own in zip(folders, parts, strict=True):
        others = [other for other in parts if other != own]
        count = next(n for n in range(1, len(own) + 1) if n == len(own) or all(o[-n:] != own[-n:] for o in others))
        names["/".join(own[-count:])] = folder
    return names


def _runs_in(path: Path, depth: int = 0) -> Iterator[Path]:
    if is_run(path):
        yield path
        return
    if depth >= MAX_DEPTH:
        return
    try:
        inner = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return
    for folder in inner:
        yield from _runs_in(folder, depth + 1)
