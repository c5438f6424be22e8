"""A log of what a program does to the files of a folder, and the folders that a loss of power may leave of it.

    with DiskLog(folder) as log:
        store.save(1, files)
    for done, power in log.states():                # each prefix of the log, in several ways
        files = log.remains(done, power)            # what is on the disk then

The model of a disk: an entry (of a new, renamed or deleted file or folder) is safe once its folder was synced, data
once its file was synced. Of what is not safe, any number of the oldest entries of each folder may be on the disk; data
is missing, is zeros, or is there.
"""

from __future__ import annotations

import builtins
import io
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

ENTRIES = ("create", "mkdir", "rename", "unlink", "rmdir")  # operations that change entries of folders


@dataclass(frozen=True)
class Operation:
    """`path` and `other` (the new name) are relative to the folder; `inode` is the number of the file."""

    kind: str
    path: str
    other: str = ""
    inode: int = -1
    content: bytes = b""


@dataclass(frozen=True)
class Power:
    """How the power is lost: which operations on entries did not reach the disk, and what unsynced data is."""

    missing: frozenset[int]
    data: str  # dropped, zeroed or kept


class DiskLog:
    """Records the operations below `folder` while it is entered. `before` is called before each one, and may raise."""

    def __init__(self, folder: Path, *, before: Callable[[int, str], None] = lambda number, kind: None) -> None:
        self.folder, self.before = folder.resolve(), before
        self.operations: list[Operation] = []
        self.calls = 0
        self._inodes: dict[str, int] = {}
        self._by_inode: dict[int, list[int]] = {}
        self._lock = threading.RLock()
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> DiskLog:
        for name in ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir", "truncate"):
            self._patch.setattr(os, name, self._wrapped(name, getattr(os, name)))
        self._patch.setattr(io, "open", self._opened(io.open))
        self._patch.setattr(builtins, "open", self._opened(builtins.open))
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.undo()

    def _name(self, path: Any, dir_fd: int | None = None) -> str | None:
        """The path in the folder; None for one outside it."""
        home = Path.cwd() if dir_fd is None else Path(os.readlink(f"/proc/self/fd/{dir_fd}"))
        full = home / os.fsdecode(path)
        return str(full.relative_to(self.folder)) if full.is_relative_to(self.folder) else None

    def _count(self, kind: str) -> None:
        self.calls += 1
        self.before(self.calls, kind)

    def _wrapped(self, kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **settings: Any) -> Any:
            with self._lock:
                first = f"/proc/self/fd/{arguments[0]}" if kind == "fsync" else arguments[0]
                path = self._name(os.readlink(first) if kind == "fsync" else first, settings.get("dir_fd"))
                if path is None:
                    return real(*arguments, **settings)
                self._count(kind)
                found = real(*arguments, **settings)
                self._note(kind, path, arguments)
                return found

        return call

    def _note(self, kind: str, path: str, arguments: tuple[Any, ...]) -> None:
        if kind in ("rename", "replace"):
            other = self._name(arguments[1])
            assert other is not None
            self.operations.append(Operation("rename", path, other))
            self._inodes = {
                (other + name[len(path) :] if name == path or name.startswith(f"{path}/") else name): inode
                for name, inode in self._inodes.items()
            }
        elif kind == "truncate":
            self.operations.append(Operation("truncate", path, str(arguments[1]), self._inodes[path]))
        elif kind == "fsync":
            self.operations.append(Operation("fsync", path, inode=self._inodes.get(path, -1)))
        else:
            self.operations.append(Operation(kind, path))
            if kind == "unlink":
                self._inodes.pop(path, None)  # a file of before has no number

    def _opened(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(file: Any, mode: str = "r", *arguments: Any, **settings: Any) -> Any:
            path = self._name(file) if isinstance(file, (str, os.PathLike)) else None
            if path is None:
                return real(file, mode, *arguments, **settings)
            with self._lock:
                self._count("open")
                if not {*mode} & {*"wax+"}:
                    return real(file, mode, *arguments, **settings)
                stream = real(file, mode.replace("b", "").replace("t", "") + "b", 0)
                if path not in self._inodes:
                    self._inodes[path] = len(self.operations)
                    self.operations.append(Operation("create", path, inode=self._inodes[path]))
                inode = self._inodes[path]
                if "w" in mode:
                    self.operations.append(Operation("truncate", path, "0", inode))
            raw = _Recorded(stream, self, path, inode)
            if "b" in mode:
                return raw
            return io.TextIOWrapper(io.BufferedWriter(raw), encoding=settings.get("encoding") or "utf-8")

        return opened

    def states(self, *, least: bool = False) -> Iterator[tuple[int, Power]]:
        """Every prefix of the log, with all entries that may be missing, and each kind of data.

        `least`: only the states in which all entries and data are missing, or the data is zeros, that may be.
        """
        safe = [self._safe_after(number) for number in range(len(self.operations))]
        for done in range(len(self.operations) + 1):
            unsafe: dict[str, list[int]] = {}
            for number in range(done):
                if safe[number] > done:
                    unsafe.setdefault(self._folder(number), []).append(number)
            ways = [[there[n:] for n in range(1 if least else len(there) + 1)] for there in unsafe.values()]
            for missing in product(*ways):
                for data in ("dropped", "zeroed") if least else ("dropped", "zeroed", "kept"):
                    yield done, Power(frozenset(chain(*missing)), data)

    def _safe_after(self, number: int) -> float:
        """How many operations are done when the folder of an entry that operation `number` changes has been synced."""
        if self.operations[number].kind not in ENTRIES:
            return 0
        folder = self._folder(number)
        later = range(number, len(self.operations))
        synced = (n for n in later if self.operations[n].kind == "fsync" and self.operations[n].path == folder)
        return next(synced, math.inf) + 1

    def _folder(self, number: int) -> str:
        operation = self.operations[number]
        parent = str(Path(operation.path).parent)
        assert operation.kind != "rename" or str(Path(operation.other).parent) == parent, "a move to another folder"
        return parent

    def remains(self, done: int, power: Power) -> dict[str, bytes | None]:
        """The files (and folders: None) on the disk after `done` operations and a loss of power."""
        tree: dict[str, int | None] = {}
        for number, operation in enumerate(self.operations[:done]):
            if operation.kind in ENTRIES and number not in power.missing:
                _apply(tree, operation)
        contents = {inode: self._content(inode, done, power.data) for inode in tree.values() if inode is not None}
        return {name: None if inode is None else contents[inode] for name, inode in tree.items()}

    def _of_inode(self, inode: int) -> list[int]:
        """The operations on a file."""
        if inode not in self._by_inode:
            self._by_inode[inode] = [number for number, each in enumerate(self.operations) if each.inode == inode]
        return self._by_inode[inode]

    def _content(self, inode: int, done: int, data: str) -> bytes:
        """The content of a file."""
        whole, synced = bytearray(), b""
        for number in self._of_inode(inode):
            operation = self.operations[number]
            if number >= done:
                break
            if operation.kind == "write":
                whole += operation.content
            elif operation.kind == "truncate":
                del whole[int(operation.other) :]
            elif operation.kind == "fsync":
                synced = bytes(whole)
        if data == "kept" or synced == whole:
            return bytes(whole)
        return synced if data == "dropped" else synced[: len(whole)] + bytes(max(0, len(whole) - len(synced)))


class _Recorded(io.RawIOBase):
    """An open file whose writes are recorded."""

    def __init__(self, stream: Any, log: DiskLog, path: str, inode: int) -> None:
        self.stream, self.log, self.path, self.inode = stream, log, path, inode

    def write(self, content: Any) -> int:
        with self.log._lock:
            self.log._count("write")
            size = self.stream.write(content)
            self.log.operations.append(
                Operation("write", self.path, inode=self.inode, content=bytes(memoryview(content).cast("B")[:size]))
            )
            return size

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.stream.fileno()

    def close(self) -> None:
        self.stream.close()
        super().close()


def _apply(tree: dict[str, int | None], operation: Operation) -> None:
    """Change the entries of folders. What is in no folder is not on the disk."""
    parent = str(Path(operation.path).parent)
    if parent != "." and parent not in tree:
        return
    if operation.kind == "create":
        tree[operation.path] = operation.inode
    elif operation.kind == "mkdir":
        tree[operation.path] = None
    elif operation.kind in ("unlink", "rmdir"):
        tree.pop(operation.path, None)
    elif operation.path in tree:
        moved = [name for name in tree if name == operation.path or name.startswith(f"{operation.path}/")]
        for name in moved:
            tree[operation.other + name[len(operation.path) :]] = tree.pop(name)


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A temporary folder in memory, where the system has one: thousands of syncs take no time."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def write_tree(folder: Path, files: dict[str, bytes | None]) -> None:
    """Make the files and folders in `folder`."""
    for name, content in sorted(files.items()):
        path = folder / name
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def read_tree(folder: Path) -> dict[str, bytes | None]:
    """The files and folders in `folder`."""
    return {str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")}
