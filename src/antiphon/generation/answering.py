"""Answers to calls that arrive at any time, decoded together by one engine that goes on running.

    engine = AnsweringEngine(model)
    call = engine.submit(["in 3 hours", "May 5"], stream=True, beam_size=4)    # its errors are raised here
    while engine.busy:
        for call, event in engine.step():                                     # one decoding step
            ...                                                               # NewText, Answer or Failure

`Model.generate` and `Model.stream` are one call of an engine of their own; the server has one engine for each model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from antiphon.config import GenerationConfig
from antiphon.generation.answers import Generation
from antiphon.generation.classification.classify import classify
from antiphon.generation.joining import join_answers, space_between
from antiphon.generation.prompting import special_tokens_of
from antiphon.generation.protocols import AnsweringModel
from antiphon.generation.requests import listed, prompt_texts, read_inputs, source_inputs
from antiphon.generation.timed.windows import WindowedAnswer
from antiphon.search.engine import add_source
from antiphon.search.requests import SourceInput
from antiphon.search.running import JobResult, SearchEngine, SearchJob
from antiphon.settings import override
from antiphon.text import StreamDecoder, Tokenizer


class ServedModel(AnsweringModel, Protocol):
    """The further attributes of a model that are needed here."""

    @property
    def labels(self) -> list[str]: ...
    @property
    def generation(self) -> GenerationConfig: ...
    def in_languages_of(self, config: GenerationConfig) -> ServedModel: ...


class NewText(NamedTuple):
    """A piece of the answer to input `index`, which is never taken back; joined, the pieces are its text."""

    index: int  # pyright: ignore[reportIncompatibleMethodOverride]
    text: str


class Answer(NamedTuple):
    """The answer to input `index`."""

    index: int  # pyright: ignore[reportIncompatibleMethodOverride]
    generation: Generation


class Failure(NamedTuple):
    """The error that ended a call."""

    error: Exception


Event = NewText | Answer | Failure


@dataclass(eq=False)
class RowAnswer:
    """The answer to one input, as it comes: its parts, in their order."""

    parts: list[SearchJob] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    decoder: StreamDecoder | None = None
    streamed: int = 0  # parts whose text was given whole
    before: str = ""  # the last piece
    held: list[list[int]] = field(default_factory=list)  # ids of each part that were not given yet
    hidden: int = 0  # ids at the beginning of each part that are not a part of the answer: its prompt
    passed: list[int] = field(default_factory=list)  # of these, those that were left out already
    done: list[bool] = field(default_factory=list)  # whether the last result of each part was seen
    windowed: WindowedAnswer | None = None  # a recording that is answered in windows, one after the other

    @property
    def finished(self) -> bool:
        return all(self.done)


class AnswerCall:
    """A call of `AnsweringEngine.submit`."""

    def __init__(self, model: ServedModel, count: int, *, streams: bool) -> None:
        self.model, self.streams = model, streams
        self.rows = [RowAnswer() for _ in range(count)]
        self.places: dict[SearchJob, tuple[int, int]] = {}  # the row and the part of each job


class AnsweringEngine:
    """Runs the calls of one model. `stays`: as of `SearchEngine`."""

    def __init__(self, model: ServedModel, *, stays: bool = True) -> None:
        self._model, self._engine = model, SearchEngine(model.runtime, stays=stays)
        self._calls: dict[SearchJob, AnswerCall] = {}
        self._events: deque[tuple[AnswerCall, Event]] = deque()  # those that need no search

    @property
    def busy(self) -> bool:
        """Whether a call is not answered."""
        return bool(self._events) or self._engine.busy

    def submit(self, texts: Any, *, stream: bool = False, first_row: int = 0, **settings: object) -> AnswerCall:
        """Put in a call; `texts`, `first_row` and `settings` as in `Model.generate`, with its errors."""
        return self.put(texts, settings, stream=stream, first_row=first_row)

    def put(
        self,
        texts: Any,
        settings: Mapping[str, object] | GenerationConfig,
        *,
        stream: bool = False,
        first_row: int = 0,
        names: bool = False,
    ) -> AnswerCall:
        """`submit` with the settings as a mapping, or all of them as a config. With `names`, texts may all be names of
        files of images or sound."""
        whole = isinstance(settings, GenerationConfig)
        config = settings if whole else override(self._model.generation, dict(settings))
        model = self._model.in_languages_of(config)
        texts = listed(texts)
        rows, prompts = read_inputs(model, texts, "texts", config, names=names or first_row > 0)
        call = AnswerCall(model, len(rows), streams=stream)
        if model.labels:
            answers = classify(model, rows, model.labels, config, first_row=first_row, prompts=prompts)
            for index, answer in enumerate(answers):
                self._close(call, index, answer)
            return call
        recordings = model.input_kind.recordings(rows, config=config, first_row=first_row)
        sources = source_inputs(model, rows, config, first_row=first_row, prompts=prompts)
        each = special_tokens_of(model.input_kind, model.network, sources, model.special_tokens)
        jobs: list[tuple[SourceInput, SearchJob]] = []
        try:
            for source, tokens in zip(sources, each, strict=True):
                jobs.append((source, add_source(self._engine, source, config, tokens, streams=stream)))
        except Exception:
            for _, job in jobs:
                self._engine.cancel(job)
            raise
        for (source, job), tokens in zip(jobs, each, strict=True):
            self._calls[job] = call
            row = call.rows[source.row - first_row]
            call.places[job] = (source.row - first_row, len(row.parts))
            row.parts.append(job)
            row.gaps.append(source.gap)
            row.held.append([])
            row.hidden = len(tokens.first) if source.prompt else 0
            row.passed.append(0)
            row.done.append(False)
        before = prompt_texts(texts, config, len(rows), kind=model.input_kind)
        for index, (row, recording) in enumerate(zip(call.rows, recordings, strict=True)):
            if recording is not None:
                prompt = before[index] or ""
                row.windowed = WindowedAnswer(model, recording, config, row=first_row + index, prompt=prompt)
                self._search_window(call, index, row.windowed)
            elif not row.parts:
                self._close(call, index, join_answers([], [], tokenizer=model.target_tokenizer, prompt_length=0))
        return call

    def cancel(self, call: AnswerCall) -> None:
        """Take a call back: nothing is reported of it from now on, and its sources leave before the next step."""
        for job in call.places:
            if self._calls.pop(job, None) is not None:
                self._engine.cancel(job)
        self._events = deque(each for each in self._events if each[0] is not call)

    def step(self) -> list[tuple[AnswerCall, Event]]:
        """One decoding step; returns what is new."""
        found = list(self._events)
        self._events.clear()
        if self._engine.busy:
            for result in self._engine.step():
                call = self._calls.get(result.job)
                if call is not None:
                    found += [(call, event) for event in self._events_of(call, result)]
        return found

    def _close(self, call: AnswerCall, index: int, answer: Generation) -> None:
        """Note the answer to an input without search."""
        if call.streams and answer.text:
            self._events.append((call, NewText(index, answer.text)))
        self._events.append((call, Answer(index, answer)))

    def _search_window(self, call: AnswerCall, index: int, answer: WindowedAnswer) -> None:
        """Put in the request for the next window of a recording."""
        source, config, tokens = answer.request()
        job = add_source(self._engine, source, config, tokens)
        self._calls[job] = call
        call.places[job] = (index, 0)

    def _after_window(self, call: AnswerCall, result: JobResult, answer: WindowedAnswer) -> list[Event]:
        """The events of a window that is answered; the next one is put in."""
        index, _ = call.places.pop(result.job)
        del self._calls[result.job]
        try:
            answer.take(result.hypotheses or [])
            if not answer.finished:
                self._search_window(call, index, answer)
        except Exception as error:  # as one of the search, it ends its call alone
            self.cancel(call)
            return [Failure(error)]
        events: list[Event] = []
        if call.streams:
            text = answer.new_text()
            events += [NewText(index, text)] if text else []
        return [*events, Answer(index, answer.generation())] if answer.finished else events

    def _events_of(self, call: AnswerCall, result: JobResult) -> list[Event]:
        if result.error is not None:
            self.cancel(call)
            return [Failure(result.error)]
        index, part = call.places[result.job]
        row, events = call.rows[index], []
        if row.windowed is not None:
            return self._after_window(call, result, row.windowed)
        row.done[part] = result.hypotheses is not None
        if call.streams:
            passed = min(row.hidden - row.passed[part], len(result.ids))
            row.passed[part] += passed
            row.held[part] += result.ids[passed:]
            text = _new_text(row, call.model.target_tokenizer)
            events += [NewText(index, text)] if text else []
        if result.hypotheses is not None:
            del self._calls[result.job]
            if row.finished:
                parts: Sequence[Any] = [job.hypotheses for job in row.parts]
                tokenizer, prompt = call.model.target_tokenizer, call.model.input_kind.prompt_length
                lengths = {"prompt_length": prompt, "hidden": row.hidden}
                answer = join_answers(parts, row.gaps, tokenizer=tokenizer, **lengths)
                events.append(Answer(index, answer))
        return events


def answers_of(
    model: ServedModel, texts: Any, settings: Mapping[str, object], *, first_row: int = 0
) -> list[Generation]:
    """The answers of `Model.generate`."""
    engine, found = AnsweringEngine(model, stays=False), {}
    engine.put(texts, settings, first_row=first_row)
    while engine.busy:
        for _, event in engine.step():
            if isinstance(event, Failure):
                raise event.error
            if isinstance(event, Answer):
                found[event.index] = event.generation
    return [found[index] for index in range(len(found))]


def pieces_of(model: ServedModel, text: Any, settings: Mapping[str, object], *, first_row: int = 0) -> Iterator[str]:
    """The pieces of `Model.stream`; errors of the input are raised here."""
    engine = AnsweringEngine(model, stays=False)
    with model.runtime.lock:
        engine.put([text], settings, stream=True, first_row=first_row)

    def run() -> Iterator[str]:
        while engine.busy:
            with model.runtime.lock:
                events = engine.step()
            for _, event in events:
                if isinstance(event, Failure):
                    raise event.error
                if isinstance(event, NewText):
                    yield event.text

    return run()


def _new_text(row: RowAnswer, tokenizer: Tokenizer) -> str:
    """The text of a row that is certain and was not given yet: that of a part follows that of the parts before it."""
    pieces: list[str] = []

    def give(piece: str) -> None:
        if piece:
            row.before = piece
            pieces.append(piece)

    while row.streamed < len(row.parts):
        part = row.streamed
        if row.decoder is None:
            row.decoder = StreamDecoder(tokenizer)
            if part:
                give(space_between(row.before, row.gaps[part]))
        if row.held[part]:
            give(row.decoder.push(row.held[part]))
            row.held[part] = []
        if not row.done[part]:
            break
        give(row.decoder.finish())
        row.decoder, row.streamed = None, part + 1
    return "".join(pieces)
