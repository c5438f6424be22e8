"""Tags inside a segment, put into its answer by the alignment.

The tags keep their order, so that they stay well nested and each stands once, whatever the alignment: the words of the
answer are divided among the stretches of text between the tags. Of all such divisions the one is taken that gives the
words most of the format that their aligned source words have (in no element, or in the same ones), by dynamic
programming over words and stretches. Text that changes the order of two elements therefore gets the format of one of
them only.

Shapes: W words of the answer, R stretches, which are one more than the tags.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from antiphon.documents.segments import SegmentAnswer
from antiphon.documents.splitting import is_worthy
from antiphon.documents.units import Tag, Unit
from antiphon.words import WORD

_SPACES = re.compile(r"\s*")
_PUNCTUATION = re.compile(r"(?:[^\w\s]*(?=\s|\Z))?")
# Segments with more words x stretches, or stretches x stretches, have their tags placed by relative positions.
MAX_CELLS = 20_000
_OTHER_STRETCH = 0.9  # worth of a word in another stretch of the same format
_SAME_WORD = 1.5  # weight of the alignment of two equal words, each the only one of its text
_POSITION, _ONLY_POSITION = 0.05, 0.3  # weight of the relative position, where a word has an alignment and where not
_EMPTY_COST = 0.3  # of a stretch with text that gets no word
_DEPTH_COST = 0.01  # of each element around a word: punctuation between two stretches stays out
_MAX_REACH = 64  # words or stretches of one aligned span; a wider span says too little


def placed(unit: Unit, answer: SegmentAnswer) -> list[str | Unit]:
    """The pieces of the answer of a unit: its text, escaped, with the unit's tags."""
    text = answer.text
    if not unit.tags:
        return [unit.escape(text)]
    words = [match.span() for match in WORD.finditer(text)]
    taken = _division(unit, answer, words)
    before = [bisect.bisect_left(taken, stretch + 1) for stretch in range(len(unit.tags))]  # the words before each tag
    pieces: list[str | Unit] = []
    at = 0  # what of the text is in `pieces`
    for index, (tag, count) in enumerate(zip(unit.tags, before, strict=True)):
        low = words[count - 1][1] if count else 0
        high = words[count][0] if count < len(words) else len(text)
        place = max(_in_gap(tag, low, high, text), at)
        pieces += [unit.escape(text[at:place]), *tag.pieces]
        at = place
        if tag.is_space:  # it replaces a space
            at = max(at, _SPACES.match(text, at).end())  # type: ignore[union-attr]
        elif tag.space_behind and not _followed_by_space(unit.tags, before, index, text, at):
            pieces.append(" ")
    pieces.append(unit.escape(text[at:]))
    return pieces


def _in_gap(tag: Tag, low: int, high: int, text: str) -> int:
    """The place of a tag between the end of a word and the beginning of the next one. White space stands outside of an
    element, and of other tags on the same side as in the source."""
    if tag.is_space:  # not between a word and the punctuation behind it
        return _PUNCTUATION.match(text, low).end()  # type: ignore[union-attr]  # it matches nothing too
    if tag.kind == "close" or (tag.kind == "single" and not tag.after_space):
        return low
    return high if text[low:high].isspace() else low


def _followed_by_space(tags: Sequence[Tag], before: Sequence[int], index: int, text: str, at: int) -> bool:
    """Whether another tag, or white space, stands behind tag `index`, or nothing at all."""
    next_here = index + 1 < len(tags) and before[index + 1] == before[index]
    return next_here or at >= len(text) or text[at].isspace()


