"""What a word is: a run of letters, digits, marks and "_" of a script that has spaces between words.

`joins` is the definition for one character, `WORD_CHARACTER` nearly the same as a class of a regular expression: it
lacks combining marks, which Python's `re` has no class for.
"""

from __future__ import annotations

import functools
import re
import unicodedata

# Scripts without spaces between words: a word may begin or end between any two of their characters.
_UNSPACED = (
    (0x0E00, 0x0EFF), (0x0F00, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x30FF),
    (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xA4CF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F),
    (0x20000, 0x3FFFF),
)  # fmt: skip
WORD_CHARACTER = rf"[^\W{''.join(f'{chr(low)}-{chr(high)}' for low, high in _UNSPACED)}]"
# The words of a text, and every other character but white space.
WORD = re.compile(rf"{WORD_CHARACTER}+|\S")


@functools.lru_cache(maxsize=2**16)
def joins(char: str) -> bool:
    """Whether `char` is part of a word: a letter, digit, mark or "_" of a script with spaces between words."""
    if not (char.isalnum() or char == "_" or unicodedata.category(char)[0] == "M"):
        return False
    return not any(low <= ord(char) <= high for low, high in _UNSPACED)
