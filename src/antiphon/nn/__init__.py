"""The parts of a network that mix tokens: score rules and mixers (base classes of your own), positions, caches, layers.

from antiphon.nn import Mixer, ScoreRule
"""

from __future__ import annotations

from antiphon.nn.attend import attend, logits, plan, weigh
from antiphon.nn.attention import Attention
from antiphon.nn.cache import DecoderState, KeyValueCache, MemoryState, State
from antiphon.nn.mixers import Additive, Memory, Mixer
from antiphon.nn.noise import Dropout, Noise
from antiphon.nn.positions import Learned, NoPositions, Rotary, Sinusoidal
from antiphon.nn.rules import Alibi, Full, Relative, ScoreRule, Window

__all__ = [
    "Additive",
    "Alibi",
    "Attention",
    "DecoderState",
    "Dropout",
    "Full",
    "KeyValueCache",
    "Learned",
    "Memory",
    "MemoryState",
    "Mixer",
    "NoPositions",
    "Noise",
    "Relative",
    "Rotary",
    "ScoreRule",
    "Sinusoidal",
    "State",
    "Window",
    "attend",
    "logits",
    "plan",
    "weigh",
]
