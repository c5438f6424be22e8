"""A lease of a folder that works on network file systems, between machines whose clocks differ.

    lease = Lease(folder)
    lease.take()            # LeaseHeldError if another process has it
    lease.check()           # LeaseLostError if another process has taken it over since
    lease.release()

Each process that wants the folder writes a file of its own there, with its machine, its process and a counter that a
thread increments every BEAT_SECONDS. It has the lease once it lists the folder and finds no other such file. Nothing
else is asked of the file system: no locks, no links, no exclusive creation, and no file is ever written by two
processes. Of two files that arrive together, the one whose name is first goes on waiting, and the other is withdrawn.

A file whose process has ended is deleted: at once where that can be asked (the same kernel and process namespace), else
after its counter has stood still for STALE_SECONDS of the reader's monotonic clock, in which the folder could be read
at all times. No clock of another machine is compared. A process that was suspended for so long finds its file gone
(`check`) and must write nothing any more.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from antiphon.errors import WorkError, argument

BEAT_SECONDS = 5.0
STALE_SECONDS = 30.0
_POLL_SECONDS = 0.1
_SIZE = 1024  # of a file in bytes: it is overwritten in place, so its length must not change
_NAME = re.compile(r"run\.lock\.[0-9a-f]{16}")
_WAITING, _HELD = "waiting", "held"


class LeaseLostError(WorkError):
    """Another process has taken the folder over."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that wrote a file: `kernel` and `started` tell it from one with the same number."""

    host: str
    kernel: str
    pid: int
    started: str
    state: str = _WAITING

    def __str__(self) -> str:
        return f"process {self.pid}" + (f" on {self.host}" if self.kernel != _kernel() else "")

    def ended(self) -> bool:
        """Whether the process is known to have ended; False if this machine cannot know."""
        return self.kernel == _kernel() and _started(self.pid) != self.started

    def lives(self) -> bool:
        """Whether the process is known to run; False if this machine cannot know."""
        return self.kernel == _kernel() and _started(self.pid) == self.started


class LeaseHeldError(Exception):
    """Another process has the folder; `holder` is None where its file cannot be read."""

    def __init__(self, holder: Holder | None) -> None:
        super().__init__(f"held by {holder}")
        self.holder = holder


