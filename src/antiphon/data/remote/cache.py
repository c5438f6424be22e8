"""Local copies of remote files in a folder with a bound in bytes; the file that was not used for longest goes first.

    stream = open_cached(RemoteName(url, cache=FileCache("/data/cache", 20_000_000_000)))

Several processes may use one folder. A copy is named by the URL and the version of the file, so a changed file is
another copy. Whoever downloads a file holds a lock on it; the others wait, and read the copy then. A download that
broke off is continued at its last byte. A copy that is deleted while it is read stays readable until it is closed.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from antiphon.data.remote.filesystem import FileDetails, details
from antiphon.data.remote.reading import BLOCK_BYTES, RemoteFile, open_remote
from antiphon.errors import DiskError
from antiphon.urls import FileCache, RemoteName

_COPY, _PART, _LOCK = ".copy", ".part", ".lock"


def open_cached(name: RemoteName) -> BinaryIO:
    """The file at a URL: its copy in `name.cache`, which is made if need be; without a cache, or where the file is
    larger than the bound or of unknown size, from the server."""
    settings = name.cache
    if settings is None:
        return open_remote(name)
    known = details(name)
    if known.size is None or known.size > settings.max_bytes:
        size = "of unknown size" if known.size is None else f"{known.size:,} bytes"
        warnings.warn(
            f"`{name}` ({size}) is read without the cache, which holds {settings.max_bytes:,} bytes", stacklevel=2
        )
        return open_remote(name)
    folder, key = Path(settings.folder), _key(name, known)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:  # until the copy is not deleted between its making and its opening
            with suppress(FileNotFoundError):
                return _used(folder / f"{key}{_COPY}")
            with _locked(folder / f"{key}{_LOCK}"):
                made = (folder / f"{key}{_COPY}").exists() or _download(name, known.size, folder / key, settings)
            if not made:  # the downloads of other processes fill the cache
                return open_remote(name)
    except OSError as error:
        raise DiskError(
            f"the copy of `{name}` in the cache `{folder}` cannot be made ({error.strerror or error}). Free some "
            "space, or choose another `data.cache`."
        ) from error


def _key(name: RemoteName, known: FileDetails) -> str:
    return hashlib.blake2b(f"{name}\n{known.size}\n{known.version}".encode(), digest_size=16).hexdigest()


def _used(copy: Path) -> BinaryIO:
    """Open a copy, and note that it was used now."""
    stream = copy.open("rb")
    with suppress(OSError):  # deleted meanwhile; it is open
        os.utime(copy)
    return stream


def _download(name: RemoteName, size: int, target: Path, settings: FileCache) -> bool:
    """Make the copy; False if there is no room, since other processes are downloading."""
    part = target.with_suffix(_PART)
    with _locked(target.with_name(f"folder{_LOCK}")):
        # Room for the whole file is made before its first byte, so that the bound holds while it grows.
        if not _make_room(target.parent, settings.max_bytes - size, keep=part):
            return False
        target.with_suffix(_LOCK).write_text(str(size))
        part.touch()
    with RemoteFile(name) as source, part.open("r+b") as stream:
        done = min(stream.seek(0, os.SEEK_END), size)
        stream.seek(done)
        source.seek(done)
        while block := source.read(BLOCK_BYTES):
            stream.write(block)
        stream.truncate()
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(part, target.with_suffix(_COPY))
    return True


def _make_room(folder: Path, max_bytes: int, *, keep: Path) -> bool:
    """Delete copies, those first that were not used for longest, and downloads that nobody goes on with, until at most
    `max_bytes` are left. False if running downloads need more."""
    found: list[tuple[float, int, Path]] = []
    held = 0
    for path in folder.iterdir():
        if path.suffix not in (_COPY, _PART) or path == keep:
            continue
        with suppress(FileNotFoundError):
            state = path.stat()
            if path.suffix == _PART and not _is_free(path.with_suffix(_LOCK)):
                held += _reserved(path.with_suffix(_LOCK), state.st_size)
                continue
            found.append((state.st_mtime, state.st_size, path))
    held += sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if held <= max_bytes:
            break
        with suppress(FileNotFoundError):
            path.unlink()
        held -= size
    return held <= max_bytes


def _reserved(lock: Path, so_far: int) -> int:
    """The whole size of a file that another process is downloading."""
    text = lock.read_text()
    return max(so_far, int(text) if text.isdigit() else 0)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; the system releases it when the process ends. Nothing where there are no locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    place = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)


def _is_free(lock: Path) -> bool:
    """Whether no process holds a lock file."""
    try:
        import fcntl

        place = os.open(lock, os.O_RDWR)
    except (ImportError, OSError):
        return True
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(place)
    return True
