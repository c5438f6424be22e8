"""Translation of documents: texts are split into segments, the model answers these, and they are put back together.

    results = await translate(context, [source], direction, TranslateOptions(format="html"))
    results[0].joined.content

Segments go to the model in calls of CHUNK inputs; a long document shares the queue with other requests.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from antiphon.config import GenerationConfig
from antiphon.documents import Document, Joined, Protection, Segment, SegmentAnswer, read_html, read_text
from antiphon.language_codes import short_code
from antiphon.serving.http.calls import gather_answers
from antiphon.serving.http.context import ServerContext
from antiphon.serving.http.languages import Direction
from antiphon.serving.service import Answered, BadInput, CallTimeout, Detail, GenerateCall, Overloaded, Unavailable

CHUNK = 64  # inputs of one call
_AT_ONCE = 2  # calls of one document
_LONG = 2000  # characters above which a text is split in a thread of its own
_TAGS = re.compile(r"<[^<>]*>")
_MOST_WAIT = 30.0  # seconds between two tries of a call that was refused


@dataclass(frozen=True, kw_only=True)
class TranslateOptions:
    """How documents are translated. `search` are settings of the search, `alternatives` further texts of each
    document. `patient`: a call that is refused because others wait is tried again, for documents in the background.
    `progress` is called with the number of answered segments and of all."""

    format: Literal["text", "html"] = "text"
    protection: Protection = field(default_factory=Protection)
    details: Sequence[Detail] = ()
    search: Mapping[str, Any] = field(default_factory=dict)
    alternatives: int = 0
    timeout_seconds: float | None = None
    patient: bool = False
    progress: Callable[[int, int], None] = lambda done, total: None


@dataclass(frozen=True)
class Translation:
    """A translated document: the text and its segments, the model's answers, and the alternatives of the text."""

    joined: Joined
    answers: Sequence[Answered]
    alternatives: list[str]

    @property
    def text(self) -> str:
        """The translated text."""
        assert isinstance(self.joined.content, str)
        return self.joined.content

    @property
    def warnings(self) -> list[str]:
        """What the user should know, each once."""
        found = [*self.joined.warnings, *(words for answer in self.answers for words in answer.warnings)]
        return list(dict.fromkeys(found))


def sample(text: str, *, html: bool) -> str:
    """The words of a text, to detect its language by."""
    return _TAGS.sub(" ", text[:20_000]) if html else text


async def translate(
    context: ServerContext, texts: Sequence[str], direction: Direction, options: TranslateOptions
) -> list[Translation]:
    """Translate texts in one direction."""
    documents = [await _read(text, direction, options) for text in texts]
    return await translate_documents(context, documents, direction, options)


async def translate_each(
    context: ServerContext, texts: Sequence[str], directions: Sequence[Direction], options: TranslateOptions
) -> list[Translation]:
    """Translate texts whose directions may differ after detection; those of one direction go together."""
    found: dict[int, Translation] = {}
    groups: dict[tuple[str, str | None, str | None], list[int]] = {}
    for index, direction in enumerate(directions):
        groups.setdefault((direction.model, direction.source, direction.target), []).append(index)
    for places in groups.values():
        own = await translate(context, [texts[place] for place in places], directions[places[0]], options)
        found.update(zip(places, own, strict=True))
    return [found[index] for index in range(len(texts))]


async def _read(text: str, direction: Direction, options: TranslateOptions) -> Document:
    read = read_html if options.format == "html" else read_text
    language = short_code(direction.source) if direction.source else None

    def work() -> Document:
        document = read(text, language=language, protection=options.protection)
        _ = document.segments
        return document

    return await asyncio.to_thread(work) if len(text) > _LONG else work()


async def translate_documents(
    context: ServerContext, documents: Sequence[Document], direction: Direction, options: TranslateOptions
) -> list[Translation]:
    """Translate documents that are split already."""
    work = _Work(context, direction, options)
    segments = [segment for document in documents for segment in document.segments]
    answers = await work.answers(segments)
    per_document, repaired = [], []
    for document in documents:
        own, answers = answers[: len(document.segments)], answers[len(document.segments) :]
        per_document.append(own)
        repaired.append(document.repairs([_segment_answer(each.answer) for each in own]))
    again = await work.answers([segment for segments in repaired for segment in segments])
    found = []
    for document, own, segments in zip(documents, per_document, repaired, strict=True):
        repairs, again = again[: len(segments)], again[len(segments) :]
        found.append(await asyncio.to_thread(_join, document, own, repairs, options))
    return found


