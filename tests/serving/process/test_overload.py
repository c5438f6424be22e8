"""Row 16: twice as many calls as can be answered."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import counts
import pytest
from serving.process.tools import Served, collect

from antiphon.serving.process.settings import ModelEntry
from antiphon.serving.service import GenerateCall, Overloaded

RUNNING, QUEUE = 16, 32
SETTINGS = {"beam_size": 1, "min_new_tokens": 60, "max_new_tokens": 61}  # each input takes about as long


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    entry = ModelEntry(name="tiny", path=str(folder))
    running = Served(entry, max_running=RUNNING, max_queue=QUEUE, cache_entries=0).ready()
    yield running
    running.close()


@dataclass
class Load:
    """What became of the calls."""

    accepted: list[float] = field(default_factory=list)  # seconds of each
    refused: list[float] = field(default_factory=list)
    running: list[int] = field(default_factory=list)  # inputs in the process, sampled

    async def call(self, served: Served, number: int) -> None:
        began = time.monotonic()
        try:
            await collect(served.service, GenerateCall(inputs=[f"text {number}"], settings=SETTINGS))
        except Overloaded as error:
            assert error.retry_after_seconds is not None and 0 < error.retry_after_seconds <= 60
            self.refused.append(time.monotonic() - began)
        else:
            self.accepted.append(time.monotonic() - began)


async def capacity(served: Served, seconds: float) -> float:
    """Inputs a second with as many clients as fit, each waiting for its answer."""
    load, until = Load(), time.monotonic() + seconds

    async def client(number: int) -> None:
        while time.monotonic() < until:
            await load.call(served, number)

    await asyncio.gather(*(client(number) for number in range(RUNNING + QUEUE)))
    return len(load.accepted) / seconds


async def overload(served: Served, rate: float, seconds: float) -> Load:
    """Calls at `rate` a second, whatever becomes of them."""
    load, began, calls = Load(), time.monotonic(), []
    while (now := time.monotonic() - began) < seconds:
        while len(calls) < now * rate:
            calls.append(asyncio.create_task(load.call(served, len(calls))))
        load.running.append(served.numbers()["running"])
        await asyncio.sleep(0.005)
    await asyncio.gather(*calls)
    return load


def test_twice_the_capacity(served: Served, record_property: Callable[[str, object], None]) -> None:
    seconds = counts.count("overload_seconds")
    most = served.run(capacity(served, 2.0))
    load = served.run(overload(served, 2 * most, seconds), seconds=4 * seconds + 60)
    service_seconds = RUNNING / most
    bound = (QUEUE / RUNNING + 1) * service_seconds
    slowest = statistics.quantiles(load.accepted, n=100)[98]
    refusal = statistics.quantiles(load.refused, n=100)[98]
    full = statistics.fmean(number >= RUNNING - 2 for number in load.running[len(load.running) // 4 :])
    goodput = len(load.accepted) / (seconds + slowest)
    figures = {"capacity": most, "p99": slowest, "bound": bound, "refusal": refusal, "goodput": goodput}
    for name, value in figures.items():
        record_property(name, value)
    assert len(load.refused) > 0.2 * len(load.accepted), "it was no overload"
    assert full > 0.8, "the process must have work all the time"
    assert statistics.median(load.refused) < 0.05
    if counts.MODE == "torture":  # on a machine of its own; elsewhere the times are those of its neighbours too
        assert slowest <= 1.2 * bound and refusal < 0.05 and goodput >= 0.9 * most
