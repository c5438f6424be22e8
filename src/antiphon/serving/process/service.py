"""`ProcessService`: the models of a server by name, each in a process of its own.

    service = ProcessService(ProcessSettings(models=(ModelEntry(name="demo", path="runs/demo"),)))
    await service.start()                       # returns at once; `statuses` tells when a model is ready
    [event async for event in service.generate(GenerateCall(inputs=["in 3 hours"]))]
    await service.drain(30)
    await service.stop()

All methods are called in one event loop, that of `start`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from antiphon.registry import nearest
from antiphon.serving.process.cache import AnswerCache
from antiphon.serving.process.calls import Job
from antiphon.serving.process.hosted import HostedModel
from antiphon.serving.process.messages import ScorePairs, ShowAttention
from antiphon.serving.process.preparing import check_inputs, check_texts, length_settings, next_number, size_of
from antiphon.serving.process.settings import ProcessSettings
from antiphon.serving.service import BadInput, Event, GenerateCall, ModelStatus, UnknownModel

_PAIRS = 16  # that are scored between two steps of the other calls
_SHUTDOWN = "the server is shutting down."
UNLOAD_SECONDS = 300.0  # for the calls that are active when a model is unloaded


class ProcessService:
    """Implements `ModelService`."""

    def __init__(self, settings: ProcessSettings) -> None:
        self.settings = settings
        self.cache = AnswerCache(max_entries=settings.cache_entries, max_bytes=settings.cache_bytes)
        self._models = {entry.name: HostedModel(entry, settings, self.cache) for entry in settings.models}
        self._unloading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the processes of the models with `preload`; returns before they are ready."""
        for model in self._models.values():
            if model.entry.preload:
                model.supervisor.start()
        if self.settings.unload_after_seconds is not None:
            self._unloading = asyncio.create_task(self._unload_unused(self.settings.unload_after_seconds))

    def statuses(self) -> list[ModelStatus]:
        """All models; the first one is the default."""
        return [_status(model) for model in self._models.values()]

    async def generate(self, call: GenerateCall) -> AsyncGenerator[Event, None]:
        """The events of a call; see `ModelService`."""
        if isinstance(call.inputs, str | bytes):
            raise BadInput("`inputs` must be a list, but is one text. Put it into a list.", field="inputs")
        async with contextlib.aclosing(self._model(call.model).generate(call)) as events:
            async for event in events:
                yield event

    async def score(
        self,
        sources: Sequence[str | bytes],
        targets: Sequence[str],
        *,
        model: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> list[float]:
        """`Model.score`: for each pair the sum of the log-probabilities of the target's tokens and its end, in nats.
        `settings` may have its `overflow` and `max_source_tokens`."""
        served = self._model(model)
        if len(sources) != len(targets):
            problem = f"but there are {len(sources)} sources and {len(targets)} targets."
            raise BadInput(f"there must be one target for each source, {problem}", field="targets")
        check_texts(targets, "targets")
        check_inputs(sources, await served.ready_info(), "sources")
        jobs, given = [], length_settings(settings)
        for first in range(0, len(sources), _PAIRS):
            pairs = slice(first, first + _PAIRS)
            own = given if isinstance(given.get("prompt"), str | None) else {**given, "prompt": given["prompt"][pairs]}
            message = ScorePairs(
                job=next_number(), sources=sources[pairs], targets=targets[pairs], row=first, settings=own
            )
            size = sum(map(size_of, [*sources[pairs], *targets[pairs]]))
            jobs.append(Job(message, cost=len(message.targets), size=size))
        return [score for scores in await served.ask(jobs) for score in scores]

    async def attention(
        self,
        source: str | bytes,
        target: str | None = None,
        *,
        model: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """`Model.attention` as an object; see `ModelService`."""
        served = self._model(model)
        if target is not None:
            check_texts([target], "target")
        check_inputs([source], await served.ready_info(), "source")
        given = length_settings(settings)
        message = ShowAttention(job=next_number(), source=source, target=target, settings=given)
        (maps,) = await served.ask([Job(message, size=size_of(source) + size_of(target or ""))])
        return maps

    async def load(self, name: str) -> ModelStatus:
        """Load a model, and wait until it is ready. Unavailable if that fails."""
        model = self._model(name)
        await model.load()
        return _status(model)

    async def unload(self, name: str) -> ModelStatus:
        """End the process of a model after its running calls. `load` loads it again; calls do not."""
        model = self._model(name)
        await model.unload(seconds=UNLOAD_SECONDS)
        return _status(model)

    async def drain(self, timeout_seconds: float) -> None:
        """Refuse new calls and wait for the active ones, at most so long."""
        for model in self._models.values():
            model.closed = _SHUTDOWN
        await asyncio.gather(*(model.idle(timeout_seconds) for model in self._models.values()))

    async def stop(self) -> None:
        """End all processes; calls that are active end with Unavailable."""
        if self._unloading is not None:
            self._unloading.cancel()
        for model in self._models.values():
            model.closed = _SHUTDOWN
        await asyncio.gather(*(model.end(_SHUTDOWN) for model in self._models.values()))

    def metrics(self) -> dict[str, Any]:
        """Figures of the cache, and of each model by its name, as plain numbers."""
        cache = self.cache
        return {
            "cache": {"entries": len(cache), "bytes": cache.bytes, "hits": cache.hits, "misses": cache.misses},
            "models": {name: model.numbers() for name, model in self._models.items()},
        }

    def _model(self, name: str | None) -> HostedModel:
        if name is None:
            return next(iter(self._models.values()))
        if name not in self._models:
            known = nearest(name, self._models) or "."
            raise UnknownModel(f"there is no model `{name:.100}`{known} It is one of {', '.join(self._models)}.")
        return self._models[name]

    async def _unload_unused(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds / 10)
            for model in self._models.values():
                await model.unload_if_unused(seconds)


def _status(model: HostedModel) -> ModelStatus:
    supervisor, scheduler = model.supervisor, model.scheduler
    return ModelStatus(
        name=model.entry.name,
        state=supervisor.state,
        info=supervisor.info,
        error=supervisor.error,
        restarts=supervisor.restarts,
        queued=scheduler.queued,
        running=scheduler.running,
    )
