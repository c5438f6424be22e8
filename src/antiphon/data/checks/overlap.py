"""The filter `overlap`: drops training pairs whose source is, or is nearly, one of the validation or test data.

    data:
      filters: [overlap]                        # or {overlap: {similarity: 0.9}}; 1 drops equal texts alone

Two texts are compared as sets of letter trigrams by their Jaccard similarity. Candidates are found by MinHash (Broder
1997, On the resemblance and containment of documents): BANDS bands of ROWS hashes, so that a pair of similarity s is
looked at with probability 1 - (1 - s**ROWS)**BANDS: 96.7 % at 0.6, 99.7 % at 0.7. What is looked at is compared
exactly, so that nothing is dropped by chance.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from antiphon.data.checks.letters import letter_array
from antiphon.data.lines import DataPlace, Pair
from antiphon.data.media.contents import key_or_name
from antiphon.data.media.references import Reference
from antiphon.registry import register
from antiphon.settings import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from antiphon.data.checks.letters import LetterArray

ROWS, BANDS = 3, 14
MAX_TEXTS = 200_000  # held-out texts that are compared with: about 500 bytes of memory each
FEWEST_LETTERS = 20  # shorter texts must be equal: of single words, many are alike; those from U+2E80 on count twice
_MOST_CANDIDATES = 30  # of a text in a band: more have the same hashes only where texts repeat a template
_CHUNK, _GROUP = 4096, 64  # texts that are sketched together, and whose hashes are in memory together


class HeldOut(NamedTuple):
    """A held-out text that a training text is like: its location and their similarity, 1 if their letters are equal."""

    place: DataPlace
    similarity: float


@register("filter", "overlap")
class Overlap:
    """Keeps pairs whose source is less similar than `similarity` to every source of `data.valid` and `data.test`.

    Case, punctuation and white space do not count. It takes about 10 µs a pair. Images and sound must be equal: the
    contents of the files, which are read for it, and the text beside them.
    """

    learns = "held_out"

    def __init__(self, *, similarity: float = 0.6) -> None:
        number = isinstance(similarity, int | float) and not isinstance(similarity, bool) and 0.5 <= similarity <= 1
        require(number, "similarity", f"must be a number from 0.5 to 1, but is {similarity!r:.40}")
        self.similarity = float(similarity)
        self._places: list[DataPlace] = []
        self._index: HeldOutIndex | None = None
        self._files: dict[bytes, DataPlace] = {}

    @property
    def sources(self) -> int:
        """The number of held-out sources that pairs are compared with."""
        return len(self._places) + len(self._files)

    def learn(self, pairs: Iterable[Pair]) -> None:
        """Index the sources of the held-out pairs, each text once."""
        known: dict[str, DataPlace] = {}
        for pair in pairs:
            if isinstance(pair.source, Reference):
                self._files.setdefault(key_or_name(pair.source), pair.row.place)
            else:
                known.setdefault(pair.source, pair.row.place)
            if len(known) + len(self._files) == MAX_TEXTS:
                break
        if known:
            self._places, self._index = list(known.values()), HeldOutIndex(list(known))

    def look(self, sources: Sequence[str], keys: Sequence[bytes] | None = None) -> dict[int, HeldOut]:
        """The number of each of `sources` that is like a held-out one, with the one that it is most like. `keys`: those
        of the contents of files (`content_key`), if they are known."""
        held: dict[int, HeldOut] = {}
        files = {number: source for number, source in enumerate(sources) if isinstance(source, Reference)}
        for number, source in files.items() if self._files else ():
            key = key_or_name(source) if keys is None else keys[number]
            if (place := self._files.get(key)) is not None:
                held[number] = HeldOut(place, 1.0)
        if self._index is not None and len(files) < len(sources):
            texts = ["" if number in files else source for number, source in enumerate(sources)] if files else sources
            for number, (text, likeness) in self._index.look(texts, self.similarity).items():
                held[number] = HeldOut(self._places[text], likeness)
        return held

    def keeps(self, pairs: Sequence[Pair]) -> list[bool]:
        """Whether each of some pairs is kept; faster than one by one."""
        found = self.look([pair.source for pair in pairs])
        return [place not in found for place in range(len(pairs))]

    def __call__(self, pair: Pair) -> bool:
        return self.keeps([pair])[0]


class Sketches(NamedTuple):
    """A batch of texts: their letters, the hashes of their trigrams, MinHash signatures, and hashes of the bands."""

    letters: LetterArray
    trigrams: NDArray[np.uint32]
    signatures: NDArray[np.uint32]  # (texts, BANDS * ROWS)
    bands: NDArray[np.uint32]  # (texts, BANDS)

    def keys(self) -> NDArray[np.int64]:
        """The bands of all texts in one row: the number of the band, then its hash."""
        import numpy as np

        return (self.bands | (np.arange(BANDS) << 32)).ravel()

    def codes(self, text: int) -> NDArray[np.uint32]:
        """The letters of a text."""
        return self.letters.codes[self.letters.starts[text] : self.letters.starts[text + 1]]

    def trigram_set(self, text: int) -> NDArray[np.uint32]:
        """The different trigrams of a text."""
        import numpy as np

        return np.unique(self.trigrams[self.letters.starts[text] : self.letters.starts[text + 1] - 2])


class HeldOutIndex:
    """Held-out texts by the hashes of their bands."""

    def __init__(self, texts: Sequence[str]) -> None:
        import numpy as np

        self._parts = [sketch(texts[start : start + _CHUNK]) for start in range(0, len(texts), _CHUNK)]
        self._signatures = np.concatenate([part.signatures for part in self._parts])
        keys = np.concatenate([part.keys() for part in self._parts])
        order = np.argsort(keys, kind="stable")
        self._keys, self._texts = keys[order], order // BANDS
        self._present = np.zeros(1 << 16, bool)  # the lower halves of the hashes: most texts end at this table
        self._present[keys & 0xFFFF] = True

    def look(self, texts: Sequence[str], similarity: float) -> dict[int, tuple[int, float]]:
        """The number of each text that is like a held-out one, with the number of that one and their similarity."""
        made = sketch(texts)
        found: dict[int, tuple[int, float]] = {}
        # Three standard deviations below the share of equal hashes that the least similarity leads to.
        least = similarity - 3 * (similarity * (1 - similarity) / (BANDS * ROWS)) ** 0.5
        for text, other in self._candidates(made, least):
            likeness = self._similarity(made, text, other, similarity)
            if likeness is not None and likeness > found.get(text, (0, 0.0))[1]:
                found[text] = (other, likeness)
        return found

    def _candidates(self, made: Sketches, least: float) -> list[tuple[int, int]]:
        """Pairs of a text and a held-out text with an equal band, and the share `least` of equal hashes, in order."""
        import numpy as np

        keys = made.keys()
        hits = (self._present[keys & 0xFFFF] & np.repeat(made.letters.sizes() > 0, BANDS)).nonzero()[0]
        low = np.searchsorted(self._keys, keys[hits], "left")
        counts = np.minimum(np.searchsorted(self._keys, keys[hits], "right") - low, _MOST_CANDIDATES)
        texts = np.repeat(hits // BANDS, counts)
        steps = np.arange(len(texts)) - np.repeat(np.cumsum(counts) - counts, counts)
        both = np.unique((texts << 32) | self._texts[np.repeat(low, counts) + steps])
        texts, others = both >> 32, both & 0xFFFFFFFF
        agree = (self._signatures[others] == made.signatures[texts]).mean(axis=1)
        return list(zip(texts[agree >= least].tolist(), others[agree >= least].tolist(), strict=True))

    def _similarity(self, made: Sketches, text: int, other: int, least: float) -> float | None:
        """The similarity of a text and a held-out one if it is at least `least`: 1 if their letters are equal."""
        import numpy as np

        part, place = self._parts[other // _CHUNK], other % _CHUNK
        ours, theirs = made.codes(text), part.codes(place)
        if len(ours) == len(theirs) and bool((ours == theirs).all()):
            return 1.0
        if min(_letters(ours), _letters(theirs)) < FEWEST_LETTERS:
            return None
        one, two = made.trigram_set(text), part.trigram_set(place)
        both = len(np.intersect1d(one, two, assume_unique=True))
        likeness = min(both / (len(one) + len(two) - both), 0.999)
        return likeness if likeness >= least else None


def _letters(codes: NDArray[np.uint32]) -> int:
    """The number of letters and spaces of a text; Chinese, Japanese and Korean letters count twice."""
    return len(codes) - 2 + int((codes >= 0x2E80).sum())


def sketch(texts: Sequence[str]) -> Sketches:
    """The MinHash sketches of texts, which must be at least one."""
    import numpy as np

    batch = letter_array(texts)
    codes = batch.codes
    mixed = codes * np.uint32(0x9E3779B1)
    mixed[:-1] ^= codes[1:] * np.uint32(0x85EBCA6B)
    mixed[:-2] ^= codes[2:] * np.uint32(0x27D4EB2F)
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(0x2C1B3C6D)
    mixed ^= mixed >> np.uint32(13)
    factors, offsets = _functions()
    signatures = np.empty((len(texts), BANDS * ROWS), np.uint32)
    for first in range(0, len(texts), _GROUP):
        starts = batch.starts[first : first + _GROUP + 1]
        hashed = mixed[starts[0] : starts[-1], None] * factors + offsets
        within = starts[1:] - starts[0]
        hashed[within - 1] = hashed[within - 2] = 0xFFFFFFFF  # the last two positions of a text begin no trigram
        signatures[first : first + _GROUP] = np.minimum.reduceat(hashed, starts[:-1] - starts[0])
    bands = np.zeros((len(texts), BANDS), np.uint32)
    for row in range(ROWS):
        bands = (bands ^ signatures[:, row::ROWS]) * np.uint32(0x85EBCA6B)
        bands ^= bands >> np.uint32(15)
    return Sketches(batch, mixed, signatures, bands)


@functools.cache
def _functions() -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The factors and offsets of the hash functions x -> a x + b modulo 2**32, the same in every run."""
    import numpy as np

    drawn = np.random.default_rng(18).integers(0, 1 << 32, (2, BANDS * ROWS), np.uint32)
    return drawn[0] | np.uint32(1), drawn[1]
