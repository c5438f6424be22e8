"""The layers of a network: score rules and mixers (with base classes for your own), positions, caches and loss.

from antiphon.nn import Mixer, ScoreRule
"""

from __future__ import annotations

from antiphon.nn.attend import attend, logits, plan, weigh
from antiphon.nn.attention import Attention
from antiphon.nn.cache import KeyValueCache
from antiphon.nn.convolutions import Convolutions
from antiphon.nn.embedding import Embedding
from antiphon.nn.loss import CrossEntropy
from antiphon.nn.mixers import (
    Additive,
    Delta,
    Differential,
    FunctionAttention,
    HeadMixer,
    LinearAttention,
    Memory,
    Mixer,
    Recurrence,
    RecurrenceInputs,
    ScorerAttention,
    Sigmoid,
    TorchAttention,
    WeightMixer,
)
from antiphon.nn.mixers.merged import Merged
from antiphon.nn.noise import Dropout, Noise
from antiphon.nn.positions import Fixed, Learned, NoPositions, Rotary, Sinusoidal
from antiphon.nn.rules import (
    Alibi,
    BlockLocal,
    Cosine,
    Full,
    InverseD,
    PrefixLM,
    QKNorm,
    Relative,
    RotaryPositions,
    ScoreRule,
    Shaw,
    Sinks,
    SoftCap,
    Temperature,
    Window,
)
from antiphon.nn.state import DecoderState, MemoryState, State

__all__ = [
    "Additive",
    "Alibi",
    "Attention",
    "BlockLocal",
    "Convolutions",
    "Cosine",
    "CrossEntropy",
    "DecoderState",
    "Delta",
    "Differential",
    "Dropout",
    "Embedding",
    "Fixed",
    "Full",
    "FunctionAttention",
    "HeadMixer",
    "InverseD",
    "KeyValueCache",
    "Learned",
    "LinearAttention",
    "Memory",
    "MemoryState",
    "Merged",
    "Mixer",
    "NoPositions",
    "Noise",
    "PrefixLM",
    "QKNorm",
    "Recurrence",
    "Relative",
    "Rotary",
    "RotaryPositions",
    "ScoreRule",
    "ScorerAttention",
    "Shaw",
    "Sigmoid",
    "Sinks",
    "Sinusoidal",
    "SoftCap",
    "State",
    "Temperature",
    "TorchAttention",
    "WeightMixer",
    "Window",
    "RecurrenceInputs",
    "attend",
    "logits",
    "plan",
    "weigh",
]
