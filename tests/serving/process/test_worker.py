"""The loop inside a model process, with an engine and a connection of the test."""

from __future__ import annotations

import random
import warnings
from collections import deque
from typing import Any

import pytest

from antiphon.errors import ConfigError, DataError, NonFiniteError, WorkError
from antiphon.generation.answers import Generation
from antiphon.generation.model import Model
from antiphon.serving.process.messages import (
    CancelJob,
    Heartbeat,
    JobDone,
    JobFailed,
    Message,
    PieceMade,
    Ping,
    ScorePairs,
    SubmitInput,
)
from antiphon.serving.process.worker import loop as loops
from antiphon.serving.process.worker.engines import RunningEngine
from antiphon.serving.process.worker.loop import WorkLoop, failure
from antiphon.serving.process.worker.results import wrong_field

SECRET = "a secret text"


class ListChannel:
    """Messages from a list; those that are sent are collected."""

    def __init__(self) -> None:
        self.incoming: deque[Message] = deque()
        self.sent: list[Message] = []

    def wait(self) -> Message:
        return self.incoming.popleft()

    def arrived(self) -> list[Message]:
        found = [*self.incoming]
        self.incoming.clear()
        return found

    def send(self, messages: list[Message]) -> None:
        self.sent += messages


class ScriptedEngine:
    """Answers an input with itself after as many steps as it has characters; "bad" and "crash" end in errors."""

    def __init__(self) -> None:
        self.inputs: dict[str, int] = {}

    @property
    def busy(self) -> bool:
        return bool(self.inputs)

    def submit(self, text: str, *, row: int, stream: bool, settings: dict[str, Any]) -> str:
        warnings.warn(f"{text} was read", stacklevel=2)
        if text == "bad":
            raise DataError("input 1 must be good, but is bad.")
        self.inputs[text] = 0
        return text

    def cancel(self, handle: str) -> None:
        del self.inputs[handle]

    def step(self) -> list[tuple[str, Any]]:
        if "crash" in self.inputs:
            raise ZeroDivisionError(SECRET)
        found: list[tuple[str, Any]] = []
        for text in list(self.inputs):
            self.inputs[text] += 1
            found.append((text, text[self.inputs[text] - 1]))
            if self.inputs[text] == len(text):
                del self.inputs[text]
                error = NonFiniteError("the probabilities are NaN.")
                found.append((text, error if text == "nan" else Generation(text, [text], -1.0, 0.5, True)))
        return found


@pytest.fixture
def channel() -> ListChannel:
    return ListChannel()


@pytest.fixture
def loop(channel: ListChannel, offline: Model, monkeypatch: pytest.MonkeyPatch) -> WorkLoop:
    monkeypatch.setattr(loops, "engine_of", lambda model: ScriptedEngine())
    return WorkLoop(offline, channel, max_attention_values=1000)  # type: ignore[arg-type]


def submit(job: int, text: str) -> SubmitInput:
    return SubmitInput(job=job, input=text, row=0)


def of(channel: ListChannel, job: int) -> list[Message]:
    return [each for each in channel.sent if not isinstance(each, Heartbeat) and each.job == job]  # type: ignore[union-attr]


def test_an_error_ends_its_job_alone(loop: WorkLoop, channel: ListChannel) -> None:
    channel.incoming += [submit(1, "ab"), submit(2, "bad"), submit(3, "nan"), submit(4, "abcd")]
    for _ in range(4):
        loop.work()
    assert [each.text for each in of(channel, 1)[:-1]] == ["a", "b"]  # type: ignore[union-attr]
    last = of(channel, 1)[-1]
    assert isinstance(last, JobDone) and last.result["text"] == "ab" and last.warnings == ["ab was read"]
    assert of(channel, 2) == [
        JobFailed(job=2, code="invalid", message="input 1 must be good, but is bad.", field="inputs")
    ]
    nan = of(channel, 3)[-1]
    assert isinstance(nan, JobFailed) and (nan.code, nan.message) == ("internal", "the probabilities are NaN.")
    assert isinstance(of(channel, 4)[-1], JobDone)


def test_an_unexpected_error_of_a_step_ends_the_calls_that_ran(loop: WorkLoop, channel: ListChannel) -> None:
    channel.incoming += [submit(1, "abc"), submit(2, "crash")]
    loop.work()
    traces = []
    for job in (1, 2):
        (found,) = of(channel, job)
        assert isinstance(found, JobFailed) and found.code == "internal"
        assert found.message == "the model could not compute this (ZeroDivisionError)."
        assert "secret" not in found.message + found.trace
        traces.append(found.trace)
    assert "in step" in traces[0] and not traces[1], "the log gets it once"
    channel.incoming.append(submit(3, "x"))
    loop.work()
    assert isinstance(of(channel, 3)[-1], JobDone), "what comes next is computed"


