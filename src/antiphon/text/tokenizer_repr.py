"""The representation of a tokenizer in notebooks and as text: kind, size, and an encoded sample."""

from __future__ import annotations

import json
from typing import Protocol

from antiphon.display import Markup, joined, note, panel, table, tokens
from antiphon.text.pretrained.vocabulary import PretrainedVocabulary
from antiphon.text.vocabulary import SpmVocabulary, Vocabulary

SAMPLE = "Antiphon answers in 3 hours."
PIECES = 24  # tokens of the vocabulary to show, at equal distances


class _Tokenizer(Protocol):
    """The attributes of a tokenizer that are shown."""

    vocabulary: Vocabulary

    @property
    def languages(self) -> tuple[str, ...]: ...
    @property
    def vocab_size(self) -> int: ...
    def tokens(self, text: str) -> list[str]: ...


def kind_of(vocabulary: Vocabulary) -> str:
    """The kind of a tokenizer, as in a recipe; for a file from elsewhere, its model type."""
    if isinstance(vocabulary, PretrainedVocabulary):
        return f"pretrained ({vocabulary.record.kind})"
    if isinstance(vocabulary, SpmVocabulary):
        return "sentencepiece"
    model = json.loads(vocabulary.files[".json"]).get("model") or {}
    kind = str(model.get("type") or "unknown").lower()
    if kind != "bpe" or model.get("merges"):
        return kind
    if not model.get("byte_fallback"):
        return "bytes"
    return "words" if model.get("ignore_merges") else "characters"


def line(tokenizer: _Tokenizer) -> str:
    """A description of the tokenizer in one line."""
    return f"Tokenizer({kind_of(tokenizer.vocabulary)}, {tokenizer.vocab_size:,} ids)"


def page(tokenizer: _Tokenizer) -> str:
    """The tokenizer as HTML for notebooks."""
    known, size = tokenizer.vocabulary, tokenizer.vocab_size
    specials = known.specials
    ids = [("padding", specials.pad), ("start", specials.start), ("end", specials.end), ("unknown", specials.unk)]
    named = [(name, id) for name, id in ids if id is not None]
    some = dict.fromkeys(round(place * (size - 1) / (PIECES - 1)) for place in range(PIECES))
    pieces = [known.piece(id) for id in some if id not in specials.control]
    languages = tokenizer.languages
    rows: list[list[str | Markup]] = [
        ["a text", SAMPLE],
        ["its tokens", tokens(tokenizer.tokens(SAMPLE))],
        ["special ids", joined(*(note(f"{name}: {id} {known.piece(id)}".rstrip()) for name, id in named))],
        ["of the vocabulary", tokens(pieces)],
    ]
    if languages:
        more = f" and {len(languages) - 20} more" if languages[20:] else ""
        rows.append(["languages", ", ".join(languages[:20]) + more])
    return panel(f"Tokenizer: {kind_of(known)}, {size:,} ids", table([], rows))
