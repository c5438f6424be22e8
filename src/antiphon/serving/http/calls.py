"""Calls of the models for a request: they end when the client leaves, and stream as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from antiphon.serving.http.context import ServerContext, context_of, record_of
from antiphon.serving.http.errors import INTERNAL, ApiError, ClientGone, error_body, from_service, style_of, to_json
from antiphon.serving.http.logs import log_failure
from antiphon.serving.service import Answered, CallTimeout, Event, GenerateCall, ServiceError

T = TypeVar("T")
_GRACE_SECONDS = 1.0  # calls that have a time-out of their own end before


async def while_connected(request: Request, work: Awaitable[T], *, seconds: float | None = None) -> T:
    """The result of `work`, which is cancelled if the client leaves before (ClientGone), or after so many seconds
    (CallTimeout); default: the time for a request."""
    seconds = seconds or context_of(request).settings.request_timeout_seconds
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({task, gone}, timeout=seconds + _GRACE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ClientGone
        raise CallTimeout(f"the answer was not ready within {seconds:g} seconds.")
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnect(request: Request) -> None:
    # The body was read; what comes now is the end of the connection.
    while (await request.receive())["type"] != "http.disconnect":
        pass


def count_inputs(request: Request, texts: list[str], *, model: str | None) -> None:
    """Record the inputs of a request, and take their characters from the key's rate (ApiError 429)."""
    context, record = context_of(request), record_of(request)
    count = sum(map(len, texts))
    count_items(request, len(texts), model=context.status_of(model).name)
    record.characters += count
    context.metrics.characters.labels(record.model, "read").inc(count)
    if context.settings.log_texts:
        record.texts += texts
    context.keys.charge(record.key, count)


def count_items(request: Request, items: int, *, model: str) -> None:
    """Record the number of inputs of a request, which may be recordings."""
    record = record_of(request)
    record.model = model
    record.items += items
    context_of(request).metrics.inputs.labels(model).inc(items)


def count_answer(request: Request, text: str) -> None:
    """Record an answer of a request."""
    record = record_of(request)
    record.answer_characters += len(text)
    context_of(request).metrics.characters.labels(record.model, "written").inc(len(text))
    if context_of(request).settings.log_texts:
        record.answers.append(text)


async def answers(request: Request, call: GenerateCall) -> list[Answered]:
    """The answers of a call, in the order of its inputs."""
    found = await while_connected(request, gather_answers(context_of(request), call))
    for answer in found:
        count_answer(request, str(answer.answer.get("text", "")))
    return found


async def gather_answers(context: ServerContext, call: GenerateCall) -> list[Answered]:
    """The answers of a call, in the order of its inputs, without a connection to watch."""
    if not call.inputs:
        return []
    found: dict[int, Answered] = {}
    async with aclosing(_events(context, call)) as events:
        async for event in events:
            if isinstance(event, Answered):
                found[event.index] = event
    if len(found) != len(call.inputs):
        raise ApiError(500, "internal", f"the model answered {len(found)} of {len(call.inputs)} inputs.")
    return [found[index] for index in range(len(call.inputs))]


async def _events(context: ServerContext, call: GenerateCall) -> AsyncGenerator[Event, None]:
    # An async generator of its own: a service may return any async iterator, and only generators can be closed.
    source = context.service.generate(call)
    try:
        async for event in source:
            yield event
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()


async def stream(request: Request, call: GenerateCall, encode: Callable[[Event], Any]) -> Response:
    """A response of server-sent events: what `encode` makes of each event, as `data:` lines, and `[DONE]` at the end.

    An error before the first event is an ordinary error response; after it, an event `error`.
    """
    events = _events(context_of(request), call)
    try:
        first = await while_connected(request, anext(events, None)) if call.inputs else None
    except BaseException:
        await events.aclose()
        raise

    async def lines() -> AsyncIterator[bytes]:
        async with aclosing(events):
            try:
                event = first
                while event is not None:
                    if isinstance(event, Answered):
                        count_answer(request, str(event.answer.get("text", "")))
                    yield _data(encode(event))
                    event = await anext(events, None)
                yield b"data: [DONE]\n\n"
            except ServiceError as error:
                yield _failed(request, from_service(error))
            except Exception:
                log_failure(f"request {record_of(request).id} failed")
                yield _failed(request, INTERNAL)

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(lines(), media_type="text/event-stream", headers=headers)


def _failed(request: Request, error: ApiError) -> bytes:
    return b"event: error\n" + _data(error_body(error, style_of(request.url.path)))


def _data(content: Any) -> bytes:
    return b"data: " + to_json(content) + b"\n\n"
