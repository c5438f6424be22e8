"""Answers or scores of blocks of rows, with the failures of single rows apart from those of the job.

answerer = Answerer(job, model)
results = answerer(rows, first_row=4096)        # for each row an object of `antiphon generate --json`, or a failure
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from antiphon.bulk.job import BulkJob
from antiphon.bulk.rows import BulkRow
from antiphon.bulk.tables import placed
from antiphon.errors import ConfigError, DataError, NonFiniteError, memory_ran_out
from antiphon.generation.translator import Translator

T = TypeVar("T")


class RowFailure(NamedTuple):
    """Why a row has no answer."""

    message: str


class Generating(Protocol):
    """A model, or a reranker of its answers."""

    def generate(self, texts: Any, *, first_row: int = 0, **settings: object) -> Sequence[Any]:
        """One answer for each text."""
        ...


def isolated(compute: Callable[[int, int], Sequence[T]], count: int) -> list[T | RowFailure]:
    """The results of `count` rows, of which `compute(begin, end)` computes some; a failure for each row that has none.

    A block that fails is halved until the row is found, so that its other rows are computed as they would be without
    it. Only errors about rows are caught, and exhausted memory: half the rows may fit.
    """
    if not count:
        return []
    found: list[T | RowFailure] = []
    waiting = [(0, count)]
    while waiting:
        begin, end = waiting.pop()
        try:
            found += compute(begin, end)
        except Exception as error:
            if not (isinstance(error, DataError | ConfigError | NonFiniteError) or memory_ran_out(error)):
                raise
            if end - begin == 1:
                found.append(RowFailure(str(error)))
            else:
                middle = (begin + end) // 2
                waiting += [(middle, end), (begin, middle)]
    return found


class Answerer:
    """Computes the results of a block of rows for the task of `job`.

    The settings are checked here, so that what fails later is a row. Raises ConfigError.
    """

    def __init__(self, job: BulkJob, model: Translator) -> None:
        self._job, self.model = job, model
        self._search = dict(job.search)
        self._generating: Generating = model if job.rerank is None else _reranker(model, job)
        if job.task != "score":
            self._generating.generate([], **self._search)

    @property
    def n_best(self) -> int:
        """The answers of a row."""
        return self._search.get("n_best", self.model.generation.n_best)

    def __call__(self, rows: Sequence[BulkRow], *, first_row: int) -> list[dict[str, Any] | RowFailure]:
        """The result of each row: the keys of `antiphon generate --json`, or `score`. Unless failures are recorded, the
        first one is raised, with the location of its row."""
        if self._job.on_failure == "record":
            found = isolated(lambda begin, end: self._results(rows[begin:end], first_row + begin), len(rows))
            return [
                result if row.fault is None else RowFailure(str(row.fault))
                for row, result in zip(rows, found, strict=True)
            ]
        with placed(rows, 0 if self._job.task == "score" else first_row):
            return self._results(rows, first_row)

    def _results(self, rows: Sequence[BulkRow], first_row: int) -> list[dict[str, Any] | RowFailure]:
        sources = [row.source for row in rows]
        if self._job.task == "score":
            return [{"score": score} for score in self.model.score(sources, ["".join(row.targets) for row in rows])]
        answers = self._generating.generate(sources, first_row=first_row, **self._search)
        return [answer.as_json() for answer in answers]


def tokens_of(result: dict[str, Any] | RowFailure) -> int:
    """The target tokens of an answer, its end included."""
    return 0 if isinstance(result, RowFailure) else len(result.get("tokens", ())) + bool(result.get("finished"))


def _reranker(model: Translator, job: BulkJob) -> Generating:
    from antiphon.evaluation.reranking.rerank import Reranker

    return Reranker(model, **(job.rerank or {}))
