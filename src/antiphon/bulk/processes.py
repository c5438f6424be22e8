"""The processes of a bulk job: each gets a shard at a time, and one that dies is replaced, its shard continued.

    with WorkerPool(folder, job, count=2, devices=["cpu", "cpu"], threads=1, listener=listener) as pool:
        pool.run([0, 1, 2])

A process is sent its next shard when it has finished the last one, and reads a block of rows when it has written the
one before: nothing waits in memory, however fast the input is.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from antiphon.bulk.job import BulkJob
from antiphon.bulk.journal import BlockRecord
from antiphon.bulk.messages import MessageBuffer, send
from antiphon.errors import UsageError, WorkError

MAX_DEATHS = 3  # of processes in a row at one shard without progress, or while they load the model
WORKER_COMMAND = [sys.executable, "-m", "antiphon.bulk.worker"]
_POLL_SECONDS, _END_SECONDS = 0.5, 10.0
_LOG_BYTES = 2000


class BulkListener(Protocol):
    """Who hears of the progress of a job."""

    def block(self, shard: int, block: BlockRecord) -> None:
        """A block of a shard is durable."""
        ...

    def finished(self, shard: int) -> None:
        """A shard is complete."""
        ...

    def say(self, line: str) -> None:
        """A message for the user."""
        ...

    def tick(self) -> None:
        """Time has passed."""
        ...


class BulkWorker:
    """One process, the shard that it computes, and what it has sent."""

    def __init__(self, folder: Path, job: BulkJob, *, number: int, device: str, threads: int) -> None:
        self.number, self.device, self.threads = number, device, threads
        self.shard: int | None = None
        self.buffer = MessageBuffer()
        self.log = folder / ".bulk" / f"process-{number}.log"
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                WORKER_COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                process_group=0,  # Ctrl-C of a terminal goes to a whole group
            )
        self.send(folder=str(folder), device=device, threads=threads, job=job.as_json(secrets=True))

    def send(self, **message: Any) -> None:
        """Send a message; to a process that has just died, nothing."""
        assert self.process.stdin is not None
        try:
            send(self.process.stdin, **message)  # pyright: ignore[reportArgumentType]
        except OSError:
            pass

    def read(self) -> list[dict[str, Any]] | None:
        """The messages that have arrived; None if the process has ended."""
        assert self.process.stdout is not None
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        return self.buffer.messages(data) if data else None

    def hang_up(self) -> None:
        """Close its input, upon which it ends at once."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except OSError:
            pass

    def end(self) -> int:
        """End the process, by force if it does not end by itself. Returns its exit code."""
        assert self.process.stdout is not None
        self.hang_up()
        try:
            self.process.wait(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        return self.process.returncode

    def last_words(self) -> str:
        """The last line of its standard error."""
        lines = self.log.read_bytes()[-_LOG_BYTES:].decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


class WorkerPool:
    """The processes of a job: `count` of them, each on one of `devices` in turn, with `threads` threads each."""

    def __init__(
        self,
        folder: Path,
        job: BulkJob,
        *,
        count: int,
        devices: Sequence[str],
        threads: int,
        listener: BulkListener,
    ) -> None:
        self._folder, self._devices, self._threads = folder, devices, threads
        self._job, self._listener, self._count = job, listener, count
        self._titles = [shard.title for shard in job.shards]
        self._workers: list[BulkWorker] = []
        self._selector = selectors.DefaultSelector()
        self._waiting: deque[int] = deque()
        self._left: set[int] = set()
        self._warned: set[str] = set()
        self._deaths: Counter[int | None] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes, at any time: journals and outputs are always ready to be continued."""
        for worker in self._workers:
            worker.hang_up()
        for worker in self._workers:
            worker.end()
        self._selector.close()

    def run(self, shards: Iterable[int]) -> None:
        """Compute the shards with these numbers.

        Raises UsageError or WorkError with the message of a process that reports an error, and WorkError when a shard,
        or loading the model, kills one process after the other.
        """
        self._waiting.extend(shards)
        self._left = set(self._waiting)
        for number in range(min(self._count, len(self._waiting))):
            self._start(number)
        while self._left:
            for key, _ in self._selector.select(_POLL_SECONDS):
                self._hear(key.data)
            self._listener.tick()

    def _start(self, number: int) -> None:
        device = self._devices[number % len(self._devices)]
        worker = BulkWorker(self._folder, self._job, number=number, device=device, threads=self._threads)
        self._workers.append(worker)
        assert worker.process.stdout is not None
        self._selector.register(worker.process.stdout, selectors.EVENT_READ, worker)

    def _hear(self, worker: BulkWorker) -> None:
        messages = worker.read()
        if messages is None:
            self._replace(worker)
            return
        for message in messages:
            if "error" in message:
                self._raise(worker, message)
            elif "warning" in message:
                if message["warning"] not in self._warned:  # each process has the same ones
                    self._warned.add(message["warning"])
                    self._listener.say(f"antiphon: warning: {message['warning']}")
            elif "block" in message:
                self._deaths[message["shard"]] = 0
                self._listener.block(message["shard"], BlockRecord(**message["block"]))
            elif "done" in message:
                self._left.discard(message["done"])
                worker.shard = None
                self._listener.finished(message["done"])
                self._give(worker)
            elif "ready" in message:
                self._deaths[None] = 0
                self._give(worker)

    def _give(self, worker: BulkWorker) -> None:
        """Send the next shard to a process."""
        if self._waiting:
            worker.shard = self._waiting.popleft()
            worker.send(shard=worker.shard)

    def _replace(self, worker: BulkWorker) -> None:
        """Start another process in the place of one that died."""
        assert worker.process.stdout is not None
        self._selector.unregister(worker.process.stdout)
        self._workers.remove(worker)
        code = worker.end()
        ending = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        self._deaths[worker.shard] += 1
        where = "while it loaded the model" if worker.shard is None else f"at `{self._titles[worker.shard]}`"
        if self._deaths[worker.shard] >= MAX_DEATHS:
            last = worker.last_words()
            memory = " Is there enough memory?" if code == -signal.SIGKILL else ""
            raise WorkError(
                f"{MAX_DEATHS} processes in a row ended {where}, the last with {ending}{f': {last}' if last else ''}."
                f"{memory}"
            )
        if worker.shard is not None:
            self._waiting.appendleft(worker.shard)
        if self._waiting:
            self._listener.say(f"antiphon: a process ended with {ending} {where}; another one continues")
            self._start(worker.number)

    def _raise(self, worker: BulkWorker, message: dict[str, Any]) -> None:
        kind = UsageError if message["code"] == UsageError.exit_code else WorkError
        title = "" if worker.shard is None else self._titles[worker.shard]
        named = not title or title in message["error"]
        raise kind(message["error"] if named else f"`{title}`: {message['error']}")
