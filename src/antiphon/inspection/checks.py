"""The checks of a chunk of pairs. Each yields the kind of a finding, the index of a pair, and a note for the example.

They use the functions of data/checks, which the filters use too. A whole chunk is searched first for the signs that a
check looks for: in clean data most checks look at no text alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from antiphon.data.checks.languages import Language
from antiphon.data.checks.overlap import Overlap
from antiphon.data.checks.texts import (
    has_lost,
    has_odd,
    is_copy,
    is_garbled,
    is_unusual,
    numbers_differ,
    urls_differ,
)
from antiphon.data.filters import Ratio
from antiphon.data.lines import Pair
from antiphon.inspection.source_files import FileFacts

_DIGIT = re.compile(r"\d")
_URL_SIGNS = ("://", "www.", "WWW.", "@")


class Chunk(NamedTuple):
    """Pairs of one source (its `number`) that are checked together, and their texts.

    Of an image or sound the text is the one beside it. `files` has the facts of each source if they are files.
    """

    number: int
    pairs: Sequence[Pair]
    sources: Sequence[str]
    targets: Sequence[str]
    files: Sequence[FileFacts] | None = None


class Hit(NamedTuple):
    """A finding in a chunk: its kind, the place of the pair, and what to note."""

    kind: str
    place: int
    note: str = ""


Check = Callable[[Chunk], Iterator[Hit]]


def encodings(chunk: Chunk) -> Iterator[Hit]:
    """Mixed encodings, lost and odd characters, and unusual normal forms."""
    joined = "\n".join((*chunk.sources, *chunk.targets))
    tests: list[tuple[str, Callable[[str], bool]]] = [("odd_characters", has_odd)] if has_odd(joined) else []
    if not joined.isascii():
        tests += [("lost", has_lost)] if has_lost(joined) else []
        tests += [("garbled", is_garbled)] if is_garbled(joined) else []
        tests += [("normal_form", is_unusual)] if is_unusual(joined) else []
    for kind, test in tests:
        for index, (source, target) in enumerate(zip(chunk.sources, chunk.targets, strict=True)):
            side = "source" if test(source) else "target" if test(target) else ""
            # What the text was meant to be cannot have characters of its own that are odd.
            if side and not (kind == "odd_characters" and is_garbled(source if side == "source" else target)):
                yield Hit(kind, index, side)


def copies(chunk: Chunk) -> Iterator[Hit]:
    """Targets that repeat their source."""
    for index, pair in enumerate(chunk.pairs):
        if not pair.row.plain and is_copy(pair.source, pair.target):
            yield Hit("untranslated", index)


class NumberCheck:
    """The check for numbers and URLs that differ. `pairs` counts those with a number on a side."""

    def __init__(self) -> None:
        self.pairs = 0

    def __call__(self, chunk: Chunk) -> Iterator[Hit]:
        for index, (source, target) in enumerate(zip(chunk.sources, chunk.targets, strict=True)):
            if _DIGIT.search(source) or _DIGIT.search(target):
                self.pairs += 1
                if numbers_differ(source, target):
                    yield Hit("numbers", index)
        joined = "\n".join((*chunk.sources, *chunk.targets))
        if any(sign in joined for sign in _URL_SIGNS):
            for index, (source, target) in enumerate(zip(chunk.sources, chunk.targets, strict=True)):
                if urls_differ(source, target):
                    yield Hit("urls", index)


def languages(language: Language) -> Check:
    """The check for wrong languages and exchanged sides."""

    def check(chunk: Chunk) -> Iterator[Hit]:
        found = language.look(chunk.sources, chunk.targets, source=chunk.number)
        if found is None:
            return
        yield from (Hit("swapped", int(index)) for index in found.swapped.nonzero()[0])
        for index in found.wrong.nonzero()[0]:
            sides = [side for side, wrong in zip(("source", "target"), found[:2], strict=True) if wrong[index]]
            yield Hit("wrong_language", int(index), " and ".join(sides))

    return check


def overlaps(overlap: Overlap) -> Check:
    """The check for overlap with the validation and test data."""

    def check(chunk: Chunk) -> Iterator[Hit]:
        keys = None if chunk.files is None else [facts.key for facts in chunk.files]
        for index, (place, similarity) in overlap.look([pair.source for pair in chunk.pairs], keys).items():
            exact = similarity == 1
            note = f"as {place}" if exact else f"{100 * similarity:.0f} % like {place}"
            yield Hit("overlap_exact" if exact else "overlap_near", index, note)

    return check


def ratios(ratio: Ratio) -> Check:
    """The check for pairs of very unequal length."""

    def check(chunk: Chunk) -> Iterator[Hit]:
        for index, pair in enumerate(chunk.pairs):
            if not pair.row.plain and not ratio(pair):
                yield Hit("ratio", index, f"{len(pair.source)} and {len(pair.target)} characters")

    return check
