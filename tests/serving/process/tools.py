"""A served random model: its process is started once for a module, and each test runs in the service's event loop."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from generation.test_model import model as random_model

from antiphon.generation.answers import Generation
from antiphon.generation.model import Model
from antiphon.serving.process.service import ProcessService
from antiphon.serving.process.settings import ModelEntry, ProcessSettings
from antiphon.serving.service import Answered, Event, GenerateCall, TextPiece

T = TypeVar("T")
TEXTS = ["hello", "in 3 hours we go", "", "ein Haus", "hello, world. This is it!", "we go", "zwei Häuser"]
# Rounding differs between batches, which could change an answer of random weights in float32.
DTYPE = "float64"


def save_model(folder: Path, *, labels: tuple[str, ...] = (), max_length: int = 400) -> Path:
    """A folder with a random model, of a classification if there are `labels`."""
    made = random_model("bytes", seed=3, max_length=max_length)
    parts = made.parts
    if labels:
        parts = dataclasses.replace(parts, task="classification", labels={label: label for label in labels})
    Model.from_parts(parts).save(folder)
    return folder


class Served:
    """A running service, and the event loop that it belongs to."""

    def __init__(self, *entries: ModelEntry, **settings: Any) -> None:
        self._runner = asyncio.Runner()
        self.service = ProcessService(ProcessSettings(models=entries, **settings))
        self.run(self.service.start())

    def run(self, work: Coroutine[Any, Any, T], *, seconds: float = 240.0) -> T:
        """The result of `work`, which must be there in time."""
        return self._runner.run(asyncio.wait_for(work, seconds))

    def ready(self) -> Served:
        """Wait until the default model is ready."""
        self.run(self.service.load(self.service.statuses()[0].name))
        return self

    def close(self) -> None:
        self.run(self.service.stop())
        self._runner.close()

    def answers(self, inputs: list[Any], **settings: Any) -> list[dict[str, Any]]:
        """The answers of a call, in the order of its inputs."""
        found = self.run(collect(self.service, GenerateCall(inputs=inputs, settings=settings)))
        return [each.answer for each in found]

    def numbers(self, name: str | None = None) -> dict[str, Any]:
        """The figures of a model."""
        return self.service.metrics()["models"][name or self.service.statuses()[0].name]

    def pid(self, name: str | None = None) -> int:
        """The number of the model's process."""
        model = self.service._model(name)
        assert model.supervisor.pid is not None
        return model.supervisor.pid


async def collect(service: ProcessService, call: GenerateCall) -> list[Answered]:
    """The answers of a call, in the order of its inputs; pieces that come before them must join to their text."""
    answers: dict[int, Answered] = {}
    pieces: dict[int, str] = {}
    async for event in service.generate(call):
        if isinstance(event, TextPiece):
            assert call.stream and event.text and event.index not in answers
            pieces[event.index] = pieces.get(event.index, "") + event.text
        else:
            assert event.index not in answers, "an input has one answer"
            assert not call.stream or pieces.get(event.index, "") == event.answer["text"]
            answers[event.index] = event
    assert sorted(answers) == list(range(len(call.inputs)))
    return [answers[index] for index in range(len(call.inputs))]


async def until(holds: Callable[[], bool], *, seconds: float = 120.0) -> float:
    """Wait until a condition holds; returns the seconds that it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        await asyncio.sleep(0.005)
    return time.monotonic() - began


async def first_event(service: ProcessService, call: GenerateCall) -> Event:
    """The first event of a call, which is then closed."""
    events = service.generate(call)
    try:
        return await anext(events)
    finally:
        await events.aclose()


def same(found: dict[str, Any], wanted: Generation) -> bool:
    """Whether an answer of the service is that of `Model.generate`; scores up to the last digits."""
    pairs = zip([found, *found["alternatives"]], [wanted, *wanted.alternatives], strict=True)
    return len(found["alternatives"]) == len(wanted.alternatives) and all(
        mine["text"] == theirs.text
        and mine["tokens"] == theirs.tokens
        and mine["finished"] == theirs.finished
        and abs(mine["score"] - theirs.score) < 1e-9
        for mine, theirs in pairs
    )


def stopped(pid: int) -> None:
    """Stop a process, which then gives no sign of life."""
    os.kill(pid, signal.SIGSTOP)


def continued(pid: int) -> None:
    """Let a stopped process continue."""
    os.kill(pid, signal.SIGCONT)


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
