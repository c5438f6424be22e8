"""Files that are translated in the background, and their results, which are stored in memory for a while.

Results are not stored on a disk: they are texts of users, and a container's disk may be read-only.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal

from antiphon.serving.http.errors import ApiError

_MOST_FILES, _MOST_BYTES = 256, 2**28  # that are there at the same time, results included
_AT_ONCE = 2  # files that are translated at the same time
_RETRY_SECONDS = 10.0

FileState = Literal["waiting", "running", "done", "failed"]


@dataclass
class FileJob:
    """A file to translate. `owner` is the key that may see it."""

    name: str
    owner: str | None
    size: int
    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    state: FileState = "waiting"
    done: int = 0
    total: int = 0
    error: str | None = None
    warnings: list[str] = field(default_factory=list)
    result: bytes | None = None
    ended: float | None = None

    @property
    def download(self) -> str:
        """The name of the result in its address."""
        return self.id + PurePath(self.name).suffix.lower()

    def progress(self, done: int, total: int) -> None:
        """Record how many segments are answered."""
        self.done, self.total = done, total

    def as_json(self, base: str) -> dict[str, Any]:
        """The job for a client; `base` is the address of the server."""
        address = f"{base}download_file/{self.download}" if self.state == "done" else None
        facts = {"id": self.id, "state": self.state, "done": self.done, "total": self.total, "download": address}
        return {**facts, "error": self.error, "warnings": self.warnings}


class FileStore:
    """The files of one server."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._jobs: dict[str, FileJob] = {}
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    def add(self, job: FileJob) -> None:
        """Accept a job. ApiError 503 if there are too many."""
        now = time.monotonic()
        for old in [each for each in self._jobs.values() if each.ended and now - each.ended > self._seconds]:
            del self._jobs[old.id]
        used = sum(each.size if each.result is None else len(each.result) for each in self._jobs.values())
        if len(self._jobs) >= _MOST_FILES or used + job.size > _MOST_BYTES:
            message = "too many files are translated or wait for their download."
            raise ApiError(503, "overloaded", message, retry_after_seconds=_RETRY_SECONDS)
        self._jobs[job.id] = job

    async def run(self, job: FileJob, work: Callable[[FileJob], Awaitable[bytes]]) -> None:
        """Do the work of a job when it is its turn. What goes wrong is raised, and is in the job."""
        try:
            async with self._at_once:
                job.state = "running"
                job.result = await work(job)
            job.state = "done"
        except BaseException as error:
            job.state = "failed"
            job.error = str(error) if isinstance(error, ApiError) else "the translation of the file failed."
            raise
        finally:
            job.ended = time.monotonic()

    def find(self, name: str, owner: str | None) -> FileJob:
        """The job with that id. ApiError 404 if there is none, or it is another client's."""
        job = self._jobs.get(name)
        if job is None or job.owner != owner:
            raise ApiError(404, "not_found", "there is no file of that name, or no more.")
        return job

    def result(self, name: str) -> FileJob:
        """The job whose result is called `name`. Whoever knows the name, which cannot be guessed, may have it."""
        for job in self._jobs.values():
            if job.result is not None and secrets.compare_digest(job.download.encode(), name.encode()):
                return job
        raise ApiError(404, "not_found", "there is no file of that name, or no more.")
