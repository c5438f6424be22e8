"""The folder of a run: made, locked, and filled with what a new run begins with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from antiphon.config import TrainConfig
from antiphon.durable import make_folder, replace_file
from antiphon.errors import ConfigError, DiskError, argument
from antiphon.recipe import dump_yaml, to_mapping
from antiphon.text import Tokenizer
from antiphon.training.lock import FolderLock, exclusive_lock
from antiphon.workflows.base import InitialModel, save_base
from antiphon.workflows.folder import CONFIG, TOKENIZERS, clear, recipe_head


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
