"""What the tokenizers make of a sample of pairs: tokens a word, unknown tokens, lengths, and what is too long."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from antiphon.data.lines import Pair
from antiphon.inspection.lengths import Lengths, lengths_of
from antiphon.inspection.scan import EXAMPLES, ExampleRow, Found

if TYPE_CHECKING:
    from antiphon.text.tokenizer import Tokenizer

_CHUNK = 2000


@dataclass(frozen=True)
class SideTokens:
    """One side of the sample: tokens (with those that the tokenizer adds), of them unknown, words, characters."""

    vocabulary: int
    tokens: int
    unknown: int
    words: int
    characters: int
    lengths: Lengths

    @property
    def fertility(self) -> float:
        """Tokens for each word: what stands between white space."""
        return self.tokens / max(1, self.words)

    @property
    def characters_per_token(self) -> float:
        """Characters for each token, which says more of scripts that do not separate words."""
        return self.characters / max(1, self.tokens)


@dataclass
class TokenReport:
    """The tokens of `pairs` sampled pairs; `found` has the kinds `too_long` and `unknown` with examples."""

    pairs: int
    max_length: int
    sides: list[SideTokens]
    found: dict[str, Found] = field(default_factory=dict)


def count_tokens(
    pairs: Sequence[Pair], tokenizers: tuple[Tokenizer, Tokenizer], *, max_length: int, windows: bool
) -> TokenReport:
    """Encode `pairs`. `windows`: whether the model reads longer sources in windows, so that none is too long."""
    found = {"too_long": Found(), "unknown": Found()}
    sides: list[SideTokens] = []
    for side, tokenizer in enumerate(tokenizers):
        name, sizes, unknown, words, characters = ("source", "target")[side], [], 0, 0, 0
        for pair, text, ids in _encoded(pairs, side, tokenizer):
            sizes.append(len(ids))
            words += len(text.split())
            characters += len(text)
            missing = 0 if tokenizer.unk_id is None else ids.count(tokenizer.unk_id)
            unknown += missing
            if len(ids) > max_length and not (windows and side == 0):
                found["too_long"].add(_row(pair, f"{name}: {len(ids)} tokens"))
            if missing:
                found["unknown"].add(_row(pair, f"{name}: {missing} of {len(ids)} tokens"))
        sides.append(SideTokens(tokenizer.vocab_size, sum(sizes), unknown, words, characters, lengths_of(sizes)))
    return TokenReport(len(pairs), max_length, sides, found)


def _encoded(pairs: Sequence[Pair], side: int, tokenizer: Tokenizer) -> Iterable[tuple[Pair, str, list[int]]]:
    for start in range(0, len(pairs), _CHUNK):
        part = pairs[start : start + _CHUNK]
        texts = [pair.target if side else _source(pair) for pair in part]
        yield from zip(part, texts, tokenizer.encode_batch(texts), strict=True)


def _source(pair: Pair) -> str:
    """The source as the model reads it; plain text has only its prefix there, an objective makes the rest."""
    return pair.row.source_prefix if pair.row.plain else pair.row.source_prefix + pair.source


def _row(pair: Pair, note: str) -> ExampleRow:
    return ExampleRow(str(pair.row.place), pair.source[:300], pair.target[:300], note)


__all__ = ["EXAMPLES", "SideTokens", "TokenReport", "count_tokens"]
