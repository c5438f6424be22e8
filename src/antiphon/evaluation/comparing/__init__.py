"""Compares systems on one test set: which is better, whether that is chance, and where the difference comes from.

`grouping.py` names groups of segments, `words.py` the words in which two texts differ.
"""

from __future__ import annotations

from antiphon.evaluation.comparing.grouping import (
    groups_by_length,
    groups_by_rarity,
    groups_by_tag,
    in_order,
    word_counts,
)
from antiphon.evaluation.comparing.words import word_changes

__all__ = ["groups_by_length", "groups_by_rarity", "groups_by_tag", "in_order", "word_changes", "word_counts"]
