"""Mixers: the base class and the catalogue of those that are no dot-product softmax attention."""

from __future__ import annotations

from antiphon.nn.mixers.additive import Additive
from antiphon.nn.mixers.mixer import Memory, Mixer, join_heads, split_heads

__all__ = ["Additive", "Memory", "Mixer", "join_heads", "split_heads"]
