"""Segments: the parts of an answer to speech, between two timestamps.

    spans, step = split(ids, first_timestamp=50364, frames=3000, step_seconds=0.02)   # the next window is `step` away

The rules are those of transformers' `_retrieve_segment`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from antiphon.config.speech import STRIDE


@dataclass(frozen=True)
class Word:
    """A word with its times in seconds."""

    text: str
    start: float
    end: float

    def as_json(self) -> dict[str, Any]:
        """The word as an object of `antiphon generate --json`."""
        return {"text": self.text, "start": self.start, "end": self.end}


@dataclass(frozen=True)
class SpeechSegment:
    """A part of an answer to speech: its text, when it starts and ends in seconds, and its `words` if they were asked
    for.

    The other values are those of the answer to its window: the `temperature` of sampling (0: none), the mean
    log-probability of a token, the factor by which zlib makes the tokens smaller, and the probability of no speech.
    They are None if no setting needs them.
    """

    start: float
    end: float
    text: str
    words: tuple[Word, ...] | None = None
    temperature: float = 0.0
    log_probability: float | None = None
    compression_ratio: float | None = None
    no_speech_probability: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The segment as an object of `antiphon generate --json`."""
        words = {} if self.words is None else {"words": [word.as_json() for word in self.words]}
        measured = {
            "log_probability": self.log_probability,
            "compression_ratio": self.compression_ratio,
            "no_speech_probability": self.no_speech_probability,
        }
        found = {name: value for name, value in measured.items() if value is not None}
        times = {"start": self.start, "end": self.end, "text": self.text}
        return {**times, **words, "temperature": self.temperature, **found}


class TokenSpan(NamedTuple):
    """A segment as the tokens [first, stop) of a window's answer, with its times in timestamp steps."""

    first: int
    stop: int
    start: int
    end: int


def split(ids: Sequence[int], *, first_timestamp: int, frames: int, step_seconds: float) -> tuple[list[TokenSpan], int]:
    """The segments of the answer `ids` (without its end token) to a window with `frames` frames, and the frames from
    its beginning to that of the next window. A step of timestamps is STRIDE frames."""
    timed = [id >= first_timestamp for id in ids]
    ends_once = timed[-2:] == [False, True]  # no speech after it
    stops = [place + 1 for place in range(len(ids) - 1) if timed[place] and timed[place + 1]]
    if not stops:
        last = next((id - first_timestamp for id in reversed(ids) if id >= first_timestamp), 0)
        return [TokenSpan(0, len(ids), 0, last or _steps(frames, step_seconds))], frames
    if ends_once:
        stops.append(len(ids))
    else:
        stops[-1] += 1  # the next window begins at the last timestamp
    spans = []
    for first, stop in zip([0, *stops], stops, strict=False):
        end = ids[stop - 1] if stop != stops[-1] or ends_once else ids[stop - 2]
        spans.append(TokenSpan(first, stop, ids[first] - first_timestamp, end - first_timestamp))
    return spans, frames if ends_once else (ids[stops[-1] - 2] - first_timestamp) * STRIDE


def _steps(frames: int, step_seconds: float) -> int:
    """The steps of timestamps in `frames`, rounded as in transformers, whose float32 quotient may be one step less."""
    import torch  # here: a client of the server reads this file without it

    return int(torch.tensor(frames) * (step_seconds / STRIDE) / step_seconds)