class Lease:
    """The lease of `folder` for this process. `beat` and `stale` are in seconds; all processes must use the same."""

    def __init__(self, folder: Path, *, beat: float = BEAT_SECONDS, stale: float = STALE_SECONDS) -> None:
        self.folder, self.beat, self.stale = folder, beat, stale
        self.file = folder / f"run.lock.{secrets.token_hex(8)}"
        self._me = Holder(socket.gethostname(), _kernel(), os.getpid(), _started(os.getpid()) or "")
        self._state, self._count = _WAITING, 0
        self._gone = threading.Event()  # the file was deleted by another process
        self._done = threading.Event()
        self._writing = threading.Lock()
        self._seen: dict[str, tuple[bytes, float]] = {}  # name -> content, and since when it is unchanged
        self._read_last = self._written = time.monotonic()

    def take(self) -> None:
        """Take the lease; this lasts up to `stale` seconds. LeaseHeldError if another process has it, OSError where
        files cannot be written."""
        self._write(os.O_CREAT | os.O_EXCL)
        threading.Thread(target=self._beat_until_done, name="lease", daemon=True).start()
        began = time.monotonic()
        try:
            while not self._is_alone():
                if time.monotonic() - began > 4 * self.stale:  # the other one waits too, and is suspended
                    raise LeaseHeldError(None)
                time.sleep(_POLL_SECONDS)
            self._state = _HELD
            self._write()
        except FileNotFoundError:  # this process was suspended, and another one has deleted its file
            self.release()
            raise LeaseHeldError(None) from None
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give the lease up."""
        self._done.set()
        with self._writing:
            self.file.unlink(missing_ok=True)

    def check(self) -> None:
        """LeaseLostError if another process has taken the lease over, since this one was suspended for too long."""
        overdue = time.monotonic() - self._written > self.stale / 2
        if self._gone.is_set() or (overdue and not self.file.exists()):
            raise LeaseLostError(
                f"the run folder `{self.folder}` must belong to this process, but its file `{self.file.name}` is gone: "
                f"another process has taken the folder over, since this one was not heard of for {self.stale:g} s. "
                f"Nothing more is saved here. Continue from the last snapshot, when the other one has ended, with "
                f"{argument('resume=True', flag='--resume')}."
            )

    def _is_alone(self) -> bool:
        """Whether there is no file of another process. LeaseHeldError if one must be given way to."""
        try:
            files = [each for each in _files(self.folder) if each[0] != self.file.name]
        except OSError:  # a server that does not answer for now
            self._seen.clear()
            return False
        now = time.monotonic()
        if now - self._read_last > self.stale / 4:  # this process, or the file system, stood still: count again
            self._seen.clear()
        self._read_last = now
        for name, content in files:
            holder = _parse(content)
            known, since = self._seen.setdefault(name, (content, now))
            changed, lives = known != content, holder is not None and holder.lives()
            if changed:
                self._seen[name] = (content, now)
            if holder is not None and (lives or changed) and (holder.state == _HELD or name < self.file.name):
                raise LeaseHeldError(holder)
            stale = not lives and not changed and now - since > self.stale
            if stale or (holder is not None and holder.ended()):
                (self.folder / name).unlink(missing_ok=True)
        return not files

    def _beat_until_done(self) -> None:
        while not self._done.wait(self.beat):
            try:
                self._write()
            except FileNotFoundError:
                self._gone.set()
                return
            except OSError:  # such as a server that does not answer: others count the time in which they can read
                continue

    def _write(self, flags: int = 0) -> None:
        with self._writing:
            if self._done.is_set():
                return
            self._count += 1
            row = {**asdict(self._me), "state": self._state, "beat": self._count}
            # Opened and closed each time: that is when a network file system sends what was written.
            handle = os.open(self.file, os.O_WRONLY | flags, 0o644)
            try:
                os.write(handle, json.dumps(row).encode().ljust(_SIZE))
            finally:
                os.close(handle)
            self._written = time.monotonic()


def is_lease(name: str) -> bool:
    """Whether a file of this name in a folder belongs to a lease."""
    return _NAME.fullmatch(name) is not None


def is_leased(folder: Path) -> bool:
    """Whether the lease of a folder seems to be held. Nothing is written and nothing waited for: of a process on
    another machine, its file must have been written in the last minutes."""
    for name, content in _files(folder):
        holder = _parse(content)
        if holder is None or holder.ended() or holder.state != _HELD:
            continue
        try:
            age = time.time() - (folder / name).stat().st_mtime
        except OSError:
            continue
        if holder.lives() or abs(age) < 4 * STALE_SECONDS:  # clocks may differ by a minute or two
            return True
    return False


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The name and content of each file of a lease, by name."""
    for name in sorted(filter(is_lease, os.listdir(folder))):
        try:
            yield name, (folder / name).read_bytes()
        except FileNotFoundError:
            continue


def _parse(content: bytes) -> Holder | None:
    try:
        row = json.loads(content)
        return Holder(str(row["host"]), str(row["kernel"]), int(row["pid"]), str(row["started"]), str(row["state"]))
    except (ValueError, KeyError, TypeError, RecursionError):  # not yet written, or of another version
        return None


@cache
def _kernel() -> str:
    """What processes have in common whose numbers mean the same: the start of the kernel and the process namespace."""
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{start} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode():x}"


def _started(pid: int) -> str | None:
    """When a process of this machine was started, in a unit of the system; None if it has ended."""
    try:
        # The name of the program is in parentheses and may hold any character.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "unknown"
