"""Dot-product attention as a mixer: projections, positions, cache and one call of `attend`, in every role."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from antiphon.batch import Tokens
from antiphon.errors import AttentionError
from antiphon.nn.attend import Dropping, attend, choose_or_fall_back
from antiphon.nn.layers import type_of
from antiphon.nn.mixers import QueryKeyMixer
from antiphon.nn.positions import ROTARY_BASE, Rotary
from antiphon.nn.rules import ScoreRule, hide, hide_shared, name_of
from antiphon.nn.scores import Scores


class Attention(QueryKeyMixer):
    """Multi-head attention (Vaswani et al. 2017, section 3.2.2) under a score rule, with grouped keys and rotary
    positions as options.

    `scale` multiplies q·k; None is head_dim ** -0.5, the paper's. `rotary_base` and `rotary_width` are those of
    `Rotary`; `backend` is `auto` or a name in `BACKENDS`. `key_bias`: whether the key projection has a bias if the
    others do; softmax cancels it. `qkv_bias`: whether q, k and v have a bias if the output projection does.
    """

    takes = ("num_kv_heads", "attention_scale", "attention_dropout", "rotary", "memory_width")

    def __init__(
        self,
        rule: ScoreRule,
        *,
        num_kv_heads: int | None = None,
        rotary: bool = False,
        rotary_base: float = ROTARY_BASE,
        rotary_width: int | None = None,
        scale: float | None = None,
        backend: str = "auto",
        key_bias: bool = True,
        qkv_bias: bool = True,
    ) -> None:
        super().__init__()
        self.key_bias, self.qkv_bias = key_bias, qkv_bias
        self.rule, self.num_kv_heads, self.scale, self.backend = rule, num_kv_heads, scale, backend
        self.wants_rotary, self.rotary_base, self.rotary_width = rotary, rotary_base, rotary_width

    def make(self, *, d_model: int, bias: bool) -> None:
        # With rotary positions in cross-attention, target positions would be compared with source positions.
        rotary = self.wants_rotary and self.role != "cross"
        self.rotary = Rotary(self.head_dim, base=self.rotary_base, width=self.rotary_width) if rotary else None
        self.scale = self.head_dim**-0.5 if self.scale is None else self.scale

    @property
    def score_rule(self) -> ScoreRule:
        return self.rule

    def queries(self, q: Tensor, tokens: Tokens) -> Tensor:
        return self.rotated(self.prepared(self.rule.prepare_q, q, tokens), tokens)

    def keys(self, k: Tensor, tokens: Tokens) -> Tensor:
        return self.rotated(self.prepared(self.rule.prepare_k, k, tokens), tokens)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, scores: Scores, record: list[Tensor] | None) -> Tensor:
        assert self.scale is not None
        dropout = self.dropping()
        return attend(q, k, v, scores, scale=self.scale, dropout=dropout, backend=self.backend, record=record)

    def prepared(self, hook: Callable[[Tensor, Tensor], Tensor], x: Tensor, tokens: Tokens) -> Tensor:
        """Apply a hook of the rule to x (B, H, L, D). The rule computes in float32; the result has the type of x."""
        found = hook(x, tokens.pos[:, None, :, None])
        if not isinstance(found, Tensor) or found.shape != x.shape:
            gave = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise AttentionError(
                f"`{hook.__name__}` of {name_of(self.rule)} must give the shape it was given, {tuple(x.shape)}, "
                f"but gave {gave}."
            )
        return found.to(x.dtype)

    def borrow(self) -> None:
        """Let the stack own the parameters of the rule that its layers share."""
        if self.rule.per_layer:
            hide_shared(self.rule)
        else:
            hide(self, "rule")

    def dropping(self) -> Dropping | None:
        """The attention dropout; None in evaluation or with probability 0."""
        return self.drop if self.training and self.drop.p > 0 else None

    def backend_for(self, length: int, *, learns: bool = True) -> str:
        """The back end for whole rows of `length` tokens, in training or (`learns` False) without gradients."""
        keys = length + (self.role == "cross")  # else the keys would count as the same tokens as the queries
        weight = type_of(self.q)
        q, k = (
            torch.empty((), dtype=weight.dtype, device=weight.device, requires_grad=learns).expand(1, heads, size, 1)
            for heads, size in ((self.num_heads, length), (self.groups, keys))
        )
        places = [Tokens(torch.arange(size, device=weight.device)[None]) for size in (length, keys)]
        own = places[0] if self.role != "cross" else places[1]
        scores = Scores(self.rule, places[0], own, causal=self.role == "decoder", num_heads=self.num_heads)
        dropout = self.drop if learns and self.drop.p > 0 else None
        return choose_or_fall_back(self.backend, q, k, scores, dropout=dropout)[0]


def describe_backends(network: nn.Module, *, longest: int) -> str:
    """One line that names the back end of each role in training, by length; "" if no layer has dot-product attention.

    For example "eager, sdpa from 256 tokens (encoder, decoder, cross)".
    """
    roles: dict[str, list[str]] = {}
    for module in network.modules():
        if isinstance(module, Attention):
            found = roles.setdefault(_by_length(module, longest), [])
            found += [] if module.role in found else [module.role]
    return "; ".join(f"{text} ({', '.join(found)})" for text, found in roles.items())


def _by_length(attention: Attention, longest: int) -> str:
    steps: list[str] = []
    before, length = "", 16
    while length <= max(16, longest):
        name = attention.backend_for(length)
        if name != before:
            steps.append(f"{name} from {length} tokens" if steps else name)
        before, length = name, 2 * length
    return ", ".join(steps)
