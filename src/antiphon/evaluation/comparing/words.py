"""The words in which two texts differ.

>>> word_changes("the dog bit him", "the cat bit him")
[('the ', 'same'), ('dog ', 'first'), ('cat ', 'second'), ('bit ', 'same'), ('him', 'same')]
"""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Literal

Side = Literal["same", "first", "second"]
MAX_UNSPACED = 12  # characters of a text without spaces above which it is compared by characters


def word_changes(a: str, b: str) -> list[tuple[str, Side]]:
    """The words of both texts in one order: those they share, those of `a` alone (first), those of `b` alone (second).

    Each text ends in a space if one follows, so that the joined texts which are not `second` are `a`, and those which
    are not `first` are `b`, with white space as single spaces. Texts without spaces between words are compared by
    characters.
    """
    spaced = not (_unspaced(a) or _unspaced(b))
    left, right = (text.split() if spaced else list(" ".join(text.split())) for text in (a, b))
    found: list[tuple[str, Side]] = []
    for kind, start, end, other_start, other_end in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        mine: Side = "same" if kind == "equal" else "first"
        found.extend((word, mine) for word in left[start:end])
        if kind != "equal":
            found.extend((word, "second") for word in right[other_start:other_end])
    if not spaced:
        return found
    return [(word if place == len(found) - 1 else f"{word} ", side) for place, (word, side) in enumerate(found)]


def marked(a: str, b: str) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """The pieces of `a` and those of `b`, each with whether the other text has it too."""
    changes = word_changes(a, b)
    sides = ([(text, kind == "same") for text, kind in changes if kind != other] for other in ("second", "first"))
    left, right = sides
    return left, right


def _unspaced(text: str) -> bool:
    """Whether a text is long and has no space between words, as in Japanese."""
    return len(text.split()) == 1 and len(text.strip()) > MAX_UNSPACED and not text.isascii()
