"""The loop of a model process: take messages, compute one step, send what it brought.

Other work (scores, attention maps) is done between two steps, a message at a time. An error ends the job that it
belongs to, never the process.
"""

from __future__ import annotations

import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from resource import getpagesize

from antiphon.errors import AntiphonError, UsageError, memory_ran_out
from antiphon.generation.hf.model import HFModel
from antiphon.generation.translator import Translator
from antiphon.serving.process.messages import (
    CancelJob,
    Heartbeat,
    JobDone,
    JobFailed,
    Message,
    PieceMade,
    Ping,
    ScorePairs,
    ShowAttention,
    SubmitInput,
)
from antiphon.serving.process.worker.channel import Channel
from antiphon.serving.process.worker.details import details_of
from antiphon.serving.process.worker.engines import Result, StepEngine, engine_of
from antiphon.serving.process.worker.results import (
    UnreadableFile,
    maps_as_object,
    sample_input,
    scores_of_pairs,
    source_of,
    wrong_field,
)

_BEAT_SECONDS = 0.2
_STATUS = Path("/proc/self/statm")


class WorkLoop:
    """The jobs of a process, and the engine that computes them."""

    def __init__(self, model: Translator, channel: Channel, *, max_attention_values: int) -> None:
        self._model, self._channel, self._max_attention_values = model, channel, max_attention_values
        self._engine: StepEngine = engine_of(model)
        if isinstance(model, HFModel):  # whose answers take one step of many seconds
            model.network.register_forward_pre_hook(lambda *_: self.beat())
        self._handles: dict[int, Hashable] = {}  # of each job
        self._submitted: dict[Hashable, tuple[SubmitInput, list[str]]] = {}  # with its warnings
        self._others: deque[ScorePairs | ShowAttention] = deque()
        self._outgoing: list[Message] = []
        self._notes: dict[str, None] = {}
        self._last_error: Exception | None = None
        self._steps, self._step_seconds, self._last_beat = 0, 0.0, 0.0

    def warm_up(self) -> None:
        """Compute a short answer, by beam search and greedily, so that kernels are compiled, steps are recorded and
        memory is there before the first call."""
        for settings in ({}, {"beam_size": 1}) if not self._model.labels else ({},):
            limit = {} if self._model.labels else {"max_new_tokens": 4}
            with suppress(UsageError):  # defaults of the model that do not go with these
                self._engine.submit(sample_input(self._model), row=0, stream=True, settings={**settings, **limit})
            while self._engine.busy:
                self._engine.step()

    def run(self) -> None:
        """Work until the process ends."""
        while True:
            self.work()

    def work(self) -> None:
        """Handle the messages that are there (waiting for one if there is nothing to do), compute, and send."""
        if not self._engine.busy and not self._others:
            self._handle(self._channel.wait())
        for message in self._channel.arrived():
            self._handle(message)
        if self._engine.busy:
            self._step()
        if self._others:
            self._other(self._others.popleft())
        self._beat()
        if self._outgoing:
            self._channel.send(self._outgoing)
            self._outgoing = []

    def beat(self) -> None:
        """Send a sign of life now and then, from within a long computation."""
        if time.monotonic() - self._last_beat >= _BEAT_SECONDS:
            self._last_beat = time.monotonic()
            self._channel.send([Heartbeat(steps=self._steps, step_seconds=self._step_seconds, memory_bytes=_memory())])

    def _handle(self, message: Message) -> None:
        if isinstance(message, SubmitInput):
            self._submit(message)
        elif isinstance(message, ScorePairs | ShowAttention):
            self._others.append(message)
        elif isinstance(message, CancelJob):
            self._cancel(message.job)
        else:
            assert isinstance(message, Ping)
            self._last_beat = 0.0

    def _submit(self, message: SubmitInput) -> None:
        with self._errors_of(message.job), _collected() as lines:
            source = source_of(self._model, message.input)
            handle = self._engine.submit(source, row=message.row, stream=message.stream, settings=message.settings)
            self._handles[message.job] = handle
            self._submitted[handle] = (message, lines())

    def _cancel(self, job: int) -> None:
        self._others = deque(other for other in self._others if other.job != job)
        handle = self._handles.pop(job, None)
        if handle is not None:
            del self._submitted[handle]
            self._engine.cancel(handle)

    def _step(self) -> None:
        began = time.perf_counter()
        with _collected() as lines:
            try:
                results = self._engine.step()
            except Exception as error:
                # The engine's state is unknown: what it had is lost, but not what comes next.
                results = [(handle, error) for handle in self._submitted]
                self._engine = engine_of(self._model)
            self._notes.update(dict.fromkeys(lines()))
        self._steps, self._step_seconds = self._steps + 1, self._step_seconds + time.perf_counter() - began
        for handle, result in results:
            if handle in self._submitted:
                self._result(handle, result)

    def _result(self, handle: Hashable, result: Result) -> None:
        message, lines = self._submitted[handle]
        if isinstance(result, str):
            self._outgoing.append(PieceMade(job=message.job, text=result))
            return
        del self._submitted[handle], self._handles[message.job]
        if isinstance(result, Exception):
            # Of an error that ends several jobs the log gets the lines of code once.
            self._outgoing.append(failure(message.job, result, trace=result is not self._last_error))
            self._last_error = result
            return
        with self._errors_of(message.job), _collected() as more:
            answer = result.as_json() | details_of(self._model, message, result, handle)
            self._outgoing.append(
                JobDone(job=message.job, result=answer, warnings=list(dict.fromkeys([*lines, *more()])))
            )

    def _other(self, message: ScorePairs | ShowAttention) -> None:
        with self._errors_of(message.job), _collected() as lines:
            if isinstance(message, ScorePairs):
                result: object = scores_of_pairs(self._model, message)
            else:
                result = maps_as_object(self._model, message, max_values=self._max_attention_values)
            self._outgoing.append(JobDone(job=message.job, result=result, warnings=lines()))

    def _beat(self) -> None:
        if time.monotonic() - self._last_beat >= _BEAT_SECONDS or self._notes:
            self._last_beat = time.monotonic()
            beat = Heartbeat(
                steps=self._steps, step_seconds=self._step_seconds, memory_bytes=_memory(), notes=[*self._notes]
            )
            self._notes.clear()
            self._outgoing.append(beat)

    @contextmanager
    def _errors_of(self, job: int) -> Iterator[None]:
        """A context whose exceptions end this job."""
        try:
            yield
        except Exception as error:
            self._outgoing.append(failure(job, error))


