"""The exclusive lock of a run folder: only one process at a time trains in it, on one machine or on several.

    with exclusive_lock(folder) as lock:
        ...
        lock.check()        # before anything is written that must not be written twice

Two means together. The folder itself is locked (flock): the system releases that when the process ends, but on some
network file systems it does not reach other machines. And a lease (lease.py), which does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from antiphon.errors import ConfigError, argument
from antiphon.training.lease import Holder, Lease, LeaseHeldError, is_leased


class FolderLock:
    """A lock that is held."""

    def __init__(self, lease: Lease | None) -> None:
        self._lease = lease

    def check(self) -> None:
        """LeaseLostError if another machine has taken the folder over, since this one was suspended for too long."""
        if self._lease is not None:
            self._lease.check()


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[FolderLock]:
    """Lock `folder` for the duration of the context. ConfigError if another process, or a run in this one, holds it.

    If a process on another machine was killed in it, this takes half a minute. Does nothing where the folder can
    neither be locked nor written.
    """
    with _flock(folder):
        lease = _take_lease(folder)
        try:
            yield FolderLock(lease)
        finally:
            if lease is not None:
                lease.release()


def _take_lease(folder: Path) -> Lease | None:
    """The lease of `folder`; None for a folder that cannot be written."""
    lease = Lease(folder)
    try:
        lease.take()
    except LeaseHeldError as error:
        raise _in_use(folder, error.holder) from None
    except OSError:
        return None
    return lease


def is_locked(folder: Path) -> bool:
    """Whether a process trains in `folder`; False where the folder cannot be read.

    Nothing is written, and no lock is taken: a run may start meanwhile.
    """
    try:
        return is_leased(folder)
    except OSError:
        return False


@contextmanager
def _flock(folder: Path) -> Iterator[None]:
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(folder, None) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)


def _in_use(folder: Path, holder: Holder | None) -> ConfigError:
    return ConfigError(
        f"the run folder `{folder}` must be free, but {'another process' if holder is None else holder} is training in "
        f"it. Wait for its end, or stop it (it saves first), or choose another "
        f"{argument('output', flag='--output')}."
    )
