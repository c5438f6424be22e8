"""A loss of power after each operation of a save and a rotation: a whole snapshot is there, no other is accepted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from disk_log import DiskLog, Operation, Power, memory_folder, read_tree, write_tree
from torture.figures import FigureRecorder

from antiphon.training.snapshot import MANIFEST, SnapshotStore


@pytest.fixture(name="memory")
def _memory() -> Iterator[Path]:
    with memory_folder() as folder:
        yield folder


STEPS = (10, 20, 30, 40)


def files_of(step: int) -> dict[str, list[bytes]]:
    return {
        "weights.safetensors": [bytes([step]) * 60, bytes([step + 1]) * 40],
        "optimizer.safetensors": [bytes([step + 2]) * 80],
        "state.json": [b'{"step": %d}' % step],
    }


def recorded(folder: Path, steps: Sequence[int] = STEPS) -> tuple[DiskLog, list[int]]:
    """The log of saves, of which the newest two stay, and the number of operations after each."""
    ends = []
    with DiskLog(folder) as log:
        store = SnapshotStore(folder / "run" / "snapshots", keep=2)
        for step in steps:
            store.start(step, files_of(step))
            store.wait()
            ends.append(len(log.operations))
    return log, ends


def test_the_log_has_every_operation(memory: Path) -> None:
    """Repeated, it gives the same files. A rotation is in it."""
    log, _ = recorded(memory)
    assert log.remains(len(log.operations), Power(frozenset(), "kept")) == read_tree(memory)
    kinds = {each.kind for each in log.operations}
    assert kinds == {"create", "truncate", "write", "fsync", "mkdir", "rename", "unlink", "rmdir"}


def outcome(
    folder: Path, steps: Sequence[int] = STEPS, *, left_out: Callable[[Operation], bool] = lambda operation: False
) -> tuple[int, list[str]]:
    """The number of different states of the disk after a loss of power, and what is wrong with some of them."""
    log, ends = recorded(folder / "disk", steps)
    log.operations = [Operation("nothing", "") if left_out(operation) else operation for operation in log.operations]
    wanted = {step: {name: b"".join(parts) for name, parts in files_of(step).items()} for step in STEPS}
    states = {}
    for done, power in log.states():
        complete = max((step for step, end in zip(steps, ends, strict=True) if end <= done), default=0)
        remains = log.remains(done, power)
        states[tuple(sorted(remains.items())), complete] = f"after {done} operations, {power}", remains
    faults = []
    for (_, complete), (when, remains) in states.items():
        place = folder / "state"
        write_tree(place, remains)
        store = SnapshotStore(place / "run" / "snapshots", keep=2)
        newest = store.newest()
        if newest is None and complete:
            faults.append(f"{when}: no whole snapshot")
        elif newest is not None:
            found = {path.name: path.read_bytes() for path in newest.folder.iterdir() if path.name != MANIFEST}
            if found != wanted[newest.step]:
                faults.append(f"{when}: a bad one is accepted")
            if newest.step < complete:
                faults.append(f"{when}: step {complete} was complete, but is gone")
        # What is left does not keep the run from its next snapshot.
        store.save(50, files_of(50))
        after = store.newest()
        if after is None or after.step != 50 or list(store.folder.glob("tmp-*")):
            faults.append(f"{when}: the next save does not work")
        shutil.rmtree(place)
    return len(states), faults


def test_after_every_loss_of_power_the_last_whole_snapshot_loads(memory: Path, figures: FigureRecorder) -> None:
    count, faults = outcome(memory)
    assert count > 200 and faults == []
    figures.add("different states of a disk", count)


def is_of(operation: Operation, what: str) -> bool:
    """Whether a sync is that of the data of files, of the entries of a snapshot, or of those of the folders above."""
    if operation.kind != "fsync":
        return False
    if operation.inode >= 0:
        return what == "data"
    return what == ("entries" if "tmp-" in operation.path else "folders")


@pytest.mark.parametrize("what", ["data", "entries", "folders"])
def test_a_sync_that_is_left_out_is_found(memory: Path, what: str) -> None:
    """The test of a loss of power can fail."""
    _, faults = outcome(memory, STEPS[:2], left_out=lambda operation: is_of(operation, what))
    assert faults
