"""The filter `language`: drops pairs with a side in another language than most texts of that side, or swapped sides.

    data:
      filters: [language]

No language is named and no model is needed. The frequencies of letter trigrams are learned from the training pairs
themselves, for each side of each source of `data.train` (Cavnar and Trenkle 1994, N-Gram-Based Text Categorization,
here with log-probabilities). A text is judged by two figures, each a mean over its trigrams:

* own: the log-probability by its own side. A text in a third language has a low one.
* lead: by how much its own side explains it better than the other side does. It is negative in a text of the other
  side's language; where both sides are one language it is about 0 and decides nothing. A third table, learned from the
  texts that their own side explains worst, is compared in the same way: it finds the rest of a third language.

They are compared with the median of texts of the same length, in standard deviations (`deviations`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from antiphon.data.checks.letters import letter_array
from antiphon.data.lines import Pair
from antiphon.registry import register
from antiphon.settings import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from antiphon.data.checks.letters import LetterArray

    Table = NDArray[np.float32]

BITS = 16  # trigrams are hashed to this many bits: 256 KiB a side
SAMPLE_PAIRS = 20_000  # pairs that a profile is learned from, spread evenly over those that the filter gets
TRIMMED, TRIMMED_WEIGHT = 0.1, 0.1  # share of the sample, that with the lowest scores, and what it counts for
FEWEST_PAIRS = 1000  # with fewer pairs to learn from, nothing is dropped
FEWEST_TRIGRAMS = 6  # shorter texts are kept: names and single words are much alike in many languages
DEFICIT_BITS = 80.0  # a text in a third language is at least 2**80 times less probable than a usual one of its length
FEWEST_FOREIGN = 20  # texts that their side explains worst, of which a table is made
LEAST_SHARE = 0.03  # of the texts must have a length, so that it has a calibration of its own
FEWEST_TEXTS = 100  # a side with fewer different texts holds labels, not a language
LEAD_BITS = 12.0  # a text of the other side's language is at least 2**12 times as probable there
_EDGES = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512)  # lengths in trigrams that are calibrated apart


class LanguageFindings(NamedTuple):
    """What is found in a batch of pairs: booleans, one a pair."""

    source_wrong: NDArray[np.bool_]
    target_wrong: NDArray[np.bool_]
    swapped: NDArray[np.bool_]

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Whether a side is in another language, and the sides are not swapped."""
        return (self.source_wrong | self.target_wrong) & ~self.swapped

    @property
    def drops(self) -> NDArray[np.bool_]:
        """Whether the filter drops the pair."""
        return self.source_wrong | self.target_wrong | self.swapped


@register("filter", "language")
class Language:
    """Keeps pairs of which both sides are in the language of most texts of their side.

    `deviations`: how far from the median a text may be. It learns from 20,000 to 40,000 of the first 200,000 training
    pairs of each source, and takes about 6 µs a pair.
    """

    learns = "train"

    def __init__(self, *, deviations: float = 3.5) -> None:
        number = isinstance(deviations, int | float) and not isinstance(deviations, bool) and deviations >= 1
        require(number, "deviations", f"must be a number of at least 1, but is {deviations!r:.40}")
        self.deviations = deviations
        self._profiles: dict[int, SourceProfile] = {}

    def learn(self, pairs: Iterable[Pair]) -> None:
        """Learn a profile for each source of the pairs."""
        samples: dict[int, PairSample] = {}
        for pair in pairs:
            samples.setdefault(pair.row.cursor.source, PairSample()).add(pair)
        for number, sample in samples.items():
            profile = learn_profile([pair.source for pair in sample.pairs], [pair.target for pair in sample.pairs])
            if profile is not None:
                self._profiles[number] = profile

    def look(self, sources: Sequence[str], targets: Sequence[str], *, source: int = 0) -> LanguageFindings | None:
        """What is found in pairs of the source with this number; None if too little is known about it."""
        profile = self._profiles.get(source)
        return None if profile is None else profile.look(sources, targets, self.deviations)

    def keeps(self, pairs: Sequence[Pair]) -> list[bool]:
        """Whether each of some pairs is kept; faster than one by one."""
        kept = [True] * len(pairs)
        for number in {pair.row.cursor.source for pair in pairs}:
            places = [place for place, pair in enumerate(pairs) if pair.row.cursor.source == number]
            sides = ([pairs[place].source for place in places], [pairs[place].target for place in places])
            found = self.look(*sides, source=number)
            for place, drop in zip(places, () if found is None else found.drops, strict=False):
                kept[place] = not drop
        return kept

    def __call__(self, pair: Pair) -> bool:
        return self.keeps([pair])[0]