def test_a_cancelled_job_is_not_heard_of_again(loop: WorkLoop, channel: ListChannel) -> None:
    channel.incoming += [submit(1, "abcd"), submit(2, "ab")]
    loop.work()
    pairs = ScorePairs(job=3, sources=["a"], targets=["b"], row=0)
    channel.incoming += [CancelJob(job=1), CancelJob(job=77), pairs, CancelJob(job=3)]
    loop.work()
    assert [type(each) for each in of(channel, 1)] == [PieceMade]
    assert not of(channel, 3)
    assert isinstance(of(channel, 2)[-1], JobDone)


def test_scores_come_between_steps(loop: WorkLoop, channel: ListChannel, offline: Model) -> None:
    channel.incoming += [submit(1, "abc"), ScorePairs(job=2, sources=["a"], targets=["b"], row=0)]
    loop.work()
    (scores,) = of(channel, 2)
    assert isinstance(scores, JobDone) and scores.result == offline.score(["a"], ["b"])
    channel.incoming.append(ScorePairs(job=3, sources=[b"no sound"], targets=["b"], row=0))
    loop.work()
    (failed,) = of(channel, 3)
    assert isinstance(failed, JobFailed) and "one is a file" in failed.message


def test_nothing_is_left_of_jobs_that_ended(channel: ListChannel, offline: Model) -> None:
    """With the real engine: random inputs, some of them wrong, some cancelled."""
    draw, loop = random.Random(4), WorkLoop(offline, channel, max_attention_values=1000)  # type: ignore[arg-type]
    ended: set[int] = set()
    cancelled: set[int] = set()
    for job in range(1, 120):
        text = draw.choice(["", "a", "hello", "hello " * 20, "too long " * 100])
        settings = draw.choice([{}, {"beam_size": 1, "max_new_tokens": 5}, {"temperature": 1.0}])
        stream = draw.random() < 0.5
        channel.incoming.append(SubmitInput(job=job, input=text, row=0, settings=settings, stream=stream))
        if draw.random() < 0.3:
            other = draw.randrange(1, job + 1)
            ended |= {each.job for each in channel.sent if isinstance(each, JobDone | JobFailed)}
            channel.incoming.append(CancelJob(job=other))
            cancelled.add(other)
        loop.work()
    while loop._engine.busy:
        loop.work()
    ended |= {each.job for each in channel.sent if isinstance(each, JobDone | JobFailed)}
    assert ended | cancelled == set(range(1, 120)) and len(ended) > 60
    assert not loop._handles and not loop._submitted and not loop._outgoing
    assert isinstance(loop._engine, RunningEngine) and not loop._engine._engine._calls


def test_a_sign_of_life_is_sent_when_asked(loop: WorkLoop, channel: ListChannel) -> None:
    channel.incoming.append(Ping())
    loop.work()
    assert isinstance(channel.sent[-1], Heartbeat) and channel.sent[-1].memory_bytes > 10**6
    before = len(channel.sent)
    channel.incoming.append(submit(1, "abc"))
    loop.work()
    assert not any(isinstance(each, Heartbeat) for each in channel.sent[before:]), "not at every step"


def test_errors_as_messages() -> None:
    memory = failure(1, MemoryError())
    assert (memory.code, memory.message) == ("invalid", "an input needs more memory than there is.")
    wrapped = WorkError("an input must fit memory, but one alone does not.")
    wrapped.__cause__ = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
    assert failure(1, wrapped).code == "invalid" and "fit memory" in failure(1, wrapped).message
    assert failure(1, WorkError("other.")).code == "internal"
    unexpected = failure(1, KeyError(SECRET))
    assert unexpected.code == "internal" and "secret" not in repr(unexpected)


@pytest.mark.parametrize(
    ("error", "field"),
    [
        (ConfigError("`beam_size` must be at least 1, but is 0."), "beam_size"),
        (ConfigError("`quantize` must be int8."), None),
        (DataError("`allowed` of input 2 must be texts."), "allowed"),
        (DataError("`texts` must be texts."), "inputs"),
        (DataError("input 2 must have at most 3 tokens. Set `overflow`."), "inputs"),
        (ConfigError("no setting is named."), None),
    ],
)
def test_the_field_of_an_error(error: ConfigError | DataError, field: str | None) -> None:
    assert wrong_field(error) == field
