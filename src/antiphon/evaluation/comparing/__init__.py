"""Compares systems on one test set: which is better, whether that is chance, and where the difference comes from.

`systems.py` has `compare`, which checks and measures, `resampling.py` tests, `differences.py` has the verdict,
`figures.py` holds the figures, which `terminal.py` and `page.py` show and `comparison.py` joins. `grouping.py` names
groups of segments, `words.py` the words in which two texts differ.
"""

from __future__ import annotations

from antiphon.evaluation.comparing.comparison import Comparison
from antiphon.evaluation.comparing.differences import Difference
from antiphon.evaluation.comparing.grouping import (
    groups_by_length,
    groups_by_rarity,
    groups_by_tag,
    in_order,
    word_counts,
)
from antiphon.evaluation.comparing.systems import compare
from antiphon.evaluation.comparing.words import word_changes

__all__ = [
    "Comparison",
    "Difference",
    "compare",
    "groups_by_length",
    "groups_by_rarity",
    "groups_by_tag",
    "in_order",
    "word_changes",
    "word_counts",
]
