"""Processes that die or hang are replaced; what waits is answered by the next one."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import counts
import pytest
from counts import count
from serving.process.tools import DTYPE, TEXTS, Served, collect, is_running, same, stopped, until

from antiphon.generation.model import Model
from antiphon.serving.process.settings import ModelEntry
from antiphon.serving.service import GenerateCall, Unavailable

RUNNING = 64
# Row 24, on a machine of its own; in `make test` loading waits for other tests.
READY_SECONDS = 10 if counts.MODE == "torture" else 120


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    entry = ModelEntry(name="tiny", path=str(folder), dtype=DTYPE)
    running = Served(entry, cache_entries=0, max_running=RUNNING, stuck_seconds=3).ready()
    yield running
    running.close()


async def replaced(served: Served, *, restarts: int) -> None:
    """Wait until the process was replaced for the time `restarts`, and is ready."""
    await until(lambda: served.numbers()["restarts"] == restarts and served.service.statuses()[0].state == "ready")


def test_a_killed_process_is_replaced(served: Served, offline: Model) -> None:
    """Row 24: kill -9 in the middle of a batch: an error within 2 s, ready within 10 s, no wrong answer."""
    texts = [f"{text} {number}" for number in range(20) for text in TEXTS]
    wanted, random_delay = offline.generate(texts), random.Random(0)

    async def kill_once(delay: float) -> tuple[float, float, int]:
        restarts = served.numbers()["restarts"]
        calls = [asyncio.create_task(collect(served.service, GenerateCall(inputs=[text]))) for text in texts]
        await asyncio.sleep(delay)
        os.kill(served.pid(), signal.SIGKILL)
        began = time.monotonic()
        await asyncio.wait(calls, return_when=asyncio.FIRST_EXCEPTION)
        failed = time.monotonic() - began
        await replaced(served, restarts=restarts + 1)
        ready = time.monotonic() - began
        found = await asyncio.gather(*calls, return_exceptions=True)
        for each, own in zip(found, wanted, strict=True):
            if isinstance(each, BaseException):
                assert isinstance(each, Unavailable) and each.retry_after_seconds and each.status == 503
            else:
                assert same(each[0].answer, own)
        return failed, ready, sum(isinstance(each, Unavailable) for each in found)

    hit = 0
    for _ in range(count("process_kills")):
        failed, ready, unavailable = served.run(kill_once(random_delay.uniform(0, 0.3)))
        if unavailable:
            assert failed < 2, failed
            hit += 1
        assert ready < READY_SECONDS, ready
    assert hit >= count("process_kills") // 2, "most kills must come while there is work"
    assert (served.numbers()["queued"], served.numbers()["running"]) == (0, 0)
    assert [each["text"] for each in served.answers(texts)] == [each.text for each in wanted]


def test_a_stuck_process_is_replaced(served: Served) -> None:
    first, restarts = served.pid(), served.numbers()["restarts"]

    async def ask() -> float:
        await asyncio.sleep(3.3)  # a process without work may be silent
        assert served.pid() == first
        stopped(first)
        began = time.monotonic()
        with pytest.raises(Unavailable, match="is replaced") as caught:
            await collect(served.service, GenerateCall(inputs=["never computed"]))
        assert caught.value.retry_after_seconds
        seconds = time.monotonic() - began
        (status,) = served.service.statuses()
        assert status.state == "restarting" and "no sign of life for 3 s" in str(status.error)
        with pytest.raises(Unavailable, match="the model tiny is restarting"):
            await collect(served.service, GenerateCall(inputs=["too early"]))
        await replaced(served, restarts=restarts + 1)
        assert await collect(served.service, GenerateCall(inputs=["never computed"]))
        return seconds

    assert 2.5 < served.run(ask()) < 10
    assert served.pid() != first and not is_running(first)


def test_calls_that_wait_are_answered_by_the_next_process(served: Served, offline: Model) -> None:
    texts = [f"text {number}" for number in range(RUNNING + 4)]

    async def ask() -> list[Any]:
        stopped(served.pid())
        calls = [asyncio.create_task(collect(served.service, GenerateCall(inputs=[text]))) for text in texts]
        await until(lambda: served.numbers()["queued"] == 4)
        os.kill(served.pid(), signal.SIGKILL)
        return await asyncio.gather(*calls, return_exceptions=True)

    found = served.run(ask())
    assert [isinstance(each, Unavailable) for each in found] == [True] * RUNNING + [False] * 4
    wanted = offline.generate(texts[RUNNING:])
    assert all(same(each[0].answer, own) for each, own in zip(found[RUNNING:], wanted, strict=True))


def test_a_process_that_sends_nonsense_is_replaced(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    model, first, restarts = served.service._model(None), served.pid(), served.numbers()["restarts"]
    monkeypatch.setattr(model, "received", lambda message: 1 / 0)
    with pytest.raises(Unavailable, match="is replaced"):
        served.answers(["a"])
    monkeypatch.undo()
    assert "cannot be handled (ZeroDivisionError)" in str(served.service.statuses()[0].error)
    served.run(replaced(served, restarts=restarts + 1))
    assert served.answers(["a"]) and not is_running(first)


def test_calls_that_are_closed_while_the_process_ends(served: Served) -> None:
    """Between its death and the notice of it there is nobody to send a cancellation to."""
    restarts = served.numbers()["restarts"]

    async def close_some() -> list[Any]:
        stopped(served.pid())
        calls = [asyncio.create_task(collect(served.service, GenerateCall(inputs=[f"gone {i}"]))) for i in range(80)]
        await until(lambda: served.numbers()["running"] == RUNNING)
        os.kill(served.pid(), signal.SIGKILL)
        for call in calls[::2]:
            call.cancel()
            await asyncio.sleep(0)
        found = await asyncio.gather(*calls, return_exceptions=True)
        await replaced(served, restarts=restarts + 1)
        return found

    for found in served.run(close_some()):
        assert isinstance(found, list | asyncio.CancelledError | Unavailable), found
    assert (served.numbers()["queued"], served.numbers()["running"]) == (0, 0)
    assert served.answers(["after it"])