def _division(unit: Unit, answer: SegmentAnswer, words: Sequence[tuple[int, int]]) -> list[int]:
    """The stretch of each word, (W,), ascending."""
    offsets = [tag.offset for tag in unit.tags]
    count = len(offsets) + 1
    if count * max(len(words), count) > MAX_CELLS:
        size = max(len(answer.text), 1)
        centres = [(start + end) * len(unit.text) // (2 * size) for start, end in words]
        return [bisect.bisect_right(offsets, centre) for centre in centres]
    formats = _formats(unit.tags)
    likeness = [[_likeness(formats, a, b) for b in range(count)] for a in range(count)]
    bounds = [0, *offsets, len(unit.text)]
    filled = [is_worthy(unit.text[a:b]) for a, b in itertools.pairwise(bounds)]
    scores = []
    for shares in _shares(unit, answer, words, offsets):
        row = [-_DEPTH_COST * len(formats[stretch]) for stretch in range(count)]
        for stretch, weight in shares.items():
            like = likeness[stretch]
            for other in range(count):
                row[other] += weight * like[other]
        scores.append(row)
    return _best_division(scores, filled)


def _shares(
    unit: Unit, answer: SegmentAnswer, words: Sequence[tuple[int, int]], offsets: Sequence[int]
) -> Iterator[dict[int, float]]:
    """For each word how much of it belongs to which stretches, by the alignment and by its relative position."""
    shares: list[dict[int, float]] = [{} for _ in words]
    starts, ends = [start for start, _ in words], [end for _, end in words]
    own = [*answer.alignment, *_same_words(unit.text, answer.text, words)]
    for (a, b), (c, d), weight in own:
        first, last = bisect.bisect_right(ends, c), bisect.bisect_left(starts, d)
        low, high = bisect.bisect_right(offsets, a), bisect.bisect_left(offsets, b)
        if last - first > _MAX_REACH or high - low > _MAX_REACH:
            continue
        bounds = [a, *offsets[low:high], b]
        for stretch, (start, end) in enumerate(itertools.pairwise(bounds), low):
            part = weight * (end - start) / (b - a)
            for word in range(first, last):
                shares[word][stretch] = shares[word].get(stretch, 0.0) + part
    size = max(len(answer.text), 1)
    for share, (start, end) in zip(shares, words, strict=True):
        total = sum(share.values())
        if 0 < total < 1:  # a word with little attention is worth as much as any other
            share = {stretch: weight / total for stretch, weight in share.items()}
        here = bisect.bisect_right(offsets, (start + end) * len(unit.text) // (2 * size))
        share[here] = share.get(here, 0.0) + (_POSITION if total > 0 else _ONLY_POSITION)
        yield share


def _same_words(
    source: str, target: str, words: Sequence[tuple[int, int]]
) -> list[tuple[tuple[int, int], tuple[int, int], float]]:
    """Words that stand once in both texts: names and numbers."""
    there = {match[0]: match.span() for match in WORD.finditer(source)}
    once = Counter(match[0] for match in WORD.finditer(source))
    found = Counter(target[start:end] for start, end in words)
    return [
        (there[target[start:end]], (start, end), _SAME_WORD)
        for start, end in words
        if found[target[start:end]] == 1 == once[target[start:end]]
    ]


def _formats(tags: Sequence[Tag]) -> list[frozenset[object]]:
    """The elements around each stretch, (R,): numbers of the tags that open them, or properties of its format."""
    if tags[0].formats is not None:
        return [tags[0].formats[0], *(tag.formats[1] if tag.formats else frozenset() for tag in tags)]
    count = len(tags) + 1
    around: list[set[object]] = [set() for _ in range(count)]
    opened: list[tuple[int, str]] = []
    for place, tag in enumerate(tags):
        if tag.kind == "open":
            opened.append((place, tag.name))
        elif tag.kind == "close":
            match = next((i for i in range(len(opened) - 1, -1, -1) if opened[i][1] == tag.name), None)
            first = -1 if match is None else opened.pop(match)[0]  # -1: opened before the segment
            for stretch in range(first + 1, place + 1):
                around[stretch].add(first if first >= 0 else -1 - place)
    for place, _ in opened:  # closed behind the segment
        for stretch in range(place + 1, count):
            around[stretch].add(place)
    return [frozenset(elements) for elements in around]


def _likeness(formats: Sequence[frozenset[object]], a: int, b: int) -> float:
    """How much text of stretch `a` is worth in stretch `b`: 1 in itself, less the fewer elements they share."""
    if a == b:
        return 1.0
    one, other = formats[a], formats[b]
    return _OTHER_STRETCH * (len(one & other) / len(one | other) if one or other else 1.0)


def _best_division(scores: Sequence[Sequence[float]], filled: Sequence[bool]) -> list[int]:
    """The ascending stretches (W,) with the largest sum of scores (W,R), less the cost of stretches without a word."""
    if not scores:
        return []
    count = len(filled)
    cost = [0.0]  # of all stretches before each
    for has_text in filled:
        cost.append(cost[-1] + _EMPTY_COST * has_text)
    best = [scores[0][stretch] - cost[stretch] for stretch in range(count)]
    came: list[list[int]] = []
    for row in scores[1:]:
        following, back = [0.0] * count, [0] * count
        ahead, ahead_at = float("-inf"), 0  # the best of the stretches before, its later cost added
        for stretch in range(count):
            stay, move = best[stretch], ahead - cost[stretch]
            following[stretch] = row[stretch] + max(stay, move)
            back[stretch] = stretch if stay >= move else ahead_at
            if best[stretch] + cost[stretch + 1] > ahead:
                ahead, ahead_at = best[stretch] + cost[stretch + 1], stretch
        came.append(back)
        best = following
    last = max(range(count), key=lambda stretch: best[stretch] + cost[stretch + 1])
    taken = [last]
    for back in reversed(came):
        taken.append(back[taken[-1]])
    return taken[::-1]
