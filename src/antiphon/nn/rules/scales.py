"""Score rules that scale or bound the logits, or change the sum of the weights.

Rules that depend on the queries and keys of a layer have parameters for each layer, as in the papers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from antiphon.nn.rules.rule import ScoreRule
from antiphon.nn.rules.settings import positive, truth, whole
from antiphon.registry import register

MAX_LOG_SCALE = math.log(100.0)  # Swin v2: temperatures are at least 0.01


def unit(x: Tensor, eps: float = 1e-6) -> Tensor:
    """x divided by the root mean square of its last dimension (Zhang and Sennrich 2019, eq. 4), in float32 or wider;
    finite and smooth at zero."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


@register("attention", "soft_cap")
class SoftCap(ScoreRule):
    """Logits bounded smoothly: cap · tanh(score / cap) (Gemma Team 2024, Gemma 2, section 2)."""

    def __init__(self, cap: float) -> None:
        super().__init__()
        self.cap = positive("cap", cap)

    def score(self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return self.cap * torch.tanh(score / self.cap)


@register("attention", "qk_norm")
class QKNorm(ScoreRule):
    """Key-query normalisation: q and k divided by their root mean square over head_dim, times learned scales, before
    rotary positions and the usual 1/sqrt(head_dim).

    Dehghani et al. 2023, ViT-22B, section 2 (there a layer norm, which also subtracts the mean), after Henry et al.
    2020 (there one learned number instead of 1/sqrt(head_dim) and all scales). The scales of q are by head, (H, D), or
    with `shared` the same for all heads, (1, D), as in Gemma 3 (Gemma Team 2025, section 2); those of k always are,
    since groups of queries may share a key. `eps` is added to the mean square.
    """

    additive, per_layer = True, True

    def __init__(self, *, shared: bool = False, eps: float = 1e-6) -> None:
        super().__init__()
        self.shared, self.eps = truth("shared", shared), positive("eps", eps)

    def setup(self, *, num_heads: int, head_dim: int, role: str) -> None:
        self.q_scale = nn.Parameter(torch.ones(1 if self.shared else num_heads, head_dim))
        self.k_scale = nn.Parameter(torch.ones(1, head_dim))

    def prepare_q(self, q: Tensor, pos: Tensor) -> Tensor:
        return unit(q, self.eps) * self.q_scale[:, None]

    def prepare_k(self, k: Tensor, pos: Tensor) -> Tensor:
        return unit(k, self.eps) * self.k_scale[:, None]


@register("attention", "temperature")
class Temperature(ScoreRule):
    """q·k divided by a temperature: a fixed `value`, or (None) one learned for each head from 1, as the exponential of
    a parameter and so positive (Hinton et al. 2015, eq. 1, for the softmax with a temperature)."""

    additive = True

    def __init__(self, value: float | None = None) -> None:
        super().__init__()
        self.value = None if value is None else positive("value", value)
        self.per_layer = value is None  # type: ignore[misc]

    def setup(self, *, num_heads: int, head_dim: int, role: str) -> None:
        if self.value is None:
            self.log_temperature = nn.Parameter(torch.zeros(num_heads))

    def prepare_q(self, q: Tensor, pos: Tensor) -> Tensor:
        return q / (self.log_temperature.exp()[:, None, None] if self.value is None else self.value)


@register("attention", "cosine")
class Cosine(ScoreRule):
    """The cosine of q and k times a learned scale for each head, from 10 and at most 100.

    Liu et al. 2022, Swin Transformer V2, eq. 2; bounds and start as in its code. It cancels the 1/sqrt(head_dim) that
    attention multiplies with; another `model.attention_scale` multiplies the cosine by itself times sqrt(head_dim).
    """

    additive, per_layer = True, True

    def setup(self, *, num_heads: int, head_dim: int, role: str) -> None:
        self.log_scale = nn.Parameter(torch.full((num_heads,), math.log(10.0)))

    def prepare_q(self, q: Tensor, pos: Tensor) -> Tensor:
        # Unit vectors have a product of head_dim times the cosine; attention multiplies with head_dim ** -0.5.
        return unit(q) * (self.log_scale.clamp(max=MAX_LOG_SCALE).exp() * q.shape[-1] ** -0.5)[:, None, None]

    def prepare_k(self, k: Tensor, pos: Tensor) -> Tensor:
        return unit(k)


@register("attention", "inverse_d")
class InverseD(ScoreRule):
    """q·k divided by head_dim instead of its root (Yang et al. 2022, Tensor Programs V, definition 4.1).

    It multiplies q with 1/sqrt(head_dim), attention with another; `model.attention_scale` must be left out.
    """

    additive = True

    def prepare_q(self, q: Tensor, pos: Tensor) -> Tensor:
        return q * q.shape[-1] ** -0.5


@register("attention", "sinks")
class Sinks(ScoreRule):
    """`count` learned logits a head without values that are added to the softmax, so that a head can attend to nothing.

    OpenAI 2025, gpt-oss model card (a learned bias in the denominator of the softmax). Their initial value
    is 0, for one the "zero sink" of Xiao et al. 2024, section 3.3. Several have the effect of one, their logsumexp.
    """

    additive, per_layer = True, True

    def __init__(self, count: int = 1) -> None:
        super().__init__()
        self.count = whole("count", count, least=1)

    def setup(self, *, num_heads: int, head_dim: int, role: str) -> None:
        self.logits = nn.Parameter(torch.zeros(num_heads, self.count))

    def extra(self) -> Tensor:
        return self.logits