def _join(
    document: Document, answers: Sequence[Answered], repairs: Sequence[Answered], options: TranslateOptions
) -> Translation:
    again = [_segment_answer(each.answer) for each in repairs]
    joined = document.join([_segment_answer(each.answer) for each in answers], again)
    texts = {str(joined.content)}
    alternatives = []
    for number in range(options.alternatives):
        others = [_alternative(each.answer, number) for each in answers]
        if all(other is None for other in others):
            break
        best = [_segment_answer(each.answer) for each in answers]
        given = [other or first for other, first in zip(others, best, strict=True)]
        # Only the repairs of the best answers are there; an alternative that needs others is left out.
        if document.repairs(given) == document.repairs(best):
            text = str(document.join(given, again).content)
            if text not in texts:
                alternatives.append(text)
            texts.add(text)
    return Translation(joined, answers, alternatives)


def _segment_answer(answer: Mapping[str, Any]) -> SegmentAnswer:
    return SegmentAnswer.of_json(answer)


def _alternative(answer: Mapping[str, Any], number: int) -> SegmentAnswer | None:
    others = answer.get("alternatives") or []
    return SegmentAnswer.of_json(others[number]) if number < len(others) else None


class _Work:
    """The calls for one request or file."""

    def __init__(self, context: ServerContext, direction: Direction, options: TranslateOptions) -> None:
        self._context, self._direction, self._options = context, direction, options
        seconds = options.timeout_seconds
        self._until = None if seconds is None else time.monotonic() + seconds
        self._done = self._total = 0
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._search = self._settings()

    def _settings(self) -> dict[str, Any]:
        # A sentence that is longer than the model reads is split, never cut.
        found = {"overflow": "split", **self._options.search, **self._direction.settings}
        if count := self._options.alternatives:
            info = self._context.status_of(self._direction.model).info
            usual = GenerationConfig.beam_size if info is None else info.generation.get("beam_size", 1)
            beam = found.get("beam_size", usual)
            found |= {"n_best": count + 1, "beam_size": max(beam, count + 1)}
        return found

    async def answers(self, segments: Sequence[Segment]) -> list[Answered]:
        """The answers to segments, in their order. Equal ones are asked once."""
        unique = list(dict.fromkeys(segments))
        self._total += len(unique)
        groups = [[segment for segment in unique if segment.needs_alignment == aligned] for aligned in (False, True)]
        chunks = [group[start : start + CHUNK] for group in groups for start in range(0, len(group), CHUNK)]
        found: dict[Segment, Answered] = {}
        tasks = [
            asyncio.create_task(self._chunk(chunk, found, first=number == 0)) for number, chunk in enumerate(chunks)
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return [found[segment] for segment in segments]

    async def _chunk(self, chunk: list[Segment], found: dict[Segment, Answered], *, first: bool) -> None:
        async with self._at_once:
            answers = await self._call(chunk, patient=self._options.patient or not first)
        found.update(zip(chunk, answers, strict=True))
        self._done += len(chunk)
        self._options.progress(self._done, self._total)

    async def _call(self, chunk: list[Segment], *, patient: bool) -> list[Answered]:
        """The answers to a chunk. Phrases that the model cannot spell are left to the check of the document."""
        with_required = "temperature" not in self._search and any(segment.required for segment in chunk)
        while True:
            required = [segment.required or None for segment in chunk]
            settings = {**self._search, **({"required": required} if with_required else {})}
            details: list[Detail] = [*self._options.details]
            if chunk[0].needs_alignment and "alignment" not in details:
                details.append("alignment")
            call = GenerateCall(
                inputs=[segment.text for segment in chunk],
                settings=settings,
                model=self._direction.model,
                details=tuple(details),
                timeout_seconds=self._seconds_left(),
            )
            try:
                return await gather_answers(self._context, call)
            except BadInput as error:
                if not with_required or error.field != "required":
                    raise
                with_required = False
            except (Overloaded, Unavailable) as error:
                failed = self._context.status_of(self._direction.model).state == "failed"
                if not patient or failed or (isinstance(error, Unavailable) and not self._options.patient):
                    raise
                await asyncio.sleep(
                    min(error.retry_after_seconds or 1.0, _MOST_WAIT, self._seconds_left() or _MOST_WAIT)
                )

    def _seconds_left(self) -> float | None:
        if self._until is None:
            return None
        left = self._until - time.monotonic()
        if left <= 0:
            raise CallTimeout(f"the document was not translated within {self._options.timeout_seconds:g} seconds.")
        return left
