"""The target ids that have a meaning of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TimestampIds:
    """`first` is the id of the timestamp 0; all ids from there on are timestamps. `untimed` is the id that asks for an
    answer without them. An answer begins with a timestamp of at most `latest_first` steps; None: any."""

    first: int
    untimed: int
    latest_first: int | None = None


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Which ids pad, start and end a target, and which ids a search forces or suppresses.

    `pad` is padding and never generated. `start` is the decoder's first input (transformers: decoder_start_token_id).
    `end` ends an answer. `first` are forced at the beginning of every answer, a language code for example; the score of
    an answer leaves them out. `force_end`: an answer that reaches its limit ends with `end` (forced_eos_token_id).
    `suppress` are never generated (suppress_tokens), `suppress_first` not as the first token after `first`
    (begin_suppress_tokens). `prompt`: `first` is a prompt, and the length penalty does not count it. `published`: these
    are the ids of a published checkpoint, to which a repetition penalty is applied as transformers does it.
    `timestamps` are the rules of timestamps, for answers that have them.
    """

    pad: int
    start: int
    end: int
    first: tuple[int, ...] = ()
    force_end: bool = False
    suppress: tuple[int, ...] = ()
    suppress_first: tuple[int, ...] = ()
    prompt: bool = False
    published: bool = False
    timestamps: TimestampIds | None = None

    @property
    def suppressed(self) -> list[int]:
        """The ids that are never generated, sorted: padding, the start token and `suppress`."""
        return sorted({self.pad, self.start, *self.suppress} - {self.end})

    def with_first(self, ids: Sequence[int]) -> list[int]:
        """The ids of an answer, with `first` in front unless they begin with it."""
        return list(ids) if self._begins_with_first(ids) else [*self.first, *ids]

    def without_first(self, ids: Sequence[int]) -> list[int]:
        """The ids of an answer, without `first` if they begin with it."""
        return list(ids[len(self.first) :]) if self._begins_with_first(ids) else list(ids)

    def _begins_with_first(self, ids: Sequence[int]) -> bool:
        return tuple(ids[: len(self.first)]) == self.first
