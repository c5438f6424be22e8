"""Which input is computed next, and which calls are refused because too much waits.

    scheduler = Scheduler(settings, clock=loop.time)
    scheduler.check(cost=3, size=120)            # Overloaded, with the time after which to try again
    scheduler.add(call, jobs)
    while (job := scheduler.take()) is not None: send(job.message)
    scheduler.end(job)

Calls take turns, an input each, so that a call of a thousand inputs delays a call of one by a single input.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from antiphon.serving.process.calls import ActiveCall, Job
from antiphon.serving.process.settings import ProcessSettings
from antiphon.serving.service import BadInput, Overloaded

_REMEMBERED, _FEWEST = 64, 8  # ended jobs that the speed is estimated from
_UNKNOWN_SECONDS = 1.0  # after which to try again, as long as nothing has been measured
_MOST_SECONDS = 600.0


class ServiceRate:
    """The inputs that are finished in a second, over the time in which there was work."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._since, self._before = clock, 0.0, 0.0
        self._is_busy = False
        self._ends: deque[tuple[float, int]] = deque(maxlen=_REMEMBERED)  # busy seconds, inputs that ended there

    def set_busy(self, busy: bool) -> None:
        """Note whether there is work from now on."""
        now = self._clock()
        if busy and not self._is_busy:
            self._since = now
        elif self._is_busy and not busy:
            self._before += now - self._since
        self._is_busy = busy

    def ended(self, count: int) -> None:
        """Note that `count` inputs are finished."""
        self._ends.append((self.busy_seconds, count))

    @property
    def busy_seconds(self) -> float:
        """Seconds with work so far."""
        return self._before + (self._clock() - self._since if self._is_busy else 0.0)

    @property
    def per_second(self) -> float | None:
        """Inputs a second; None before there is enough to tell."""
        if len(self._ends) < _FEWEST:
            return None
        first, last = self._ends[0][0], self._ends[-1][0]
        count = sum(count for _, count in self._ends) - self._ends[0][1]
        return count / (last - first) if last > first else None


class Scheduler:
    """The queue before a model process."""

    def __init__(self, settings: ProcessSettings, *, clock: Callable[[], float]) -> None:
        self._settings, self._clock = settings, clock
        self._waiting: dict[ActiveCall, deque[Job]] = {}
        self._turns: deque[ActiveCall] = deque()
        self.queued = self.queued_size = self.running = 0
        self.rate = ServiceRate(clock)
        self.queued_seconds = self.running_seconds = 0.0

    @property
    def free(self) -> int:
        """Inputs that could be computed at once."""
        return max(0, self._settings.max_running - self.running - self.queued)

    def check(self, *, cost: int, size: int) -> None:
        """Overloaded if `cost` more inputs of `size` characters cannot wait; BadInput if they never could."""
        if not cost:
            return  # everything is in the cache, or is being computed
        settings = self._settings
        most = settings.max_queue + settings.max_running
        if cost > most:
            raise BadInput(f"a call must have at most {most} inputs, but has {cost}. Divide it.", field="inputs")
        if size > settings.max_queue_characters:
            raise BadInput(
                f"the inputs of a call must have at most {settings.max_queue_characters} characters, but have {size}. "
                "Divide it.",
                field="inputs",
            )
        excess = self.queued + cost - self.free - settings.max_queue
        if excess > 0:
            self._refuse(f"{self.queued} inputs wait already, of at most {settings.max_queue}", excess)
        if self.queued and self.queued_size + size > settings.max_queue_characters:
            some = f"{self.queued_size} characters wait already, of at most {settings.max_queue_characters}"
            self._refuse(some, min(cost, self.queued))
        rate = self.rate.per_second
        wait = 0.0 if rate is None or not self.queued else (self.queued + cost) / rate
        if rate is not None and wait > settings.max_wait_seconds:
            excess = max(1, round((wait - settings.max_wait_seconds) * rate))
            self._refuse(f"it would wait about {wait:.0f} s, of at most {settings.max_wait_seconds:g}", excess)

    def seconds_for(self, inputs: int) -> float:
        """An estimate of the time in which `inputs` are finished."""
        rate = self.rate.per_second
        return _UNKNOWN_SECONDS if rate is None else min(max(inputs / rate, 0.05), _MOST_SECONDS)

    def _refuse(self, why: str, excess: int) -> None:
        seconds = self.seconds_for(excess)
        raise Overloaded(f"too much work: {why}. Try again in {seconds:.1f} s.", retry_after_seconds=seconds)

    def add(self, owner: ActiveCall, jobs: Iterable[Job]) -> None:
        """Queue jobs of a call, in their order, after its others."""
        for job in jobs:
            if owner not in self._waiting:
                self._waiting[owner] = deque()
                self._turns.append(owner)
            job.owner, job.state, job.since = owner, "waiting", self._clock()
            self._waiting[owner].append(job)
            self.queued += job.cost
            self.queued_size += job.size

    def take(self) -> Job | None:
        """The next job to compute, which then is running; None if there is none, or no more may run."""
        while self._turns:
            call = self._turns[0]
            jobs = self._waiting[call]
            while jobs and (jobs[0].state != "waiting" or jobs[0].owner is not call):
                jobs.popleft()  # cancelled, or moved to another call
            if jobs and self.running and self.running + jobs[0].cost > self._settings.max_running:
                return None
            self._turns.popleft()
            if not jobs:
                del self._waiting[call]
                continue
            job = jobs.popleft()
            self._turns.append(call)
            self._leave_queue(job)
            job.state, job.since = "running", self._clock()
            self.running += job.cost
            self.rate.set_busy(True)
            return job
        return None

    def end(self, job: Job, *, finished: bool = True) -> None:
        """A job is finished (or cancelled), wherever it was."""
        if job.state == "waiting":
            self._leave_queue(job)
        elif job.state == "running":
            self.running -= job.cost
            self.running_seconds += self._clock() - job.since
            if finished:
                self.rate.ended(job.cost)
            if not self.running:
                self.rate.set_busy(False)
        job.state = "ended"

    def move(self, job: Job, owner: ActiveCall) -> None:
        """Queue a waiting job in the turns of another call."""
        self._leave_queue(job)
        self.add(owner, [job])

    def _leave_queue(self, job: Job) -> None:
        self.queued -= job.cost
        self.queued_size -= job.size
        self.queued_seconds += self._clock() - job.since
