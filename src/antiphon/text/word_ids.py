"""Ids of texts by their words: the tokenizers trained here split a text before each space, so equal words have equal ids.

    words = WordIds(rust)           # of the kinds bpe and unigram
    words.encode(["in 3 hours"])    # as rust.encode_batch, about five times as fast on usual text

The pre-tokenizer of these kinds (GPT-2's expression, after single digits) begins a new part at every space that has no
white space beside it. So a text whose words are separated by single spaces, without other white space and without an
added token inside, has the ids of its words, each with a space before it, one after the other. Every other text is
encoded as a whole. The ids of known words are stored, of at most MAX_LETTERS letters together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import tokenizers

MAX_LETTERS = 2_000_000  # about 250,000 words, 60 MB; then the store begins anew


class WordIds:
    """Encodes texts with `rust` by their words; `checked` is applied to the ids that it returns."""

    def __init__(
        self, rust: tokenizers.Tokenizer, checked: Callable[[list[list[int]]], list[list[int]]] = lambda rows: rows
    ) -> None:
        self._rust, self._checked = rust, checked
        added = [token.content for token in rust.get_added_tokens_decoder().values() if token.content]
        pattern = "|".join(re.escape(content) for content in sorted(added, key=len, reverse=True))
        self._added = re.compile(pattern).search if pattern else lambda text: None
        starts = {content[0] for content in added}
        self._start = starts.pop() if len(starts) == 1 else ""  # every added token begins with it
        self._known: dict[str, list[int]] = {}
        self._letters = 0  # of all known words

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without special ones around it."""
        split = [self._words(text) for text in texts]
        known = self._known = self._with(split)
        ids_of, joined = known.__getitem__, chain.from_iterable
        whole = iter(self._encoded([text for text, words in zip(texts, split, strict=True) if words is None]))
        return [next(whole) if words is None else list(joined(map(ids_of, words))) for words in split]

    def _with(self, split: Sequence[list[str] | None]) -> dict[str, list[int]]:
        """The ids of words, with those of all words of some texts."""
        known = self._known
        words = set[str]().union(*(words for words in split if words is not None))
        missing = words.difference(known)
        if missing:
            self._letters += sum(map(len, missing))
            if self._letters > MAX_LETTERS:
                missing, known = words, {}  # another thread may still use the old one
                self._letters = sum(map(len, missing))
            order = list(missing)
            known.update(zip(order, self._encoded(order), strict=True))
        return known

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        found = self._rust.encode_batch_fast(list(texts), add_special_tokens=False)
        return self._checked([encoding.ids for encoding in found])

    def _words(self, text: str) -> list[str] | None:
        """The words of a text; None if its ids are not those of its words."""
        words = text.split()
        if " ".join(words) != text or not words or ((self._start in text) and self._added(text) is not None):
            return None
        return words


def is_by_words(content: bytes) -> bool:
    """Whether a tokenizer.json splits texts before spaces as the kinds bpe and unigram do that are trained here."""
    try:
        found: dict[str, Any] = json.loads(content)
    except ValueError:
        return False
    digits = {"type": "Digits", "individual_digits": True}
    parts = found.get("pre_tokenizer") or {}
    pieces = parts.get("pretokenizers") or []
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    return (
        found.get("normalizer") == {"type": "Prepend", "prepend": " "}
        and parts.get("type") == "Sequence"
        and len(pieces) == 2
        and pieces[0] == digits
        and {key: pieces[1].get(key) for key in byte_level} == byte_level
        and found.get("post_processor") is None
        and (found.get("model") or {}).get("type") in ("BPE", "Unigram")
    )
