"""One served model: from its calls, through cache and queue, to its process and back.

model = HostedModel(entry, settings, cache)
async for event in model.generate(GenerateCall(inputs=["in 3 hours"])): ...
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from antiphon.serving.process.cache import AnswerCache, cache_key
from antiphon.serving.process.calls import ActiveCall, Job, shift_rows
from antiphon.serving.process.counters import Counters
from antiphon.serving.process.messages import CancelJob, JobDone, JobFailed, Message, PieceMade, SubmitInput
from antiphon.serving.process.preparing import SearchDefaults, prepare, size_of
from antiphon.serving.process.scheduling import Scheduler, ServiceRate
from antiphon.serving.process.settings import ModelEntry, ProcessSettings
from antiphon.serving.process.supervisor import LOG, Supervisor
from antiphon.serving.service import (
    Answered,
    BadInput,
    CallTimeout,
    Event,
    GenerateCall,
    ModelInfo,
    Overloaded,
    ServiceError,
    TextPiece,
    Unavailable,
    UnreadableInput,
)

_ERRORS: dict[str, type[ServiceError]] = {
    kind.code: kind for kind in (BadInput, UnreadableInput, Unavailable, ServiceError)
}


class HostedModel:
    """A model with its queue and its process. Every method runs in the event loop's thread."""

    def __init__(self, entry: ModelEntry, settings: ProcessSettings, cache: AnswerCache) -> None:
        self.entry, self._settings, self._cache, self._clock = entry, settings, cache, time.monotonic
        self.scheduler = Scheduler(settings, clock=time.monotonic)
        self.supervisor = Supervisor(entry, settings, self)
        self.counters = Counters()
        self.active: set[ActiveCall] = set()
        self.last_used = 0.0
        self.on_demand = not entry.preload  # whether the next call loads the model
        self.closed: str | None = None  # why new calls are refused
        self._search: SearchDefaults | None = None  # of the model that was loaded last
        self._running: dict[int, Job] = {}
        self._shared: dict[bytes, Job] = {}  # jobs that answer equal inputs of later calls too

    async def generate(self, call: GenerateCall) -> AsyncGenerator[Event, None]:
        """The events of a call; see `ModelService.generate`."""
        until = self._until(call.timeout_seconds)
        info = await self.ready_info(until)
        search = self._search or SearchDefaults(info)
        config = search.checked(call.settings, count=len(call.inputs))
        messages = prepare(call, config, search=search, info=info)
        active = ActiveCall(count=len(messages), stream=call.stream, first_row=call.first_row)
        fresh = self._fresh_jobs(active, messages, cached=call.cached, sampled=config.samples)
        async with self.entered(active, fresh):
            async for event in active.results(until=until):
                yield event

    async def ask(self, jobs: Sequence[Job], *, timeout_seconds: float | None = None) -> list[Any]:
        """The results of jobs that are no answers, in their order."""
        until = self._until(timeout_seconds)
        active = ActiveCall(count=len(jobs))
        for index, job in enumerate(jobs):
            job.subscribe(active, index)
        results: list[Any] = [None] * len(jobs)
        async with self.entered(active, jobs):
            async for index, result in active.results(until=until):
                results[index] = result
        return results

    def _fresh_jobs(
        self, active: ActiveCall, messages: Sequence[SubmitInput], *, cached: bool, sampled: bool
    ) -> list[Job]:
        """The jobs that must be computed for a call; inputs in the cache, or being computed, are taken from there."""
        fresh: dict[bytes, Job] = {}
        for index, message in enumerate(messages):
            key = cache_key([self.entry.name, self.supervisor.loads], message, sampled=sampled)
            found = self._cache.get(key) if cached else None
            if found is not None:
                answer, warnings = found
                if active.stream and answer["text"]:
                    active.put(TextPiece(index, answer["text"]), last=False)
                active.put(Answered(index, answer, warnings), last=True)
                continue
            job = fresh.get(key) or (self._shared.get(key) if cached else None)
            if job is None:
                job = fresh[key] = Job(message, size=size_of(message.input), key=key)
            else:
                self.counters.shared += 1
            job.subscribe(active, index)
        return list(fresh.values())

    @asynccontextmanager
    async def entered(self, active: ActiveCall, jobs: Sequence[Job]) -> AsyncIterator[None]:
        """A context in which the jobs of a call are queued and computed; at its end those that are left are cancelled.

        Raises Overloaded, and BadInput for more than could ever wait.
        """
        began, counters = self._clock(), self.counters
        try:
            self.scheduler.check(cost=sum(job.cost for job in jobs), size=sum(job.size for job in jobs))
        except ServiceError as error:
            counters.refused += isinstance(error, Overloaded)
            self._forget(active)
            raise
        counters.calls, counters.inputs = counters.calls + 1, counters.inputs + active.left
        counters.source_characters += sum(job.size for job in jobs)
        self.active.add(active)
        self._shared.update((job.key, job) for job in jobs if job.key is not None)
        self.scheduler.add(active, jobs)
        self.pump()
        try:
            yield
        except ServiceError as error:
            counters.timeouts += isinstance(error, CallTimeout)
            counters.unavailable += isinstance(error, Unavailable)
            counters.failed += not isinstance(error, CallTimeout | Unavailable)
            raise
        except (GeneratorExit, asyncio.CancelledError):
            counters.cancelled += bool(active.left)
            raise
        finally:
            counters.call_seconds += self._clock() - began
            self.active.discard(active)
            self.last_used = self._clock()
            self._forget(active)
            self.pump()

    def _forget(self, active: ActiveCall) -> None:
        """Take a call from its jobs; a job that nobody waits for is cancelled."""
        for job in active.jobs:
            job.subscribers.pop(active, None)
            if job.state == "ended":
                continue
            if not job.subscribers:
                if job.state == "running":
                    self.supervisor.send([CancelJob(job=job.message.job)])
                self._end(job, finished=False)
            elif job.state == "waiting" and job.owner is active:
                self.scheduler.move(job, next(iter(job.subscribers)))
        active.jobs.clear()

    def _end(self, job: Job, *, finished: bool) -> None:
        self.scheduler.end(job, finished=finished)
        self._running.pop(job.message.job, None)
        if job.key is not None and self._shared.get(job.key) is job:
            del self._shared[job.key]

    def pump(self) -> None:
        """Give the process as much work as it may have."""
        if not self.supervisor.takes_work:
            return
        messages = []
        while (job := self.scheduler.take()) is not None:
            self._running[job.message.job] = job
            messages.append(job.to_send())
        if messages:
            self.supervisor.send(messages)

    def _until(self, seconds: float | None) -> float:
        """The time at which a call ends."""
        return self._clock() + min(seconds or self._settings.timeout_seconds, self._settings.timeout_seconds)

    async def ready_info(self, until: float | None = None) -> ModelInfo:
        """The facts about the model, once it can take calls.

        Waits only for a load that a call asked for. Unavailable, with the time after which to try again, otherwise.
        """
        self.last_used = self._clock()
        supervisor = self.supervisor
        if self.closed is None and self.on_demand and supervisor.state == "unloaded":
            supervisor.start()
        if self.closed is None and self.on_demand and supervisor.state == "loading":
            try:
                async with asyncio.timeout((self._until(None) if until is None else until) - self._clock()):
                    await supervisor.settled()
            except TimeoutError:
                raise CallTimeout(f"the model {self.entry.name} was not loaded in time. Try again.") from None
        if self.closed is not None or supervisor.state != "ready" or supervisor.info is None:
            self.counters.unavailable += 1
            raise self.unavailable()
        return supervisor.info

    def unavailable(self) -> Unavailable:
        """The error of a call that cannot be accepted now."""
        name, supervisor = self.entry.name, self.supervisor
        seconds = supervisor.seconds_to_ready
        if self.closed is not None:
            return Unavailable(self.closed, retry_after_seconds=seconds)
        if supervisor.state == "failed":
            return Unavailable(f"the model {name} cannot be loaded: {supervisor.error}", retry_after_seconds=30.0)
        if supervisor.state == "unloaded":
            return Unavailable(f"the model {name} is not loaded. Load it.", retry_after_seconds=seconds)
        return Unavailable(f"the model {name} is {supervisor.state}. Try again.", retry_after_seconds=seconds)

    # What the supervisor reports.

    @property
    def busy(self) -> bool:
        """Whether the process has work."""
        return bool(self._running)

    def became_ready(self) -> None:
        """The process can take work: what waited is sent."""
        assert self.supervisor.info is not None
        self._search = SearchDefaults(self.supervisor.info)
        self.last_used = self._clock()
        self.pump()

    def received(self, message: Message) -> None:
        """Pass on a result; one of a job that was cancelled is dropped."""
        assert isinstance(message, PieceMade | JobDone | JobFailed)
        job = self._running.get(message.job)
        if job is None:
            return
        if isinstance(message, PieceMade):
            job.stream(message.text)
            return
        self._end(job, finished=True)
        if isinstance(message, JobFailed):
            self._failed(job, message)
        elif isinstance(job.message, SubmitInput):
            self._answered(job, message)
        else:
            job.finish_with(message.result)
        self.pump()

    def _answered(self, job: Job, message: JobDone) -> None:
        self.counters.answers += 1
        self.counters.target_tokens += len(message.result["tokens"])
        if job.key is not None:
            self._cache.put(job.key, message.result, message.warnings)
        job.finish(message.result, tuple(message.warnings))

    def _failed(self, job: Job, message: JobFailed) -> None:
        kind = _ERRORS.get(message.code, ServiceError)
        if message.trace:
            LOG.error("model %s: %s\n%s", self.entry.name, message.message, message.trace)
        for call, indices in list(job.subscribers.items()):
            text = shift_rows(message.message, job.shift(call, indices[0]))
            call.fail(kind(text, field=message.field))
            self._forget(call)

    def lost(self, reason: str) -> None:
        """The process died: the calls that it worked for end, those that wait go on waiting."""
        self._fail_calls(
            {call for job in self._running.values() for call in job.subscribers},
            f"the process of the model {self.entry.name} ended, and is replaced. Try again.",
        )

    def gave_up(self, reason: str) -> None:
        """The model cannot be loaded: no call can be answered."""
        self._fail_calls(self.active, str(self.unavailable()))

    def _fail_calls(self, calls: set[ActiveCall], message: str) -> None:
        seconds = self.supervisor.seconds_to_ready
        for job in list(self._running.values()):
            self._end(job, finished=False)
        self.scheduler.rate = ServiceRate(self._clock)  # of the next process
        for call in list(calls):
            call.fail(Unavailable(message, retry_after_seconds=seconds))
            self._forget(call)

    # Loading and unloading.

    async def load(self) -> None:
        """Load the model, and wait until it is ready. Unavailable if that fails."""
        if self.closed is None:
            self.supervisor.start()
            await self.supervisor.settled()
        if self.supervisor.state != "ready":
            raise self.unavailable()

    async def unload(self, *, seconds: float) -> None:
        """End the process after the calls that are active now, or after so many seconds. Only `load` loads it again."""
        self.on_demand = False
        closed, self.closed = self.closed, f"the model {self.entry.name} is being unloaded. Try again."
        try:
            await self.idle(seconds)
            await self.end(f"the model {self.entry.name} was unloaded.")
        finally:
            self.closed = closed

    async def unload_if_unused(self, seconds: float) -> None:
        """End the process if there was no call for so many seconds. The next call loads the model again."""
        unused = self._clock() - self.last_used
        if self.supervisor.state == "ready" and not self.active and self.closed is None and unused >= seconds:
            self.on_demand = True
            await self.supervisor.stop()

    async def idle(self, seconds: float) -> bool:
        """Wait until no call is active; returns whether that is so."""
        until = self._clock() + seconds
        while self.active and self._clock() < until:
            await asyncio.sleep(0.02)
        return not self.active

    async def end(self, message: str) -> None:
        """End the process; the calls that are left end with `message`."""
        await self.supervisor.stop()
        self._fail_calls(self.active, message)

    def numbers(self) -> dict[str, Any]:
        """The figures of the model for metrics."""
        scheduler, supervisor, beat = self.scheduler, self.supervisor, self.supervisor.heartbeat
        return {
            **self.counters.as_numbers(),
            "queued": scheduler.queued,
            "queued_characters": scheduler.queued_size,
            "running": scheduler.running,
            "ready": int(supervisor.state == "ready"),
            "restarts": supervisor.restarts,
            "loads": supervisor.loads,
            "load_seconds": supervisor.load_seconds,
            "queued_seconds": scheduler.queued_seconds,
            "running_seconds": scheduler.running_seconds,
            "busy_seconds": scheduler.rate.busy_seconds,
            "inputs_per_second": scheduler.rate.per_second or 0.0,
            "steps": beat.steps,
            "step_seconds": beat.step_seconds,
            "memory_bytes": beat.memory_bytes,
        }
