"""Score rules: the base class and the built-in rules."""

from __future__ import annotations

from antiphon.nn.rules.biases import Alibi, Relative, Shaw
from antiphon.nn.rules.masks import BlockLocal, PrefixLM, Window
from antiphon.nn.rules.rule import (
    ComposedRule,
    Full,
    Reach,
    ScoreRule,
    TermTable,
    for_layer,
    hide,
    hide_shared,
    name_of,
    parts_of,
    score_after,
    shared_parts,
)
from antiphon.nn.rules.scales import Cosine, InverseD, QKNorm, Sinks, SoftCap, Temperature
from antiphon.nn.rules.turns import RotaryPositions

__all__ = [
    "Alibi",
    "BlockLocal",
    "ComposedRule",
    "Cosine",
    "Full",
    "InverseD",
    "PrefixLM",
    "QKNorm",
    "Reach",
    "Relative",
    "RotaryPositions",
    "ScoreRule",
    "Shaw",
    "Sinks",
    "SoftCap",
    "TermTable",
    "Temperature",
    "Window",
    "for_layer",
    "hide",
    "hide_shared",
    "name_of",
    "parts_of",
    "score_after",
    "shared_parts",
]
