"""Snapshots of a run: written atomically, and verified before use.

    store = SnapshotStore(run_folder / "snapshots", keep=5)
    store.save(step, {"weights.safetensors": ..., "state.json": ...})
    newest = store.newest()              # the newest one whose manifest verifies, or None

Saving writes a temporary folder, syncs each file to disk, writes and syncs the manifest (size and SHA-256 of each
file), renames the folder, syncs its parent, reads the new snapshot back, and only then deletes old ones. So the
previous snapshot survives a kill or power loss at any moment.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from antiphon.errors import DiskError, argument

MANIFEST = "manifest.json"
_NAME = re.compile(r"step-(\d+)")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A verified snapshot folder."""

    step: int
    folder: Path

    def read(self, name: str) -> bytes:
        """The content of one of its files."""
        return (self.folder / name).read_bytes()


class SnapshotStore:
    """The snapshots of one run. Only the newest `keep` are retained; None: all, until `prune` is called.

    `say` is called with a message about each damaged snapshot. `needed`: for each of these steps, the newest snapshot of
    it or of an older one is retained too.
    """

    needed: Collection[int] = ()

    def __init__(self, folder: Path, *, keep: int | None, say: Callable[[str], None] = lambda line: None) -> None:
        self.folder, self.keep, self.say = folder, keep, say

    def save(self, step: int, files: Mapping[str, bytes]) -> Snapshot:
        """Write the snapshot of `step`, then delete all but the newest `keep`.

        DiskError if it cannot be written; the old ones are then untouched.
        """
        target = self.folder / f"step-{step}"
        draft = self.folder / f"tmp-step-{step}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            draft.mkdir()
            for name, content in files.items():
                _write(draft / name, content)
            _write(draft / MANIFEST, _manifest(files))
            sync_folder(draft)
            if target.exists():  # a damaged snapshot of the same step
                shutil.rmtree(target)
            os.rename(draft, target)
            sync_folder(self.folder)
        except OSError as error:
            shutil.rmtree(draft, ignore_errors=True)
            raise DiskError(
                f"the snapshot of step {step} cannot be written to `{self.folder}` ({error.strerror or error}). "
                f"{self._last()} Free space, then continue with "
                f"{argument('resume=True', flag='--resume')}."
            ) from error
        fault = damage(target)
        if fault:
            raise DiskError(
                f"the snapshot `{target}` does not read back as it was written ({fault}). The disk cannot be trusted."
            )
        # A snapshot of a later step must be damaged, else the run would have resumed from it: it must not displace
        # valid ones.
        if self.keep is not None:
            older = [known for known in self.steps() if known <= step]
            needed = [max((known for known in older if known <= wanted), default=step) for wanted in self.needed]
            self.prune([*older[-self.keep :], *needed])
        return Snapshot(step, target)

    def prune(self, steps: Collection[int]) -> None:
        """Delete all snapshots but those of `steps`."""
        for old in {*self.steps()} - {*steps}:
            shutil.rmtree(self.folder / f"step-{old}")

    def steps(self) -> list[int]:
        """The steps of all snapshots, valid or not, oldest first."""
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def newest(self) -> Snapshot | None:
        """The newest valid snapshot; None if there is none."""
        return next(iter(self.last(1)), None)

    def last(self, count: int) -> list[Snapshot]:
        """The newest `count` valid snapshots, newest first."""
        return list(islice(self.valid(reversed(self.steps())), count))

    def valid(self, steps: Iterable[int]) -> Iterator[Snapshot]:
        """The valid snapshots among `steps`, in that order."""
        for step in steps:
            folder = self.folder / f"step-{step}"
            fault = damage(folder)
            if fault:
                self.say(f"the snapshot `{folder}` is damaged ({fault}) and is passed over for an older one.")
            else:
                yield Snapshot(step, folder)

    def _sweep(self) -> None:
        """Delete the temporary folders of interrupted saves."""
        for path in self.folder.glob("tmp-*"):
            shutil.rmtree(path)

    def _last(self) -> str:
        steps = self.steps()
        return f"The last one kept is step {steps[-1]}." if steps else "There is none before it."


def damage(folder: Path) -> str | None:
    """The fault of a snapshot folder, with the name of the file; None if all files match the manifest."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        listed = {str(name): (int(row["size"]), str(row["sha256"])) for name, row in manifest["files"].items()}
        if manifest["sha256"] != _seal(manifest["files"]):
            return f"{MANIFEST} is not what was written"
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{MANIFEST} cannot be read"
    for name, (size, digest) in listed.items():
        try:
            content = (folder / name).read_bytes()
        except OSError:
            return f"{name} is missing"
        if len(content) != size:
            return f"{name} has {len(content)} bytes instead of {size}"
        if hashlib.sha256(content).hexdigest() != digest:
            return f"{name} has another SHA-256 than when it was written"
    return None


def sync_folder(folder: Path) -> None:
    """Sync the entries of `folder` to disk, where the system supports it."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _manifest(files: Mapping[str, bytes]) -> bytes:
    rows = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()
    }
    return json.dumps({"files": rows, "sha256": _seal(rows)}, indent=1).encode()


def _seal(rows: object) -> str:
    """The digest that protects the manifest itself."""
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def _write(file: Path, content: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
