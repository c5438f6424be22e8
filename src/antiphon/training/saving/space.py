"""The space on the disk that the next two snapshots need: checked long before they are written.

space = SpaceCheck(store, lambda: snapshot_bytes(now))
space.before_step(world)    # of the first step, and after it: DiskError if there is too little
space.after_step(world)     # of later ones: reports once when the space becomes too little
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from antiphon.distributed.world import World
from antiphon.errors import DiskError, argument
from antiphon.training.snapshot import SnapshotStore

SECONDS = 30.0  # between two looks at the disk
MARGIN = 2**20  # bytes for manifests, the log and the entries of folders


class SpaceCheck:
    """Checks the space for the next two snapshots of `store`; `size` returns the bytes of one."""

    def __init__(
        self, store: SnapshotStore, size: Callable[[], int], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.store, self.size, self.clock = store, size, clock
        self._first = True
        self._next = 0.0
        self._low = False

    def before_step(self, world: World) -> None:
        """DiskError, on every rank, if the space is too little before the first step. All ranks call this."""
        if self._first:
            self.require(world)

    def after_step(self, world: World) -> None:
        """The same after the first step, when the optimizer has its state, and little is lost. Later a report."""
        if self._first:
            self._first = False
            self.require(world)
        elif world.main:
            self.watch()

    def needed(self) -> int:
        """The bytes that the next two snapshots need beside those that are there.

        An old one is deleted after a new one is complete, so that one more than `keep` exist for a while.
        """
        there, keep = len(self.store.steps()), self.store.keep
        after = there + 1 if keep is None else min(there + 1, keep)
        return max(1, after + 1 - there) * self.size() + MARGIN

    def require(self, world: World) -> None:
        """DiskError, on every rank, if the space is too little. All ranks call this."""
        fault = None
        if world.main and (lacking := self._lacking()):
            free, needed = lacking
            fault = (
                f"the disk of `{self.store.folder}` must have {_text(needed)} free for the next two snapshots, but has "
                f"{_text(free)}. Free space, then continue with {argument('resume=True', flag='--resume')}, or choose "
                f"another {argument('output', flag='--output')}."
            )
        if fault := world.broadcast(fault):
            raise DiskError(fault)

    def watch(self) -> None:
        """Report when the space becomes too little, and again only after there was enough."""
        now = self.clock()
        if now < self._next or self.store.background.active:  # half a snapshot is counted twice
            return
        self._next = now + SECONDS
        lacking = self._lacking()
        if lacking and not self._low:
            self.store.say(
                f"the disk of `{self.store.folder}` has {_text(lacking[0])} free, but the next two snapshots need "
                f"{_text(lacking[1])}. Free space now: the run ends at a snapshot that cannot be written."
            )
        self._low = lacking is not None

    def _lacking(self) -> tuple[int, int] | None:
        """The free and the needed bytes, if there are too few."""
        folder = next(place for place in (self.store.folder, *self.store.folder.absolute().parents) if place.exists())
        free, needed = free_bytes(folder), self.needed()
        return (free, needed) if free < needed else None


def free_bytes(folder: Path) -> int:
    """The bytes that may still be written to the file system of `folder`."""
    return shutil.disk_usage(folder).free


def _text(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
