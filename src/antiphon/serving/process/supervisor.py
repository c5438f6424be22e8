"""Keeps a model process running: starts it, replaces a dead or stuck one, and gives up on a model that does not load.

    supervisor = Supervisor(entry, settings, observer)
    supervisor.start()
    await supervisor.settled()                  # until it is ready, or has failed
    supervisor.send([message])
    await supervisor.stop()

States: unloaded -> loading -> ready -> (the process dies) restarting -> ready; failed after several failures in a row.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Protocol

from antiphon.serving.process.connection import ModelProcess
from antiphon.serving.process.messages import Heartbeat, LoadFailed, Message, ModelLoaded, StartModel
from antiphon.serving.process.settings import ModelEntry, ProcessSettings
from antiphon.serving.service import ModelInfo, ModelState

LOG = logging.getLogger("antiphon.serving")
_SHORT_SECONDS, _LONG_SECONDS = (0.5, 1.0, 2.0, 4.0), (30.0, 60.0, 120.0, 300.0)  # between tries to load a model
_USUAL_LOAD_SECONDS = 10.0  # until a load was measured
_TICKS = 10  # checks in `stuck_seconds`


class ProcessObserver(Protocol):
    """Who uses a model process."""

    @property
    def busy(self) -> bool:
        """Whether the process has work."""
        ...

    def became_ready(self) -> None:
        """The process can take work."""
        ...

    def received(self, message: Message) -> None:
        """A message of the process about a job."""
        ...

    def lost(self, reason: str) -> None:
        """The process is gone, with the work that it had; another one is started."""
        ...

    def gave_up(self, reason: str) -> None:
        """The model cannot be loaded."""
        ...


class Supervisor:
    """The process of one model, and the next one after it."""

    def __init__(self, entry: ModelEntry, settings: ProcessSettings, observer: ProcessObserver) -> None:
        self._entry, self._settings, self._observer = entry, settings, observer
        self._process: ModelProcess | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._silent_seconds = 0.0
        self.state: ModelState = "unloaded"
        self.info: ModelInfo | None = None
        self.error: str | None = None
        self.restarts = self.loads = 0
        self.load_seconds = 0.0
        self.heartbeat = Heartbeat()

    @property
    def pid(self) -> int | None:
        """The number of the process, None while there is none."""
        return None if self._process is None else self._process.pid

    @property
    def takes_work(self) -> bool:
        """Whether there is a process that can compute."""
        return self.state == "ready" and self._process is not None

    @property
    def seconds_to_ready(self) -> float:
        """An estimate of how long a load takes."""
        return self.load_seconds or _USUAL_LOAD_SECONDS

    def start(self) -> None:
        """Begin to load the model, unless that was begun. After a failure this is a new try."""
        if self._task is not None and self.state == "failed":
            self._task.cancel()
            self._task = None
        if self._task is None:
            self._set("loading")
            self._task = asyncio.create_task(self._keep_running(), name=f"model process {self._entry.name}")

    async def stop(self) -> None:
        """End the process. The state is `unloaded` at once, so that `start` may be called before this returns."""
        task, self._task = self._task, None
        self._set("unloaded")
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def send(self, messages: Sequence[Message]) -> None:
        """Send messages to the process; to one that has just ended, nothing: `ProcessObserver.lost` follows."""
        if self._process is not None:
            self._process.send(messages)

    async def settled(self) -> None:
        """Wait until the model is ready, failed or unloaded."""
        while self.state in ("loading", "restarting"):
            self._changed.clear()
            await self._changed.wait()

    def _set(self, state: ModelState, error: str | None = None) -> None:
        self.state, self.error = state, error
        self._changed.set()

    async def _keep_running(self) -> None:
        failures = 0
        while True:
            loads = self.loads
            problem, permanent = await self._run_once()
            if self.loads > loads:  # it was ready
                failures, self.restarts = 0, self.restarts + 1
                LOG.error("model %s: %s; another process is started", self._entry.name, problem)
                self._set("restarting", problem)
                self._observer.lost(problem)
                continue
            failures += 1
            LOG.error("model %s cannot be loaded: %s", self._entry.name, problem)
            if permanent or failures >= self._settings.max_load_failures:
                self._set("failed", problem)
                self._observer.gave_up(problem)
                if permanent:
                    await asyncio.Future()  # until a new try is asked for, or the server stops
                await asyncio.sleep(_delay(failures - self._settings.max_load_failures, _LONG_SECONDS))
            else:
                await asyncio.sleep(_delay(failures - 1, _SHORT_SECONDS))

    async def _run_once(self) -> tuple[str, bool]:
        """Run a process until it ends. Returns why it ended, and whether the next one would end in the same way."""
        began = asyncio.get_running_loop().time()
        self._silent_seconds = 0.0
        try:
            self._process = process = await ModelProcess.start(_first_message(self._entry, self._settings))
        except OSError as error:
            return f"the process cannot be started ({error.strerror})", False
        watch = asyncio.create_task(self._watch(process))
        reason, failed = "", None
        try:
            async for messages in process.frames():
                self._silent_seconds = 0.0
                for message in messages:
                    if isinstance(message, ModelLoaded):
                        self.load_seconds = asyncio.get_running_loop().time() - began
                        self._loaded(message)
                    elif isinstance(message, LoadFailed):
                        failed = message
                    elif isinstance(message, Heartbeat):
                        self._beat(message)
                    else:
                        self._observer.received(message)
        except Exception as error:  # whatever it is, the next process starts from nothing
            LOG.exception("model %s: a message of its process cannot be handled", self._entry.name)
            reason = f"its process sent a message that cannot be handled ({type(error).__name__})"
        finally:
            self._process = None if self._process is process else self._process  # `start` may have begun another one
            watch.cancel()
            code = await process.end()
        if failed is not None:
            return failed.message, failed.permanent
        stuck = watch.result() if watch.done() and not watch.cancelled() else None
        return stuck or reason or f"its process ended ({_ending(code)})", False

    def _loaded(self, message: ModelLoaded) -> None:
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in message.info.items()
        }
        self.info = ModelInfo(**fields)
        self.loads += 1
        for line in message.warnings:
            LOG.warning("model %s: %s", self._entry.name, line)
        LOG.info("model %s is ready after %.1f s", self._entry.name, self.load_seconds)
        self._set("ready")
        self._observer.became_ready()

    def _beat(self, message: Heartbeat) -> None:
        self.heartbeat = message
        for line in message.notes:
            LOG.warning("model %s: %s", self._entry.name, line)

    async def _watch(self, process: ModelProcess) -> str:
        """Kill the process when it is silent for too long; returns why."""
        seconds = self._settings.stuck_seconds / _TICKS
        loading = 0.0
        while True:
            # Ticks are counted, not the clock: after a pause of this process itself nobody is guilty.
            await asyncio.sleep(seconds)
            if self.state != "ready":
                loading += seconds
                if loading > self._settings.load_timeout_seconds:
                    process.kill()
                    return f"the model was not loaded within {self._settings.load_timeout_seconds:g} s"
                continue
            self._silent_seconds = self._silent_seconds + seconds if self._observer.busy else 0.0
            if self._silent_seconds > self._settings.stuck_seconds:
                process.kill()
                return f"its process gave no sign of life for {self._settings.stuck_seconds:g} s"


def _first_message(entry: ModelEntry, settings: ProcessSettings) -> StartModel:
    return StartModel(
        paths=entry.paths,
        device=entry.device,
        dtype=entry.dtype,
        quantize=entry.quantize,
        threads=entry.threads,
        imports=entry.imports,
        warm_up=settings.warm_up,
        max_attention_values=settings.max_attention_values,
    )


def _delay(failure: int, table: Sequence[float]) -> float:
    return table[min(max(failure, 0), len(table) - 1)]


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
