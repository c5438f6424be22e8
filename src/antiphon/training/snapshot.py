"""Snapshots of a run: written atomically, and verified before use.

    store = SnapshotStore(run_folder / "snapshots", keep=5)
    store.save(step, {"weights.safetensors": ..., "state.json": ...})
    newest = store.newest()              # the newest one whose manifest verifies, or None
    store.start(step, files)             # the same beside the training
    store.wait()                         # until it is complete; raises its error

Saving writes a temporary folder, syncs each file to disk and reads it back, writes and syncs the manifest (size and
SHA-256 of each file), renames the folder, syncs its parent, and only then deletes old ones. So the previous snapshot
survives a kill or power loss at any moment. Several ranks save one snapshot together: each writes its own files, rank 0
does the rest.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from antiphon.distributed.world import World
from antiphon.durable import make_folder, sync_folder
from antiphon.errors import DiskError, argument, one_line
from antiphon.training.saving.background import BackgroundWork
from antiphon.training.saving.files import (
    MANIFEST,
    FileRow,
    damage,
    manifest_file,
    read_manifest,
    read_row,
    write_file,
)
from antiphon.training.saving.ranks import RankExchange
from antiphon.training.saving.tensor_file import Buffers

T = TypeVar("T")
Files = Mapping[str, bytes | Buffers]
_NAME = re.compile(r"step-(\d+)")
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A verified snapshot folder."""

    step: int
    folder: Path

    def read(self, name: str) -> bytes:
        """The content of one of its files."""
        return (self.folder / name).read_bytes()

    def has(self, name: str) -> bool:
        """Whether it has the file `name`."""
        return (self.folder / name).is_file()


