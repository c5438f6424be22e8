"""A client's call, and the jobs that it waits for: one for each input that is not in the cache.

call = ActiveCall(count=2)
job = Job(message=SubmitInput(job=1, input="in 3 hours", row=0))
job.subscribe(call, 0)                       # equal inputs of several calls share a job
async for result in call.results(until=deadline): ...
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from antiphon.serving.process.messages import ScorePairs, ShowAttention, SubmitInput
from antiphon.serving.service import Answered, CallTimeout, ServiceError, TextPiece

JobMessage = SubmitInput | ScorePairs | ShowAttention
_ROW = re.compile(r"\b(input|source|target|number) (\d+)\b")


class ActiveCall:
    """A call that is not finished: the results that it waits for, and those that its reader has not taken yet.

    `first_row` is the row of its first input, which messages about rows count from.
    """

    def __init__(self, *, count: int, stream: bool = False, first_row: int = 0) -> None:
        self.left, self.stream, self.first_row = count, stream, first_row
        self.jobs: set[Job] = set()
        self._results: asyncio.Queue[Any] = asyncio.Queue()

    def put(self, result: Any, *, last: bool) -> None:
        """Add a result; `last`: the last one of an input."""
        self.left -= last
        self._results.put_nowait(result)

    def fail(self, error: ServiceError) -> None:
        """End the call with an error, after the results that are there."""
        self.left = 0
        self._results.put_nowait(error)

    async def results(self, *, until: float) -> AsyncIterator[Any]:
        """The results, in the order of their arrival. Raises the ServiceError of `fail`, and CallTimeout at the time
        `until` (of `time.monotonic`)."""
        while self.left or not self._results.empty():
            if self._results.empty():
                try:
                    async with asyncio.timeout(until - time.monotonic()):
                        result = await self._results.get()
                except TimeoutError:
                    raise CallTimeout("the answer was not ready in time. Try again, or ask for less.") from None
            else:
                result = self._results.get_nowait()
                if until < time.monotonic():  # a reader that takes its results slowly
                    raise CallTimeout("the answer was not read in time.")
            if isinstance(result, ServiceError):
                raise result
            yield result


@dataclass(eq=False, slots=True)
class Job:
    """Work of a model process for one call or several, and its state.

    `cost` is in inputs, `size` in characters (see `size_of`). `key` is that of the answer in the cache.
    `subscribers` are the calls that wait for it, with the indices of their inputs. `owner` is the call in whose turn it
    is computed; `text` are the pieces that were streamed.
    """

    message: JobMessage
    cost: int = 1
    size: int = 0
    key: bytes | None = None
    subscribers: dict[ActiveCall, list[int]] = field(default_factory=dict)
    owner: ActiveCall | None = None
    state: Literal["new", "waiting", "running", "ended"] = "new"
    since: float = 0.0
    text: str = ""

    def subscribe(self, call: ActiveCall, index: int) -> None:
        """Let input `index` of `call` wait for this job too. It gets the pieces that were streamed before."""
        self.subscribers.setdefault(call, []).append(index)
        call.jobs.add(self)
        if call.stream and self.text:
            call.put(TextPiece(index, self.text), last=False)

    def to_send(self) -> JobMessage:
        """The message for the process. An answer is streamed if one of those that wait for it asked for that."""
        if isinstance(self.message, SubmitInput):
            return replace(self.message, stream=any(call.stream for call in self.subscribers))
        return self.message

    def stream(self, text: str) -> None:
        """Pass on a piece of the answer."""
        self.text += text
        for call, indices in self.subscribers.items():
            for index in indices if call.stream else ():
                call.put(TextPiece(index, text), last=False)

    def finish(self, answer: dict[str, Any], warnings: tuple[str, ...]) -> None:
        """Pass on the answer. Each input gets an object of its own."""
        encoded = json.dumps(answer)
        rest = answer["text"][len(self.text) :]
        for call, indices in self.subscribers.items():
            for index in indices:
                if call.stream and rest:
                    call.put(TextPiece(index, rest), last=False)
                shown = tuple(shift_rows(line, self.shift(call, index)) for line in warnings)
                call.put(Answered(index, json.loads(encoded), shown), last=True)

    def finish_with(self, result: Any) -> None:
        """Pass on a result that is no answer, with the index that it is for."""
        for call, indices in self.subscribers.items():
            for index in indices:
                call.put((index, result), last=True)

    def shift(self, call: ActiveCall, index: int) -> int:
        """What to add to the numbers of rows in the process's messages, for input `index` of a call."""
        match self.message:
            case SubmitInput(row=row):
                return call.first_row + index - row
            case ScorePairs(row=row):
                return row
            case _:
                return 0


def shift_rows(message: str, by: int) -> str:
    """A message about "input 3" for a reader whose input has another number."""
    return _ROW.sub(lambda found: f"{found[1]} {int(found[2]) + by}", message, count=1) if by else message