class PairSample:
    """Every n-th of the pairs added, at most SAMPLE_PAIRS; n is doubled whenever they are too many."""

    def __init__(self) -> None:
        self.pairs: list[Pair] = []
        self._added, self._stride = 0, 1

    def add(self, pair: Pair, keep: Callable[[Pair], Pair] | None = None) -> None:
        """Add a pair; `keep` makes of it what is stored."""
        if self._added % self._stride == 0:
            self.pairs.append(pair if keep is None else keep(pair))
            if len(self.pairs) == 2 * SAMPLE_PAIRS:
                self.pairs, self._stride = self.pairs[::2], 2 * self._stride
        self._added += 1


@dataclass(frozen=True)
class Calibration:
    """The median and the spread of a figure for each range of lengths in `_EDGES`."""

    median: NDArray[np.float64]
    deviation: NDArray[np.float64]

    def deficit(self, figures: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """By how much the sum over a text is below that of a median text of its length."""
        import numpy as np

        return (self.median[np.searchsorted(_EDGES, counts)] - figures) * counts

    def below(self, figures: NDArray[np.float64], counts: NDArray[np.int64], deviations: float) -> NDArray[np.bool_]:
        """Whether each figure lies more than `deviations` below the median of texts of its length."""
        import numpy as np

        place = np.searchsorted(_EDGES, counts)
        return figures < self.median[place] - deviations * self.deviation[place]


class Rival(NamedTuple):
    """Another language's table, and the calibration of the lead over it."""

    table: Table
    lead: Calibration


@dataclass(frozen=True)
class SourceProfile:
    """What is known about the two sides (0: source, 1: target) of the pairs of one source.

    `own` is the calibration of the mean log-probability. `rivals` are tables that a side is compared with, each with
    the calibration of the lead: that of the other side, and of texts in neither language if there are some. A side
    whose texts are labels has no `own`, and is not judged.
    """

    tables: tuple[Table, Table]
    own: tuple[Calibration | None, Calibration | None]
    rivals: tuple[list[Rival], list[Rival]]

    def look(self, sources: Sequence[str], targets: Sequence[str], deviations: float) -> LanguageFindings:
        """What is found in pairs of texts."""
        import numpy as np

        none = np.zeros(len(sources), bool)
        wrong, of_other, leads = [none, none], [none, none], [np.zeros(len(sources))] * 2
        for side, texts in enumerate((sources, targets)):
            calibration = self.own[side]
            if calibration is None:
                continue
            counts, own, *others = figures(texts, self.tables[side], *(rival.table for rival in self.rivals[side]))
            long = counts >= FEWEST_TRIGRAMS
            missing = calibration.deficit(own, counts)
            wrong[side] = long & calibration.below(own, counts, deviations) & (missing > DEFICIT_BITS)
            for number, (rival, other) in enumerate(zip(self.rivals[side], others, strict=True)):
                lead = own - other
                found = long & rival.lead.below(lead, counts, deviations) & (lead * counts < -LEAD_BITS)
                found &= (number == 0) | (missing > DEFICIT_BITS / 2)
                wrong[side] = wrong[side] | found
                if number == 0:
                    of_other[side], leads[side] = found, lead
        # One side that is surely the other language, and another that leans to it.
        swapped = (of_other[0] & (leads[1] < 0)) | (of_other[1] & (leads[0] < 0))
        return LanguageFindings(wrong[0], wrong[1], swapped)


def learn_profile(sources: Sequence[str], targets: Sequence[str], *, deviations: float = 3.5) -> SourceProfile | None:
    """The profile of pairs; None if they are too few."""
    if len(sources) < FEWEST_PAIRS:
        return None
    sides = (sources, targets)
    tables = [_trimmed_table(texts) for texts in sides]
    own: list[Calibration | None] = [None, None]
    rivals: tuple[list[Rival], list[Rival]] = ([], [])
    for side, texts in enumerate(sides):
        if len(set(texts)) < FEWEST_TEXTS:
            continue
        counts, of_own, of_other = figures(texts, tables[side], tables[1 - side])
        calibration = own[side] = _calibrated(of_own, counts)
        rivals[side].append(Rival(tables[1 - side], _calibrated(of_own - of_other, counts)))
        low = calibration.below(of_own, counts, deviations) & (counts >= FEWEST_TRIGRAMS)
        low &= (of_own >= of_other) & (calibration.deficit(of_own, counts) > DEFICIT_BITS)  # in neither language
        if low.sum() >= FEWEST_FOREIGN:
            foreign = _table(_counts([texts[place] for place in low.nonzero()[0]]))
            rivals[side].append(Rival(foreign, _calibrated(of_own - figures(texts, foreign)[1], counts)))
    return SourceProfile((tables[0], tables[1]), (own[0], own[1]), rivals)


def figures(texts: Sequence[str], *tables: Table) -> tuple[Any, ...]:
    """The number of trigrams of each text, and for each table the mean log2-probability of a trigram by it."""
    import numpy as np

    batch = letter_array(texts)
    hashes = _trigrams(batch)
    counts = np.maximum(np.diff(batch.starts) - 2, 0)
    means = []
    for table in tables:
        values = table[hashes]
        _outside(values, batch)
        means.append(batch.sums(values) / np.maximum(counts, 1))
    return counts, *means


def _trigrams(batch: LetterArray) -> NDArray[np.uint32]:
    """The hash of the trigram that begins at each code point; the last two of a text have none that counts."""
    import numpy as np

    codes = np.where((batch.codes >= 48) & (batch.codes < 58), np.uint32(48), batch.codes)  # all digits alike
    mixed = codes * np.uint32(0x9E3779B1)
    mixed[:-1] ^= codes[1:] * np.uint32(0x85EBCA6B)
    mixed[:-2] ^= codes[2:] * np.uint32(0x27D4EB2F)
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(0x2C1B3C6D)
    return mixed >> np.uint32(32 - BITS)


def _outside(values: NDArray[np.float32], batch: LetterArray) -> None:
    """Set to 0 what belongs to no trigram inside one text."""
    ends = batch.starts[1:]
    values[ends - 1] = 0
    values[ends - 2] = 0  # of an empty text, which has one position, this is the end of the text before


def _counts(texts: Sequence[Any]) -> NDArray[np.int64]:
    """How often each hashed trigram occurs in `texts`."""
    import numpy as np

    batch = letter_array(texts)
    inside = np.ones(len(batch.codes), np.float32)
    _outside(inside, batch)
    return np.bincount(_trigrams(batch)[inside > 0], minlength=1 << BITS)


def _table(counts: NDArray[Any]) -> Table:
    """The log2-probability of each hashed trigram; one that does not occur counts as a tenth."""
    import numpy as np

    return np.log2((counts + 0.1) / (counts + 0.1).sum()).astype(np.float32)


def _trimmed_table(texts: Sequence[str]) -> Table:
    """The table of `texts`, in which the share TRIMMED that they explain worst counts for TRIMMED_WEIGHT alone. Among
    these are the texts in other languages, and rare words of the own one, which must not be lost."""
    import numpy as np

    whole = _counts(texts)
    own = figures(texts, _table(whole))[1]
    lowest = [texts[place] for place in np.argsort(own)[: int(TRIMMED * len(texts))]]
    return _table(whole - (1 - TRIMMED_WEIGHT) * _counts(lowest))


def _calibrated(figures: NDArray[np.float64], counts: NDArray[np.int64]) -> Calibration:
    """The median and the spread downwards for each range of lengths; ranges with few texts take those of the next."""
    import numpy as np

    place, found = np.searchsorted(_EDGES, counts), {}
    for number in range(len(_EDGES) + 1):
        here = figures[(place == number) & (counts >= FEWEST_TRIGRAMS)]
        if len(here) >= max(40, LEAST_SHARE * len(figures)):  # else foreign texts alone could make up a range
            low, median = np.quantile(here, [0.1, 0.5])
            spread = 1.4826 * np.median(np.abs(here - median))
            found[number] = (median, max(spread, (median - low) / 1.2816, 0.1))  # 1.28: the 10 % quantile of a normal
    if not found:
        found[0] = (float(np.median(figures)), max(float(np.std(figures)), 0.1))
    nearest = [min(found, key=lambda known, at=number: abs(known - at)) for number in range(len(_EDGES) + 1)]
    medians = np.array([found[number][0] for number in nearest])
    # The mean of more trigrams spreads less. Where it seems to spread more, foreign texts are among few of that length.
    return Calibration(medians, np.minimum.accumulate([found[number][1] for number in nearest]))