class SnapshotStore:
    """The snapshots of one run. Only the newest `keep` are retained; None: all, until they are dropped.

    `say` is called with a message about each damaged snapshot, and each old one that cannot be deleted. `needed`: for
    each of these steps, the newest snapshot of it or of an older one is retained too.
    """

    needed: Collection[int] = ()

    def __init__(self, folder: Path, *, keep: int | None, say: Callable[[str], None] = lambda line: None) -> None:
        self.folder, self.keep, self.say = folder, keep, say
        self.background = BackgroundWork()
        self._ranks: RankExchange | None = None

    def ranks(self, world: World) -> RankExchange | None:
        """How the ranks of `world` save together; None for one rank. All ranks call this at the same time."""
        if world.size > 1 and self._ranks is None:
            self._ranks = RankExchange()
        return self._ranks

    def save(self, step: int, files: Files, *, ranks: RankExchange | None = None) -> Snapshot:
        """Write the snapshot of `step`, then delete all but the newest `keep`.

        With `ranks`, all of them call this, each with its own files. DiskError on each of them if a file cannot be
        written; the old ones are then untouched.
        """
        draft, target = self.folder / f"tmp-step-{step}", self.folder / f"step-{step}"
        main = ranks is None or ranks.rank == 0
        try:
            self._together(ranks, step, lambda: self._prepare(draft) if main else None)
            written = self._together(ranks, step, lambda: _write_files(draft, files))
            rows = {name: row for found in written for name, row in found.items()}
            self._together(ranks, step, lambda: self._complete(draft, target, rows) if main else None)
        except DiskError:
            if main:
                shutil.rmtree(draft, ignore_errors=True)
            raise
        # A snapshot of a later step must be damaged, else the run would have resumed from it: it must not displace
        # valid ones.
        if main and self.keep is not None:
            earlier = [known for known in self.steps() if known <= step]
            needed = {max((known for known in earlier if known <= wanted), default=step) for wanted in self.needed}
            self.drop({*self.steps()} - {*earlier[-self.keep :]} - needed)
        return Snapshot(step, target)

    def start(
        self, step: int, files: Files, *, ranks: RankExchange | None = None, then: Callable[[], object] = lambda: None
    ) -> None:
        """`save` in a thread, and after it `then`. Waits for the snapshot before it, and raises the error of that."""

        def work() -> None:
            self.save(step, files, ranks=ranks)
            then()

        self.background.start(work)

    def wait(self) -> None:
        """Wait until the snapshot that was started is complete. DiskError if it cannot be written."""
        self.background.wait()

    def drop(self, steps: Collection[int]) -> None:
        """Delete the snapshots of `steps`. One that cannot be deleted is reported, and stays."""
        for old in sorted(steps):
            folder = self.folder / f"step-{old}"
            try:
                shutil.rmtree(folder)
            except FileNotFoundError:
                pass
            except OSError as error:
                self.say(f"the old snapshot `{folder}` cannot be deleted ({one_line(error)}). Delete it by hand.")

    def steps(self) -> list[int]:
        """The steps of all snapshots, valid or not, oldest first."""
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def newest(self, world: World | None = None) -> Snapshot | None:
        """The newest valid snapshot; None if there is none. With `world`, all ranks call this and share the reading."""
        return next(self.valid(reversed(self.steps()), world), None)

    def last(self, count: int) -> list[Snapshot]:
        """The newest `count` valid snapshots, newest first."""
        return list(islice(self.valid(reversed(self.steps())), count))

    def valid(self, steps: Iterable[int], world: World | None = None) -> Iterator[Snapshot]:
        """The valid snapshots among `steps`, in that order. With `world`, those of rank 0 count."""
        world = world or World()
        for step in world.broadcast(list(steps)):
            folder = self.folder / f"step-{step}"
            faults = world.gather(damage(folder, part=(world.rank, world.size)))
            fault = next(filter(None, faults), None)
            if fault:
                self.say(f"the snapshot `{folder}` is damaged ({fault}) and is passed over for an older one.")
            else:
                yield Snapshot(step, folder)

    def _prepare(self, draft: Path) -> None:
        """Make the temporary folder, and delete those of interrupted saves."""
        make_folder(self.folder)
        for path in self.folder.glob("tmp-*"):
            shutil.rmtree(path)
        draft.mkdir()

    def _complete(self, draft: Path, target: Path, rows: Mapping[str, FileRow]) -> None:
        """Write the manifest, and give the folder its name."""
        write_file(draft / MANIFEST, manifest_file(rows))
        sync_folder(draft)
        if target.exists():  # a damaged snapshot of the same step
            shutil.rmtree(target)
        os.rename(draft, target)
        sync_folder(self.folder)
        found = read_manifest(target)
        if found != rows:
            raise _unreadable(target / MANIFEST, found if isinstance(found, str) else "it lists other files")

    def _together(self, ranks: RankExchange | None, step: int, work: Callable[[], T]) -> list[T]:
        """The results of `work` on all ranks. DiskError on each rank if it fails on one."""
        value: T | None = None
        fault, cause = "", None
        try:
            value = work()
        except Exception as error:  # whatever it is, the other ranks wait for this one
            fault, cause = self._message(step, error, rank=None if ranks is None else ranks.rank), error
        if ranks is None:
            found = [(value, fault)]
        else:
            try:
                found = ranks.gather((value, fault))
            except RuntimeError as error:
                raise DiskError(
                    f"the snapshot of step {step} in `{self.folder}` is not complete: another rank is gone "
                    f"({one_line(error)}). {self._last(step)} Continue with {argument('resume=True', flag='--resume')}."
                ) from error
        if first := next((each for _, each in found if each), ""):
            raise DiskError(first) from cause
        return [each for each, _ in found]  # type: ignore[misc]

    def _message(self, step: int, error: Exception, *, rank: int | None) -> str:
        if isinstance(error, DiskError):
            return f"{error} {self._last(step)}"
        reason, remedy = one_line(error), "Remove the cause"
        if isinstance(error, OSError):
            name = f"{Path(error.filename).name}: " if isinstance(error.filename, str) else ""
            reason = f"{name}{error.strerror or error}"
            remedy = "Free space" if error.errno in _FULL else "Make the folder writable again"
        place = "" if rank is None else f"rank {rank}, "
        return (
            f"the snapshot of step {step} cannot be written to `{self.folder}` ({place}{reason}). {self._last(step)} "
            f"{remedy}, then continue with {argument('resume=True', flag='--resume')}."
        )

    def _last(self, step: int) -> str:
        """What was kept, when the snapshot of `step` failed."""
        steps = [known for known in self.steps() if known != step]
        return f"The last one kept is step {steps[-1]}." if steps else "There is none before it."


def _write_files(draft: Path, files: Files) -> dict[str, FileRow]:
    """Write the files of this rank, and read them back. Returns their rows for the manifest."""
    rows = {name: write_file(draft / name, content) for name, content in files.items()}
    for name, row in rows.items():
        if read_row(draft / name) != row:
            raise _unreadable(draft / name, "its size or SHA-256 differs")
    return rows


def _unreadable(file: Path, fault: str) -> DiskError:
    return DiskError(
        f"`{file}` does not read back as it was written ({fault}), so that this snapshot is given up. The disk cannot "
        "be trusted: take another one, and continue there from a copy of the run folder."
    )
