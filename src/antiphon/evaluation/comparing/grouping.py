"""Groups of segments: by the length of the reference, by rare words in it, by the tag of the source.

>>> groups_by_length([["a b"], ["a b c"], ["a"], ["a b c d"]], groups=2)
['1-2 words', '3-4 words', '1-2 words', '3-4 words']

The bounds are quantiles of the test set, so that groups hold about as many segments each; the segments of one number
of words stand in one group. Of several references of a segment the first counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from antiphon.errors import DataError
from antiphon.evaluation.bleu_notes import unspaced
from antiphon.evaluation.result import References
from antiphon.evaluation.test_set import TAG

GROUPS = 5
RARE_IN_TRAINING = 5  # a word that stands at most so often in the training data is rare; in the references: once


def groups_by_length(references: References, *, groups: int = GROUPS) -> list[str]:
    """A name such as `1-9 words` for each segment, by the length of its reference; characters for texts of a script
    without spaces, such as Japanese."""
    firsts = [row[0] for row in references]
    unit, lengths = "word", [len(text.split()) for text in firsts]
    if unspaced(firsts) is not None:
        unit, lengths = "character", [len(text) for text in firsts]
    return _binned(lengths, unit, groups)


def groups_by_rarity(
    references: References,
    counts: Mapping[str, int] | None = None,
    *,
    rare: int | None = None,
    groups: int = GROUPS,
) -> list[str]:
    """A name such as `2-3 rare words` for each segment, by the number of rare words in its reference.

    counts: how often the training data has each word (`word_counts`); None counts the words of the references. rare:
    the largest count of a rare word, by default 1 in the references, and 5 in the training data (0 is a word that it
    does not have).
    """
    firsts = [row[0] for row in references]
    known = word_counts(firsts) if counts is None else counts
    most = rare if rare is not None else 1 if counts is None else RARE_IN_TRAINING
    numbers = [sum(known.get(word, 0) <= most for word in text.split()) for text in firsts]
    return _binned(numbers, "rare word", groups)


def groups_by_tag(sources: Sequence[str]) -> list[str]:
    """The tag that each source begins with, such as `fre` of `<fre> …`; DataError for a source without one."""
    found = []
    for number, source in enumerate(sources, 1):
        tag = TAG.match(source)
        if tag is None:
            raise DataError(
                f"each source must begin with a tag such as <fre>, but source {number} is `{source:.40}`. Give the "
                "tags as a file of their own, or leave them out."
            )
        found.append(tag[1])
    return found


def word_counts(texts: Iterable[str]) -> Counter[str]:
    """How often each word, split at white space, stands in `texts`."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text.split())
    return counts


def in_order(names: Sequence[str]) -> list[str]:
    """The different names of groups: those of lengths and counts by number, others as they first appear."""
    found = list(dict.fromkeys(names))
    numbers = [name.replace("+", "-").partition(" ")[0].partition("-")[0] for name in found]
    if all(number.isdecimal() for number in numbers):
        return sorted(found, key=lambda name: int(name.replace("+", "-").partition(" ")[0].partition("-")[0]))
    return found


def _binned(numbers: Sequence[int], unit: str, groups: int) -> list[str]:
    """The name of the range of each number; the ranges end at quantiles."""
    ordered = sorted(numbers)
    tops = sorted({ordered[max(0, len(ordered) * part // groups - 1)] for part in range(1, groups + 1)})
    lows = [ordered[0], *(top + 1 for top in tops[:-1])]
    names = []
    for low, top in zip(lows, tops, strict=True):
        figure = f"{low}" if low == top else f"{low}-{top}"
        names.append(f"{figure} {unit}{'' if low == top == 1 else 's'}")
    return [next(name for name, top in zip(names, tops, strict=True) if number <= top) for number in numbers]
