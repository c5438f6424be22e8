"""The engine that goes on running: a network decodes requests that are added and cancelled at any time.

    engine = SearchEngine(network)
    job = engine.add(request, search_settings)             # each request has its own settings
    while engine.busy:
        for result in engine.step():                       # one more token for the sources of one group
            result.job, result.ids, result.hypotheses

Requests with equal settings are searched together, as a group: one `Search`, which others join as soon as places are
free. Groups take turns, a step each. The answer to a request does not depend on the requests beside it; on a CPU in
int8, bit for bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

from torch import Tensor

from antiphon.errors import NonFiniteError, WorkError, memory_ran_out, one_line
from antiphon.models.protocol import Seq2Seq
from antiphon.runtime.runtime import Runtime
from antiphon.search.batching import MAX_CACHE_TOKENS, cost, longest_first, max_sources, take_batch
from antiphon.search.beam_search import Search
from antiphon.search.config import SearchConfig
from antiphon.search.hypotheses import Hypothesis
from antiphon.search.next_token.sampling import not_numbers
from antiphon.search.requests import Request
from antiphon.search.search_size import SearchSize
from antiphon.search.special_tokens import SpecialTokens

T = TypeVar("T")

MAX_GROUPS = 4  # of an engine that stays; each has a decoding state of its own
MIN_PLACES, MIN_TOKENS = 64, 128  # sources, and tokens of a source and of an answer, of a group that stays


@dataclass(eq=False)
class SearchJob:
    """A request in the engine. `streams`: report ids as soon as they are certain. `batch_size`: the most sources
    that are searched together with it; None: chosen by size. `hypotheses` are those of the answer, once finished."""

    request: Request
    config: SearchConfig
    streams: bool = False
    batch_size: int | None = None
    hypotheses: list[Hypothesis] | None = None
    num_certain: int = field(default=0, init=False)  # ids that were reported

    @property
    def special_tokens(self) -> SpecialTokens:
        """Those of the search, with the first tokens of this request."""
        shared = self.config.special_tokens
        return replace(shared, first=tuple(self.request.prefix[: len(shared.first)]))

    @property
    def group_key(self) -> Hashable:
        """Equal for requests that may be searched together."""
        features = isinstance(self.request.source, Tensor)  # of a model that reads both, texts with and without images
        return self.config, self.batch_size, self.request.restriction is not None, features


class JobResult(NamedTuple):
    """News of a job: `ids` that are certain from now on, with `streams`; its hypotheses, if it is finished; or the
    error that ended it."""

    job: SearchJob
    ids: list[int]
    hypotheses: list[Hypothesis] | None = None
    error: Exception | None = None


class SearchGroup:
    """A running search and the jobs of its requests."""

    def __init__(self, runtime: Runtime, jobs: Sequence[SearchJob], *, size: SearchSize | None) -> None:
        self.key, self._started = jobs[0].group_key, SearchSize.of([job.request for job in jobs])
        self.jobs = dict(enumerate(jobs))
        self.closed = False  # no more jobs are added
        self.search = Search(runtime, [job.request for job in jobs], jobs[0].config, size=size)

    @property
    def busy(self) -> bool:
        """Whether a job is not finished."""
        return self.search.busy

    @property
    def size(self) -> SearchSize:
        """The size of the batch: that of the beginning, with the sources that are open if they are more."""
        return self._started._replace(sources=max(self._started.sources, len(self.search.open)))

    def accepts(self, job: SearchJob) -> bool:
        """Whether a job with the key of this group can be added."""
        return self.search.joins and not self.closed and self.search.size.fits(job.request)

    def add(self, jobs: Sequence[SearchJob]) -> None:
        """Add jobs, which begin as soon as places are free."""
        for index, job in zip(self.search.add([job.request for job in jobs]), jobs, strict=True):
            self.jobs[index] = job

    def cancel(self, job: SearchJob) -> bool:
        """Drop a job; False if it is not in this group."""
        index = next((index for index, other in self.jobs.items() if other is job), None)
        if index is None:
            return False
        self.search.cancel(index)
        del self.jobs[index]
        return True

    def step(self) -> list[JobResult]:
        """One more token for each source."""
        results = []
        try:
            ended = list(self.search.step())
        except NonFiniteError:
            raise not_numbers(self.search.network) from None
        for index, hypotheses in ended:
            job = self.jobs.pop(index)
            job.hypotheses = hypotheses
            if hypotheses:
                results.append(JobResult(job, hypotheses[0].ids[job.num_certain :], hypotheses))
            else:
                results.append(JobResult(job, [], error=not_numbers(self.search.network)))
        streaming = [(row, index) for row, index in enumerate(self.search.open) if self._streams(index)]
        for (_, index), ids in zip(streaming, self.search.certain_ids(row for row, _ in streaming), strict=True):
            job = self.jobs[index]
            if len(ids) > job.num_certain:
                results.append(JobResult(job, ids[job.num_certain :]))
                job.num_certain = len(ids)
        return results

    def _streams(self, index: int) -> bool:
        return index in self.jobs and self.jobs[index].streams


class SearchEngine:
    """Searches with one network. `stays`: groups go on when they have no more requests, with places for others; else
    one group runs at a time, with the longest sources first."""

    def __init__(self, network: Seq2Seq | Runtime, *, stays: bool = False) -> None:
        self.runtime = Runtime.of(network)
        self._stays, self._max_groups = stays, MAX_GROUPS if stays else 1
        self._waiting: dict[Hashable, list[SearchJob]] = {}  # those that are in no group, by key, oldest key first
        self._groups: deque[SearchGroup] = deque()  # the one whose turn is next comes first
        self._has_news = False  # whether a waiting job may be assigned that could not be before

    @property
    def busy(self) -> bool:
        """Whether a job is not finished."""
        return bool(self._waiting) or any(group.busy for group in self._groups)

    def add(
        self, request: Request, config: SearchConfig, *, streams: bool = False, batch_size: int | None = None
    ) -> SearchJob:
        """Put in a request."""
        job = SearchJob(request, config, streams, batch_size)
        self._has_news = True
        self._waiting.setdefault(job.group_key, []).append(job)
        return job

    def cancel(self, job: SearchJob) -> None:
        """Take a request back. Nothing is reported of it from now on."""
        if any(group.cancel(job) for group in self._groups):
            return
        waiting = self._waiting.get(job.group_key, [])
        if job in waiting:
            waiting.remove(job)
            if not waiting:
                del self._waiting[job.group_key]

    def step(self) -> list[JobResult]:
        """One step of the group whose turn it is."""
        results = self._assign()
        for _ in range(len(self._groups)):
            group = self._groups.popleft()
            found, error = [], None
            if was_busy := group.busy:
                found, error = _tried(group.step)
            if error is None and (group.busy or (self._stays and group.search.joins)):
                self._groups.append(group)
            if was_busy:
                self._has_news = self._has_news or not group.busy
                failed = [] if error is None else self._fail(list(group.jobs.values()), error, group.size)
                return results + (found or []) + failed
        return results

    def _assign(self) -> list[JobResult]:
        """Add waiting jobs to groups that accept them, and start groups for others. Returns those that failed."""
        if not self._has_news:
            return []
        self._has_news = False
        for group in self._groups:
            self._offer(group)
        results: list[JobResult] = []
        for key in list(self._waiting):
            if not self._has_space():
                break
            results += self._start(key)
        return results

    def _offer(self, group: SearchGroup) -> None:
        """Add the waiting jobs to `group` that it accepts."""
        jobs = self._waiting.get(group.key, [])
        accepted = [job for job in jobs if group.accepts(job)]
        if accepted:
            group.add(accepted)
            self._keep_waiting(group.key, [job for job in jobs if not group.accepts(job)])

    def _has_space(self) -> bool:
        """Whether another group may start. If not, and there is no idle one to end, the oldest accepts no more jobs."""
        if len(self._groups) < self._max_groups:
            return True
        idle = next((group for group in self._groups if not group.busy), None)
        if idle is not None:
            self._groups.remove(idle)
            return True
        if self._stays and not any(group.closed for group in self._groups):
            self._groups[0].closed = True
        return False

    def _keep_waiting(self, key: Hashable, jobs: list[SearchJob]) -> None:
        if jobs:
            self._waiting[key] = jobs
        else:
            del self._waiting[key]

    def _start(self, key: Hashable) -> list[JobResult]:
        """Start a group with the jobs of a key that are waiting, as many as the bounds of a batch allow."""
        jobs = self._waiting[key]
        requests, order = [job.request for job in jobs], longest_first([job.request for job in jobs])
        prefix_length = len(requests[order[0]].prefix)
        order = deque(i for i in order if len(requests[i].prefix) == prefix_length)
        batch = take_batch(
            order,
            requests,
            jobs[0].config,
            vocab_size=self.runtime.network.vocab_size,
            batch_size=jobs[0].batch_size,
            max_cost=self.runtime.batch_limit.max_cost,
        )
        taken = set(batch)
        started = [jobs[i] for i in batch]
        self._keep_waiting(key, [job for i, job in enumerate(jobs) if i not in taken])
        size = self._size(started)
        group, error = _tried(lambda: SearchGroup(self.runtime, started, size=size))
        if group is None:
            return self._fail(started, error, SearchSize.of([job.request for job in started]))
        self._groups.appendleft(group)
        self._offer(group)
        return []

    def _size(self, jobs: Sequence[SearchJob]) -> SearchSize | None:
        """The size of a group that starts with `jobs`; None if no others should join."""
        size, config = SearchSize.of([job.request for job in jobs]), jobs[0].config
        if not self._stays:
            # A single source has a step that is stored for the next one.
            return size if len(jobs) > 1 and jobs[0].group_key in self._waiting else None
        answer_tokens = _power_of_two(max(size.answer_tokens, MIN_TOKENS))
        most = min(MIN_PLACES, max_sources(config, vocab_size=self.runtime.network.vocab_size))
        most = min(most, max(1, MAX_CACHE_TOKENS // (config.width * answer_tokens)))
        if self.runtime.batch_limit.max_cost is not None:
            one = cost(1, size.source_tokens, size.answer_tokens, width=config.width)
            most = min(most, max(1, self.runtime.batch_limit.max_cost // one))
        places = max(size.sources, most if jobs[0].batch_size is None else jobs[0].batch_size)
        source_tokens = _power_of_two(max(size.source_tokens, MIN_TOKENS))
        return SearchSize(places, source_tokens, answer_tokens, stays=True)

    def _fail(self, jobs: Sequence[SearchJob], error: Exception | None, size: SearchSize) -> list[JobResult]:
        """Called when the jobs of a group that started with `size` ended with an error. If memory ran out, they wait
        again, for a smaller group."""
        assert error is not None
        if not jobs or not memory_ran_out(error):
            return [JobResult(job, [], error=error) for job in jobs]
        if size.sources == 1 and len(jobs) == 1:
            too_large = WorkError(
                f"an input must fit memory, but one alone does not ({one_line(error):.200}). Shorten it, or lower "
                "`beam_size` or `max_new_tokens`."
            )
            too_large.__cause__ = error
            return [JobResult(jobs[0], [], error=too_large)]
        width, self._has_news = jobs[0].config.width, True
        self._waiting.setdefault(jobs[0].group_key, [])[:0] = jobs
        too_much = cost(size.sources, size.source_tokens, size.answer_tokens, width=width)
        self.runtime.batch_limit.lower(too_much, count=size.sources)
        return []


def _tried(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """The result of `work`, or the error that it raised; without its frames if memory ran out, which are large."""
    try:
        return work(), None
    except Exception as error:
        return None, error.with_traceback(None) if memory_ran_out(error) else error


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
