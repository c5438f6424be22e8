"""What routes share: the service, the settings, keys, languages, metrics; and the record of one request."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.requests import Request

from antiphon.serving.http.files import FileStore
from antiphon.serving.http.keys import KeyRules
from antiphon.serving.http.languages import AUTO, Direction, Languages
from antiphon.serving.http.metrics import Metrics
from antiphon.serving.http.requests import kind_by_urls
from antiphon.serving.service import InputName, ModelService, ModelStatus, UnknownModel
from antiphon.serving.settings import ServerSettings


@dataclass
class RequestRecord:
    """Facts about one request, for its log line and the metrics. `texts` only where they are logged."""

    id: str
    started: float = field(default_factory=time.monotonic)
    model: str | None = None
    key: str | None = None
    items: int = 0
    characters: int = 0
    answer_characters: int = 0
    texts: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)


class Activity:
    """The requests and jobs that run, and whether the server drains."""

    def __init__(self) -> None:
        self.running = 0
        self.draining = False
        self._jobs: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Whether a request runs. Jobs do not count: nobody could fetch their results from a server that ends."""
        return self.running > 0

    def add_job(self, job: asyncio.Task[None]) -> None:
        """Hold a job until it ends, so that it can be cancelled."""
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def end_jobs(self) -> None:
        """Cancel what still runs."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)


@dataclass(frozen=True)
class ServerContext:
    """What the routes of one server share."""

    service: ModelService
    settings: ServerSettings
    keys: KeyRules
    languages: Languages
    metrics: Metrics
    activity: Activity
    files: FileStore

    def status_of(self, name: str | None) -> ModelStatus:
        """The status of a model; None is the default one. UnknownModel if there is none of that name."""
        statuses = self.service.statuses()
        for status in statuses:
            if name is None or status.name == name:
                return status
        known = ", ".join(status.name for status in statuses)
        raise UnknownModel(f"`model` must be one of {known}, but is `{(name or '')[:100]}`.", field="model")

    async def direction(
        self,
        source: str | None,
        target: str | None,
        *,
        text: str,
        model: str | None = None,
        fields: tuple[str, str] = ("source", "target"),
    ) -> Direction:
        """The model and the languages of a request; `fields` are the names of `source` and `target` in it.

        ApiError 422 for a pair that no model has.
        """
        statuses = self.service.statuses()
        choose = functools.partial(
            self.languages.choose, statuses, source, target, text=text, model=model, fields=fields
        )
        is_detected = source is None or source.lower() == AUTO
        return await asyncio.to_thread(choose) if is_detected else choose()

    def input_of(self, name: str, inputs: Sequence[str]) -> InputName:
        """What a model takes; one that was never loaded takes what the inputs are."""
        info = self.status_of(name).info
        return kind_by_urls(inputs) if info is None else info.input

    def takes_images(self, name: str) -> bool:
        """Whether a model takes images beside texts; False of one that was never loaded."""
        info = self.status_of(name).info
        return info is not None and info.images


def context_of(request: Request) -> ServerContext:
    """The context of the server that got a request."""
    return request.app.state.context


def record_of(request: Request) -> RequestRecord:
    """The record of a request."""
    return request.scope["state"]["record"]
