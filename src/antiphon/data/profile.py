"""What the training data looks like: lengths in tokens and the frequency of words, of its first pairs.

profile = DataProfile()                      # given to `load_corpus(..., profile=profile)`
profile.lengths("target"), profile.frequencies(["Stunden", "Xylophon"])      # {"Stunden": 812, "Xylophon": 0}
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any

MAX_PROFILE_PAIRS = 100_000  # counting takes about a tenth of the time of encoding
_SHARES = {"median": 0.5, "p95": 0.95, "max": 1.0}


@dataclass
class DataProfile:
    """Counts over the first MAX_PROFILE_PAIRS examples that a corpus encodes."""

    source_lengths: array[int] = field(default_factory=lambda: array("I"))
    target_lengths: array[int] = field(default_factory=lambda: array("I"))
    words: Counter[str] = field(default_factory=Counter)

    @property
    def pairs(self) -> int:
        """The number of examples counted."""
        return len(self.target_lengths)

    @property
    def full(self) -> bool:
        """Whether further examples are ignored."""
        return self.pairs >= MAX_PROFILE_PAIRS

    def add(self, source: Sized, target: Sequence[int], text: str) -> None:
        """Count an encoded example; `text` is that of its target."""
        self.source_lengths.append(len(source))
        self.target_lengths.append(len(target))
        self.words.update(text.split())

    def lengths(self, side: str) -> dict[str, float]:
        """The mean, median, 95th percentile and maximum of the tokens of a side, end included; empty without pairs."""
        ordered = sorted(self.source_lengths if side == "source" else self.target_lengths)
        if not ordered:
            return {}
        last = len(ordered) - 1
        found: dict[str, Any] = {name: ordered[round(share * last)] for name, share in _SHARES.items()}
        return {"mean": round(sum(ordered) / len(ordered), 2), **found}

    def frequencies(self, words: Iterable[str]) -> dict[str, int]:
        """How often each of `words` stands in the targets counted."""
        return {word: self.words[word] for word in words}
