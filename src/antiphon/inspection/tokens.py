"""What the tokenizers make of a sample of pairs: tokens a word, unknown tokens, lengths, and what is too long."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from antiphon.data.lines import Pair
from antiphon.data.media.references import Reference
from antiphon.inputs import InputKind
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
    """The tokens of `pairs` sampled pairs, None for sources that are images or sound; `found` has the kinds `too_long`
    and `unknown` with examples."""

    pairs: int
    max_length: int
    sides: list[SideTokens | None]
    found: dict[str, Found] = field(default_factory=dict)


def count_tokens(
    pairs: Sequence[Pair],
    tokenizers: tuple[Tokenizer, Tokenizer],
    *,
    max_length: int,
    windows: bool,
    kind: InputKind[Any] | None = None,
) -> TokenReport:
    """Encode `pairs`. `windows`: whether the model reads longer sources in windows, so that none is too long. `kind` is
    that of sources that are files, or texts with files."""
    found = {"too_long": Found(), "unknown": Found()}
    sides: list[SideTokens | None] = []
    for side, tokenizer in enumerate(tokenizers):
        if side == 0 and kind is not None and not kind.joins_text:
            sides.append(None)
            continue
        name, sizes, unknown, words, characters = ("source", "target")[side], [], 0, 0, 0
        for pair, text, ids in _encoded(pairs, side, tokenizer):
            size = len(ids)
            if isinstance(pair.source, Reference) and kind is not None:
                size = _size(pair.source.prompt, size, side, tokenizer, kind)
            sizes.append(size)
            words += len(text.split())
            characters += len(text)
            missing = 0 if tokenizer.unk_id is None else ids.count(tokenizer.unk_id)
            unknown += missing
            if size > max_length and not (windows and side == 0):
                found["too_long"].add(_row(pair, f"{name}: {size} tokens"))
            if missing:
                found["unknown"].add(_row(pair, f"{name}: {missing} of {len(ids)} tokens"))
        sides.append(SideTokens(tokenizer.vocab_size, sum(sizes), unknown, words, characters, lengths_of(sizes)))
    return TokenReport(len(pairs), max_length, sides, found)


def _size(prompt: str, size: int, side: int, tokenizer: Tokenizer, kind: InputKind[Any]) -> int:
    """The positions of a side of `size` tokens with the image or the prompt that the model reads with them."""
    if side == 0:
        return kind.joined_length(prompt)
    return size if kind.joins_text or not prompt else size + len(tokenizer.bare(tokenizer.encode(prompt)))


def _encoded(pairs: Sequence[Pair], side: int, tokenizer: Tokenizer) -> Iterable[tuple[Pair, str, list[int]]]:
    for start in range(0, len(pairs), _CHUNK):
        part = pairs[start : start + _CHUNK]
        texts = [pair.target if side else _source(pair) for pair in part]
        yield from zip(part, texts, tokenizer.encode_batch(texts), strict=True)


def _source(pair: Pair) -> str:
    """The source as the model reads it; plain text has only its prefix there, an objective makes the rest."""
    if isinstance(pair.source, Reference):
        return pair.source.prompt
    return pair.row.source_prefix if pair.row.plain else pair.row.source_prefix + pair.source


def _row(pair: Pair, note: str) -> ExampleRow:
    return ExampleRow(str(pair.row.place), pair.source[:300], pair.target[:300], note)


__all__ = ["EXAMPLES", "SideTokens", "TokenReport", "count_tokens"]
