"""Turns, refusals and estimates, without a process."""

from __future__ import annotations

import random
from typing import Any

import pytest

from antiphon.serving.process.calls import ActiveCall, Job, shift_rows
from antiphon.serving.process.messages import SubmitInput
from antiphon.serving.process.scheduling import Scheduler, ServiceRate
from antiphon.serving.process.settings import ModelEntry, ProcessSettings
from antiphon.serving.service import BadInput, Overloaded


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def scheduler(clock: Clock | None = None, **settings: Any) -> Scheduler:
    entry = ModelEntry(name="a", path="a")
    return Scheduler(ProcessSettings(models=(entry,), **settings), clock=clock or Clock())


def jobs(count: int, *, cost: int = 1, size: int = 10) -> list[Job]:
    return [Job(SubmitInput(job=i, input="x", row=i), cost=cost, size=size) for i in range(count)]


def added(queue: Scheduler, count: int, **how: int) -> tuple[ActiveCall, list[Job]]:
    call, made = ActiveCall(count=count), jobs(count, **how)
    for job in made:
        job.subscribe(call, 0)
    queue.add(call, made)
    return call, made


def taken(queue: Scheduler) -> list[Job]:
    found = []
    while (job := queue.take()) is not None:
        found.append(job)
    return found


def test_calls_take_turns() -> None:
    queue = scheduler(max_running=5)
    _, first = added(queue, 6)
    _, second = added(queue, 2)
    assert taken(queue) == [first[0], second[0], first[1], second[1], first[2]]
    assert (queue.running, queue.queued, queue.free) == (5, 3, 0)
    _, third = added(queue, 1)
    queue.end(first[0])
    queue.end(second[0])
    assert taken(queue) == [first[3], third[0]]
    assert queue.running == 5


def test_what_is_cancelled_is_not_computed() -> None:
    queue = scheduler(max_running=2)
    call, made = added(queue, 4)
    other, _ = added(queue, 1)
    queue.end(made[1], finished=False)
    assert taken(queue)[0] is made[0]
    queue.move(made[2], other)
    assert made[2].owner is other and made[2].state == "waiting" and queue.queued == 2
    queue.end(made[0], finished=False)
    assert taken(queue) == [made[3]] and made[3].owner is call
    for job in made:
        queue.end(job, finished=False)
    assert (queue.running, queue.queued, queue.queued_size) == (1, 0, 0)


def test_counts_return_to_zero() -> None:
    """Random calls, ends and cancellations."""
    draw, queue = random.Random(1), scheduler(max_running=7)
    everything: list[Job] = []
    for _ in range(2000):
        match draw.randrange(4):
            case 0:
                everything += added(queue, draw.randrange(1, 5), cost=draw.randrange(1, 4))[1]
            case 1:
                taken(queue)
            case 2 if everything:
                queue.end(everything.pop(draw.randrange(len(everything))), finished=draw.random() < 0.5)
            case 3 if everything:
                job = draw.choice(everything)
                if job.state == "waiting":
                    queue.move(job, ActiveCall(count=1))
        waiting = [job for job in everything if job.state == "waiting"]
        running = [job for job in everything if job.state == "running"]
        assert queue.queued == sum(job.cost for job in waiting)
        assert queue.queued_size == sum(job.size for job in waiting)
        assert queue.running == sum(job.cost for job in running) <= 7
    for job in everything:
        queue.end(job)
    assert not taken(queue)
    assert (queue.running, queue.queued, queue.queued_size) == (0, 0, 0)
    assert not queue._turns and not queue._waiting, "nothing is left of calls that ended"


def test_a_job_that_costs_more_than_may_run_runs_alone() -> None:
    queue = scheduler(max_running=4)
    _, (big,) = added(queue, 1, cost=9)
    _, (small,) = added(queue, 1)
    assert taken(queue) == [big]
    queue.end(big)
    assert taken(queue) == [small]


def test_the_queue_is_bounded() -> None:
    queue = scheduler(max_running=2, max_queue=3, max_queue_characters=100)
    queue.check(cost=5, size=50)
    with pytest.raises(BadInput, match="at most 5 inputs, but has 6"):
        queue.check(cost=6, size=60)
    with pytest.raises(BadInput, match="at most 100 characters, but have 101"):
        queue.check(cost=1, size=101)
    added(queue, 4)
    taken(queue)
    queue.check(cost=1, size=10)
    with pytest.raises(Overloaded, match="2 inputs wait already, of at most 3") as caught:
        queue.check(cost=2, size=20)
    assert caught.value.retry_after_seconds == 1.0, "nothing is measured yet"
    with pytest.raises(Overloaded, match="20 characters wait already, of at most 100"):
        queue.check(cost=1, size=81)
    queue.check(cost=0, size=0)


def test_the_time_after_which_to_try_again_is_measured() -> None:
    clock = Clock()
    queue = scheduler(clock, max_running=1, max_queue=30, max_wait_seconds=5)
    _, made = added(queue, 40)
    for _ in range(10):  # four a second
        (job,) = taken(queue)
        clock.now += 0.25
        queue.end(job)
    taken(queue)
    assert queue.rate.per_second == pytest.approx(4)
    assert queue.queued == 29
    with pytest.raises(Overloaded, match=r"29 inputs wait already.*again in 0\.5 s") as caught:
        queue.check(cost=3, size=30)
    assert caught.value.retry_after_seconds == pytest.approx(0.5)
    with pytest.raises(Overloaded, match=r"it would wait about 8 s, of at most 5\. Try again in 2\.5 s"):
        queue.check(cost=1, size=10)
    for job in made:
        queue.end(job, finished=False)
    queue.check(cost=30, size=300)  # nothing waits: however long it takes, it is computed at once


def test_idle_time_is_no_work() -> None:
    clock = Clock()
    rate = ServiceRate(clock)
    for _ in range(10):
        rate.set_busy(True)
        clock.now += 0.5
        rate.ended(2)
        rate.set_busy(False)
        clock.now += 100
    assert rate.per_second == pytest.approx(4)
    assert rate.busy_seconds == pytest.approx(5)


def test_rows_of_a_message() -> None:
    assert shift_rows("input 3 must have at most 4 tokens", 2) == "input 5 must have at most 4 tokens"
    assert shift_rows("`allowed` of input 1 must", 0) == "`allowed` of input 1 must"
    assert (
        shift_rows("the prefix of input 12 must be like input 1", -2) == "the prefix of input 10 must be like input 1"
    )
    assert shift_rows("no row, 3 tokens", 4) == "no row, 3 tokens"
