"""Word alignments from cross-attention against gold alignments: alignment error rate (Och and Ney 2003, section 5.1).

    found = word_links(model, ["in 3 hours"], ["in 3 Stunden"])     # [{(0, 0), (1, 1), (2, 2)}]
    gold = read_gold("gold.txt")                                    # lines such as "0-0 1-1 2?2"
    alignment_errors(found, gold).aer

Words are what stands between spaces, counted from 0. In a gold file `i-j` is a sure link and `i?j` (or `ipj`) a
possible one, source before target (Pharaoh's format, with Och and Ney's two kinds of links).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from antiphon.errors import DataError, ModelError
from antiphon.generation.attention.alignment import align_pairs
from antiphon.generation.translator import Translator

Link = tuple[int, int]
SPACED = re.compile(r"\S+")
_LINK = re.compile(r"(\d{1,9})([-?p])(\d{1,9})")


@dataclass(frozen=True)
class GoldAlignment:
    """The links of one pair: `sure`, and `possible`, which include the sure ones."""

    sure: frozenset[Link]
    possible: frozenset[Link]


@dataclass(frozen=True)
class AlignmentErrors:
    """Alignments against gold ones, summed over pairs: numbers of links found, found and sure, found and possible, and
    sure."""

    found: int
    found_sure: int
    found_possible: int
    sure: int

    @property
    def precision(self) -> float:
        """The share of the found links that are possible; 1 if none was found."""
        return self.found_possible / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        """The share of the sure links that were found; 1 if there are none."""
        return self.found_sure / self.sure if self.sure else 1.0

    @property
    def aer(self) -> float:
        """1 - (found and sure + found and possible) / (found + sure); 0 if there are no links at all."""
        both = self.found + self.sure
        return 1 - (self.found_sure + self.found_possible) / both if both else 0.0

    def __str__(self) -> str:
        return f"alignment error rate {100 * self.aer:.1f} %, precision {self.precision:.3f}, recall {self.recall:.3f}"


def word_links(model: Translator, sources: Sequence[str], targets: Sequence[str]) -> list[set[Link]]:
    """The links (source word, target word) of each pair, by `align_pairs` over the words between spaces.

    ModelError for a model without weights of cross-attention, an ensemble, one of speech, and one that transformers
    computes.
    """
    spans = align_pairs(model, sources, targets, words=SPACED)
    if spans is None:
        raise ModelError(
            "alignments need weights of cross-attention, but this model has none that can be read (a mixer without "
            "weights, an ensemble, a speech model, or a model that transformers computes). Load another."
        )
    found = []
    for source, target, own in zip(sources, targets, spans, strict=True):
        places = [{match.start(): i for i, match in enumerate(SPACED.finditer(text))} for text in (source, target)]
        found.append({(places[0][span.source[0]], places[1][span.target[0]]) for span in own})
    return found


def pharaoh(links: set[Link]) -> str:
    """The links as `0-0 1-1`, in the order of the target."""
    return " ".join(f"{i}-{j}" for i, j in sorted(links, key=lambda link: (link[1], link[0])))


def parse_gold(line: str, *, where: str = "") -> GoldAlignment:
    """The gold alignment of a line; DataError, with its place, for anything but links."""
    sure: set[Link] = set()
    possible: set[Link] = set()
    for word in line.split():
        match = _LINK.fullmatch(word)
        if match is None:
            raise DataError(
                f"a gold alignment must have links such as 0-0 (sure) and 1?2 (possible), but has `{word:.40}`"
                f"{f' ({where})' if where else ''}."
            )
        link = int(match[1]), int(match[3])
        (sure if match[2] == "-" else possible).add(link)
    return GoldAlignment(frozenset(sure), frozenset(sure | possible))


def read_gold(file: str | Path) -> list[GoldAlignment]:
    """The gold alignments of a file, one a line; DataError for a line that has none, with its number."""
    from antiphon.data.lines import LineReader

    return [parse_gold(line, where=f"{file}:{number}") for number, line in enumerate(LineReader(str(file)), 1)]


def alignment_errors(found: Sequence[set[Link]], gold: Sequence[GoldAlignment]) -> AlignmentErrors:
    """The errors of alignments over all pairs; DataError for unequal numbers of pairs."""
    if len(found) != len(gold):
        raise DataError(f"there must be a gold alignment for each pair, but there are {len(found)} and {len(gold)}.")
    return AlignmentErrors(
        sum(map(len, found)),
        sum(len(own & right.sure) for own, right in zip(found, gold, strict=True)),
        sum(len(own & right.possible) for own, right in zip(found, gold, strict=True)),
        sum(len(right.sure) for right in gold),
    )
