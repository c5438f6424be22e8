"""What the ranks of a run do together: its tokenizers, its loop, and its folder, which rank 0 makes and locks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from antiphon.config import TrainConfig
from antiphon.distributed.agreement import exchange, together
from antiphon.distributed.world import World
from antiphon.text import Task, Tokenizer
from antiphon.training.lock import FolderLock
from antiphon.training.loop import Loop, LoopParts
from antiphon.training.optim import build_optimizer
from antiphon.training.parallel.choice import parallelize
from antiphon.training.snapshot import SnapshotStore
from antiphon.workflows.folder import TOKENIZERS, RunStart, create_run, run_folder
from antiphon.workflows.tokenizers import build_tokenizers, saved_tokenizers

TokenizerPair = tuple[Tokenizer, Tokenizer]


def shared_tokenizers(world: World, config: TrainConfig, task: Task, *, run: Path | None) -> TokenizerPair:
    """The source and the target tokenizer, one object if they are one: those in the folder `run`, or loaded or trained
    as the recipe says. Rank 0 does this, and sends them to the others."""
    own = None
    if world.main:
        own = build_tokenizers(config, task) if run is None else saved_tokenizers(run / TOKENIZERS)
    if world.size == 1 and own is not None:
        return own
    files = exchange(world, None if own is None else _packed(own))[0]
    assert files is not None
    return own or _unpacked(files)


def _packed(pair: TokenizerPair) -> dict[str, bytes]:
    """The files of two tokenizers, by their names."""
    with tempfile.TemporaryDirectory(prefix="antiphon-tokenizers-") as name:
        folder = Path(name)
        pair[0].save(folder, "source")
        if pair[1] is not pair[0]:
            pair[1].save(folder, "target")
        return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def _unpacked(files: dict[str, bytes]) -> TokenizerPair:
    with tempfile.TemporaryDirectory(prefix="antiphon-tokenizers-") as name:
        for file, content in files.items():
            (Path(name) / file).write_bytes(content)
        return saved_tokenizers(Path(name))


def build_loop(
    config: TrainConfig, world: World, folder: Path, known: Mapping[str, Any]
) -> tuple[Loop, tuple[str, ...]]:
    """The training loop of a run in `folder`, and messages for its log. `known`: the other parts of the loop.

    ConfigError for a recipe that cannot be dealt over the ranks.
    """
    exchange(world, None)  # on every rank all other parts are built: from here on the ranks wait for each other
    settings, place = config.training, Path(config.folder) if config.folder else None
    ids = {"pad_id": known["pad_id"], "start_id": known["start_id"]}
    parallel, notes = parallelize(known["network"], settings, world, known["batches"].peek, folder=place, **ids)
    parts = LoopParts(
        optimizer=build_optimizer(parallel.network, settings, folder=place),
        store=SnapshotStore(folder / "snapshots", keep=settings.keep_last, say=known["record"].say),
        parallel=parallel,
        **known,
    )
    return Loop(parts, settings, validate_every=config.validation.interval), notes


@contextmanager
def opened_run(
    world: World, folder: Path, start: Callable[[], RunStart | None], *, overwrite: bool
) -> Iterator[FolderLock | None]:
    """The context in which `folder` is locked, by rank 0, and holds the run: a new one if `start` gives its content."""
    with ExitStack() as held:
        lock = None
        with together(world):
            if world.main:
                lock = held.enter_context(run_folder(folder))
                if (begun := start()) is not None:
                    create_run(folder, begun, overwrite=overwrite)
        yield lock
