"""The bytes and characters that each target id writes, and the fewest ids that write a text.

spelling = TokenTexts(tokenizer)
spelling.bytes[76], spelling.spell(b" Haus")        # b'H', the ids
"""

from __future__ import annotations

import functools
import random

import torch

from antiphon.errors import ModelError
from antiphon.text import Tokenizer
from antiphon.words import joins

_MAX_CACHED_SPELLINGS = 2**16
_SPACE = "▁"  # how sentencepiece writes a space
_FIRST_CODE = {2: 0x80, 3: 0x800, 4: 0x10000}  # the first code point with so many bytes in UTF-8
_LAST_CODE = 0x20000  # code points from here on are of scripts without spaces


@functools.lru_cache(maxsize=2**12)
def letter_behind(begun: bytes) -> bytes | None:
    """Bytes that complete the first bytes `begun` of a character to one that `joins`; None if there are none."""
    length = 2 if begun[0] < 0xE0 else 3 if begun[0] < 0xF0 else 4
    high = begun[0] & (0xFF >> (length + 1))
    for byte in begun[1:]:
        high = high << 6 | byte & 0x3F
    left = 6 * (length - len(begun))
    for code in range(max(high << left, _FIRST_CODE[length]), min((high + 1) << left, _LAST_CODE)):
        if not 0xD800 <= code < 0xE000 and joins(chr(code)):
            return chr(code).encode()[len(begun) :]
    return None


class TokenTexts:
    """The text of each id of a tokenizer. ModelError if its tokens are not fixed strings, as WordPiece's.

    `bytes` is what each id writes, b"" for special ids. `whole` (n,) are the ids that write complete characters,
    longest first, and `chars` (n, L) these characters as indices of `alphabet`, padded with `pad`. `fragments` are the
    ids that write parts of characters.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.bytes = [_bytes(tokenizer, id) for id in range(tokenizer.vocab_size)]
        self._verify()
        self.ids: dict[bytes, int] = {}
        self.fragments: list[int] = []
        texts: list[tuple[int, str]] = []
        for id, content in enumerate(self.bytes):
            if not content:
                continue
            self.ids.setdefault(content, id)
            try:
                texts.append((id, content.decode()))
            except UnicodeDecodeError:
                self.fragments.append(id)
        texts.sort(key=lambda entry: -len(entry[1]))  # longest first: the ids with a j-th character come first
        self.longest = max(map(len, self.ids), default=0)
        self.alphabet = sorted({char for _, text in texts for char in text})
        self.joining = torch.tensor([joins(char) for char in self.alphabet], dtype=torch.bool)
        place = {char: i for i, char in enumerate(self.alphabet)}
        self.pad = len(self.alphabet)
        width = len(texts[0][1]) if texts else 0
        rows = [[place[char] for char in text] + [self.pad] * (width - len(text)) for _, text in texts]
        self.whole = torch.tensor([id for id, _ in texts], dtype=torch.long)
        self.chars = torch.tensor(rows, dtype=torch.long).view(len(texts), width)
        self.counts = (self.chars != self.pad).sum(0).tolist()  # the number of ids with a j-th character
        self._spelled: dict[bytes, tuple[int, ...] | None] = {}

    def spell(self, content: bytes) -> tuple[int, ...] | None:
        """The fewest ids that write `content`; None if the vocabulary cannot."""
        if content not in self._spelled:
            if len(self._spelled) >= _MAX_CACHED_SPELLINGS:
                self._spelled.clear()
            self._spelled[content] = self._fewest(content)
        return self._spelled[content]

    def _fewest(self, content: bytes) -> tuple[int, ...] | None:
        """By dynamic programming from the end: for each start the number of ids, and the length of the first one."""
        best: list[tuple[int, int] | None] = [None] * len(content) + [(0, 0)]
        for start in range(len(content) - 1, -1, -1):
            for end in range(min(len(content), start + self.longest), start, -1):
                after = best[end]
                if after is not None and content[start:end] in self.ids:
                    found = best[start]
                    if found is None or after[0] + 1 < found[0]:
                        best[start] = (after[0] + 1, end - start)
        ids, place = [], 0
        while place < len(content):
            step = best[place]
            if step is None:
                return None
            ids.append(self.ids[content[place : place + step[1]]])
            place += step[1]
        return tuple(ids)

    def _verify(self) -> None:
        """ModelError unless the bytes of several ids are the text that the tokenizer decodes, for a sample of ids."""
        sample, visible = random.Random(0), [id for id, content in enumerate(self.bytes) if content]
        for _ in range(64):
            ids = sample.choices(visible, k=4) if visible else []
            text = b"".join(self.bytes[id] for id in ids).decode(errors="replace")
            if self.tokenizer.decode(ids) not in (text, text.removeprefix(" ")):
                raise ModelError(
                    "`required` and `forbidden` need a tokenizer whose tokens are fixed strings, but the target's "
                    f"writes {ids} as `{self.tokenizer.decode(ids)}`. Use `allowed`, or a model with another tokenizer."
                )


def _bytes(tokenizer: Tokenizer, id: int) -> bytes:
    vocabulary = tokenizer.vocabulary
    if id in vocabulary.specials.control:
        return b""
    if vocabulary.table is not None:
        return vocabulary.table.bytes([id])
    piece = vocabulary.piece(id)
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        return bytes.fromhex(piece[3:5])
    return piece.replace(_SPACE, " ").encode()
