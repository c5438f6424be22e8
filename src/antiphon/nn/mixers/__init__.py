"""Mixers: the base classes, and the built-in mixers other than dot-product softmax attention."""

from __future__ import annotations

from antiphon.nn.mixers.additive import Additive
from antiphon.nn.mixers.delta import Delta
from antiphon.nn.mixers.differential import Differential
from antiphon.nn.mixers.function import FunctionAttention
from antiphon.nn.mixers.heads import HeadMixer, QueryKeyMixer, WeightMixer
from antiphon.nn.mixers.linear import LinearAttention
from antiphon.nn.mixers.mixer import Memory, Mixer, join_heads, split_heads
from antiphon.nn.mixers.recurrence import Recurrence, RecurrenceInputs
from antiphon.nn.mixers.scorer import ScorerAttention
from antiphon.nn.mixers.sigmoid import Sigmoid
from antiphon.nn.mixers.torch_multihead import TorchAttention

__all__ = [
    "Additive",
    "Delta",
    "Differential",
    "FunctionAttention",
    "HeadMixer",
    "LinearAttention",
    "Memory",
    "Mixer",
    "QueryKeyMixer",
    "Recurrence",
    "ScorerAttention",
    "Sigmoid",
    "TorchAttention",
    "WeightMixer",
    "RecurrenceInputs",
    "join_heads",
    "split_heads",
]