def failure(job: int, error: Exception, *, trace: bool = True) -> JobFailed:
    """The message about an exception. Of an unexpected one the client gets only the type: its text may hold anything;
    the log gets the lines of code, without texts, with `trace`."""
    if isinstance(error, UsageError):
        code = "unreadable" if isinstance(error, UnreadableFile) else "invalid"
        return JobFailed(job=job, code=code, message=str(error), field=wrong_field(error))
    if memory_ran_out(error) or (error.__cause__ is not None and memory_ran_out(error.__cause__)):
        message = str(error) if isinstance(error, AntiphonError) else "an input needs more memory than there is."
        return JobFailed(job=job, code="invalid", message=message)
    frames = "".join(traceback.format_tb(error.__traceback__)) if trace else ""
    if isinstance(error, AntiphonError):
        return JobFailed(job=job, code="internal", message=str(error), trace=frames)
    name = type(error).__name__
    return JobFailed(job=job, code="internal", message=f"the model could not compute this ({name}).", trace=frames)


@contextmanager
def _collected() -> Iterator[Callable[[], list[str]]]:
    """A context that collects warnings; call what it yields for those so far, each once. One thread computes, so they
    are those of the call that is handled in it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield lambda: list(dict.fromkeys(str(each.message) for each in caught))


def _memory() -> int:
    """The resident memory of this process in bytes; 0 where the system does not tell."""
    try:
        return int(_STATUS.read_text(encoding="ascii").split()[1]) * getpagesize()
    except OSError:
        return 0
