"""Score rules: the base class and the catalogue."""

from __future__ import annotations

from antiphon.nn.rules.biases import Alibi, Relative
from antiphon.nn.rules.masks import Window
from antiphon.nn.rules.rule import Both, Full, Reach, ScoreRule, Table, name_of, parts_of, score_after

__all__ = [
    "Alibi",
    "Both",
    "Full",
    "Reach",
    "Relative",
    "ScoreRule",
    "Table",
    "Window",
    "name_of",
    "parts_of",
    "score_after",
]
