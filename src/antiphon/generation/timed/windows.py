"""The answer to a recording, window by window: each begins where the segments of the one before end.

    answer = WindowedAnswer(model, recording, config, row=0)
    while not answer.finished:
        source, config, tokens = answer.request()       # what to search
        answer.take(hypotheses)                         # its result; it may be rejected
        answer.new_text()                               # what is certain now
    answer.generation()

An answer that repeats itself or is improbable is sampled again, at higher temperatures in turn; a window without speech
is passed over (Radford et al. 2022, section 4.5). The rules are those of transformers' `generate`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from antiphon.config import GenerationConfig
from antiphon.config.speech import STRIDE, SpeechConfig
from antiphon.errors import ConfigError
from antiphon.generation.answers import Generation
from antiphon.generation.prompting import special_tokens_of
from antiphon.generation.protocols import AnsweringModel
from antiphon.generation.timed.measuring import (
    AnswerMeasures,
    Heads,
    compression_ratio,
    default_heads,
    measured,
    with_previous,
)
from antiphon.generation.timed.segments import SpeechSegment, TokenSpan, Word, split
from antiphon.generation.timed.words import UNSPACED, token_steps, words_of
from antiphon.inputs.recordings import Recording
from antiphon.inputs.speech import SpeechInput
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.search.config import search_config
from antiphon.search.hypotheses import Hypothesis
from antiphon.search.requests import SourceInput
from antiphon.search.special_tokens import SpecialTokens, TimestampIds
from antiphon.text import StreamDecoder

_ATTEMPTS = 64  # numbers of random draws for each frame that a window may begin at
_LOW_TEMPERATURE = 0.5  # the text of a window sampled at this temperature or above is not read by the next one


@dataclass(frozen=True)
class AnsweredWindow:
    """The answer to a window, as it was accepted."""

    ids: list[int]  # without the end token
    spans: list[TokenSpan]
    times: list[tuple[float, float]] | None  # of each token, in seconds; None without words
    offset: float  # when the window begins, in seconds
    hypothesis: Hypothesis
    measures: dict[str, Any]


class WindowedAnswer:
    """The answer to one recording. `row` is its index in the input.

    `prompt` is a text that the decoder reads as if it were that of an earlier window: before each window, or with
    `previous_text` in front of the text of those before.

    `take` gets the hypotheses of each request in turn. ConfigError for a model that a setting does not fit.
    """

    def __init__(
        self, model: AnsweringModel, recording: Recording, config: GenerationConfig, *, row: int, prompt: str = ""
    ) -> None:
        assert isinstance(model.input_kind, SpeechInput)
        self.model, self.recording, self.config, self.row = model, recording, config, row
        if not self.speech.has_timestamps(model.network.vocab_size):
            name = "overflow" if config.timestamps == "none" else "timestamps"
            raise ConfigError(f"`{name}` needs a model with timestamps, but this one has none. Leave it out.")
        self._features = recording.window(0)
        self._tokens = self._timed_tokens(replace(model.input_kind, timed=True))
        self._heads = self._alignment_heads() if config.timestamps == "words" else None
        first = config.temperature or 0.0
        self._temperatures = (first, *(each for each in config.fallback_temperatures if each > first))
        self._seek, self._attempt = 0, 0
        self._reads_previous = config.previous_text
        self.windows: list[AnsweredWindow] = []
        self._streamed, self._decoder = 0, StreamDecoder(model.target_tokenizer)
        self._prompt = self._prompt_ids(prompt)
        self._previous = [*self._prompt]  # with the tokens of all segments so far

    @property
    def speech(self) -> SpeechConfig:
        """The settings of the model's input."""
        assert isinstance(self.model.input_kind, SpeechInput)
        return self.model.input_kind.speech

    @property
    def finished(self) -> bool:
        """Whether the whole recording is answered."""
        return self._seek >= self.recording.frames

    @property
    def language(self) -> str | None:
        """The code of the language that is spoken; None for a model of a single language."""
        names = {id: name for name, id in self.speech.languages}
        return next((names[id] for id in self._tokens.first if id in names), None)

    def request(self) -> tuple[SourceInput, GenerationConfig, SpecialTokens]:
        """The next source to search, with its settings and special tokens."""
        temperature = self._temperatures[self._attempt]
        tokens = self._tokens_of_window()
        source = SourceInput(self._features, self.row, self._seek * _ATTEMPTS + self._attempt)
        asked, most = self.config.max_new_tokens, self.model.network.max_length - 1 - len(tokens.first)
        usual = self.model.network.max_length - 1 - self.model.input_kind.prompt_length  # of a published folder
        limit = most if asked is None or asked == usual else min(asked, most)
        changes: dict[str, Any] = {"max_new_tokens": limit, "min_new_tokens": min(self.config.min_new_tokens, limit)}
        if temperature > 0:
            changes |= {"temperature": temperature, "beam_groups": 1, "diversity_penalty": 0.0}
        return source, replace(self.config, **changes), tokens

    def take(self, hypotheses: Sequence[Hypothesis]) -> None:
        """Go on with the answer to the last request: to the next window, or to the next temperature for this one."""
        tokens = self._tokens_of_window()
        hypothesis = replace(hypotheses[0], ids=hypotheses[0].ids[len(tokens.first) :])
        found = self._measured(hypothesis, tokens)
        ratio = compression_ratio(hypothesis.ids, vocab_size=self.model.network.vocab_size)
        silent = found is not None and self._is_silent(found)
        if not silent and self._is_rejected(found, ratio) and self._attempt + 1 < len(self._temperatures):
            self._attempt += 1
            return
        self._reads_previous = self.config.previous_text and self._temperatures[self._attempt] < _LOW_TEMPERATURE
        frames = min(self.recording.frames - self._seek, self.speech.frames)
        if not silent:
            window, frames = self._window(hypothesis, found, ratio, frames)
            self.windows.append(window)
        self._seek, self._attempt = self._seek + max(frames, 1), 0
        if not self.finished:
            self._features = self.recording.window(self._seek)

    def new_text(self) -> str:
        """The text that is certain since the last call; joined, these are the text of the answer."""
        new, self._streamed = self.windows[self._streamed :], len(self.windows)
        text = self._decoder.push([id for window in new for id in self._text_ids(_in_spans(window))])
        return text + self._decoder.finish() if self.finished else text

    def generation(self) -> Generation:
        """The whole answer."""
        ids = [id for window in self.windows for id in _in_spans(window)]
        score = sum(window.hypothesis.score for window in self.windows)
        length = sum(len(window.hypothesis.ids) for window in self.windows)
        texts = self._text_ids(ids)
        return Generation(
            text=self.model.target_tokenizer.decode(texts),
            tokens=self.model.target_tokenizer.pieces(texts),
            score=score,
            confidence=math.exp(score / max(length, 1)),
            finished=all(window.hypothesis.finished for window in self.windows),
            segments=[segment for window in self.windows for segment in self._segments(window)],
            language=self.language,
        )

    def _timed_tokens(self, kind: SpeechInput) -> SpecialTokens:
        """The special tokens of an answer with timestamps, with the language that the model detects."""
        speech, network = self.speech, self.model.network
        assert speech.first_timestamp is not None and speech.untimed_id is not None
        rules = TimestampIds(speech.first_timestamp, speech.untimed_id, speech.max_first_timestamp)
        tokens = replace(self.model.special_tokens, first=kind.prompt(), timestamps=rules)
        return special_tokens_of(kind, network, [SourceInput(self._features, self.row)], tokens)[0]

    def _alignment_heads(self) -> Heads:
        network = self.model.network
        if not isinstance(network, EncoderDecoder):
            raise ConfigError("`timestamps` words needs a single model, but this one is several. Ask for segments.")
        return self.speech.alignment_heads or default_heads(network)

    def _tokens_of_window(self) -> SpecialTokens:
        """The special tokens of the window, with the text before it if the decoder reads it."""
        previous = self._previous if self._reads_previous else self._prompt
        if not previous or self.speech.previous_id is None:
            return self._tokens
        most = self.model.network.max_length // 2 - 1
        return with_previous(self._tokens, previous[-most:], previous_id=self.speech.previous_id)

    def _prompt_ids(self, text: str) -> list[int]:
        """The ids of a prompt, which follows a space as the text of a window does. ConfigError for a model that reads
        none."""
        if text.strip() and self.speech.previous_id is None:
            raise ConfigError("`prompt` needs a model that reads earlier text, but this one does not. Leave it out.")
        tokenizer = self.model.target_tokenizer
        return tokenizer.bare(tokenizer.encode(f" {text.strip()}")) if text.strip() else []

    def _measured(self, hypothesis: Hypothesis, tokens: SpecialTokens) -> AnswerMeasures | None:
        """The measures of an answer; None if no setting needs them."""
        config = self.config
        asked = (config.log_probability_threshold, config.no_speech_threshold, self._heads)
        if asked == (None, None, None):
            return None
        start_place = len(tokens.first) - len(self._tokens.first)
        return measured(
            self.model.network, self._features, hypothesis.ids, tokens, search_config(config, tokens),
            start_place=start_place, heads=self._heads,
        )  # fmt: skip

    def _is_silent(self, found: AnswerMeasures) -> bool:
        least, most = self.config.log_probability_threshold, self.config.no_speech_threshold
        improbable = least is None or found.log_probability < least
        return most is not None and found.no_speech > most and improbable

    def _is_rejected(self, found: AnswerMeasures | None, ratio: float) -> bool:
        most, least = self.config.compression_ratio_threshold, self.config.log_probability_threshold
        return (most is not None and ratio > most) or (
            found is not None and least is not None and found.log_probability < least
        )

    def _window(
        self, hypothesis: Hypothesis, found: AnswerMeasures | None, ratio: float, frames: int
    ) -> tuple[AnsweredWindow, int]:
        """The answer to the window, and the frames to the next one."""
        speech = self.speech
        assert speech.first_timestamp is not None
        ids = hypothesis.ids[:-1] if hypothesis.finished else list(hypothesis.ids)
        spans, step = split(
            ids, first_timestamp=speech.first_timestamp, frames=frames, step_seconds=speech.step_seconds
        )
        offset = self._seek * speech.hop / speech.sampling_rate
        measures: dict[str, Any] = {"temperature": self._temperatures[self._attempt]}
        if found is not None:
            measures |= {"log_probability": found.log_probability, "no_speech_probability": found.no_speech}
        if self.config.compression_ratio_threshold is not None:
            measures["compression_ratio"] = ratio
        times = None
        if found is not None and found.weights is not None:
            real = max(1, min(self.recording.real_frames - self._seek, speech.frames) // STRIDE)
            before = self._tokens_length(found, hypothesis)
            steps = token_steps(found.weights[:, before:, :real], median_width=speech.median_width)
            ends = [offset + each * speech.step_seconds for each in [*steps, *steps[-1:]]] or [offset]
            times = list(zip([offset, *ends[:-1]], ends, strict=True))
        window = AnsweredWindow(ids, spans, times, offset, hypothesis, measures)
        for span in spans:
            taken = ids[span.first : span.stop]
            double = len(taken) > 2 and taken[-2] >= speech.first_timestamp
            self._previous += taken[:-1] if double else taken
        return window, step

    @staticmethod
    def _tokens_length(found: AnswerMeasures, hypothesis: Hypothesis) -> int:
        """The decoder's inputs before those of the answer."""
        assert found.weights is not None
        return found.weights.shape[1] - (len(hypothesis.ids) - 1)

    def _segments(self, window: AnsweredWindow) -> list[SpeechSegment]:
        """The segments of a window that have a text."""
        tokenizer, speech, found = self.model.target_tokenizer, self.speech, []
        for span in window.spans:
            places = self._text_places(window.ids, span)
            ids = [window.ids[place] for place in places]
            text = tokenizer.decode(ids).strip()
            words: tuple[Word, ...] | None = None
            if window.times is not None:
                times = [window.times[place] for place in places]
                words = _rounded(words_of(tokenizer, ids, times, spaced=self.language not in UNSPACED))
            start, end = (_seconds(window.offset + step * speech.step_seconds) for step in (span.start, span.end))
            if text:
                found.append(SpeechSegment(start, end, text, words, **window.measures))
        return found

    def _text_places(self, ids: Sequence[int], span: TokenSpan) -> list[int]:
        """The places of a segment's text tokens."""
        visible = set(self._text_ids(ids[span.first : span.stop]))
        return [place for place in range(span.first, span.stop) if ids[place] in visible]

    def _text_ids(self, ids: Sequence[int]) -> list[int]:
        """`ids` without timestamps and special tokens."""
        first = self.speech.first_timestamp
        assert first is not None
        return self.model.target_tokenizer.visible(id for id in ids if id < first)


def _in_spans(window: AnsweredWindow) -> list[int]:
    """The tokens of a window that are in its segments."""
    return window.ids[: window.spans[-1].stop] if window.spans else []


def _seconds(time: float) -> float:
    return round(time, 6)


def _rounded(words: Sequence[Word]) -> tuple[Word, ...]:
    return tuple(Word(word.text.strip(), _seconds(word.start), _seconds(word.end)) for word in words)
