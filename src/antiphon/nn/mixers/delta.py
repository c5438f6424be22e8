"""The gated delta rule: a recurrent memory that is corrected towards each new value and decays by a learned gate."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.batch import Tokens
from antiphon.nn.mixers.heads import normed, wide
from antiphon.nn.mixers.recurrence import Recurrence, RecurrenceInputs, flipped
from antiphon.registry import register


@register("attention", "delta")
class Delta(Recurrence):
    """Gated delta rule (Yang et al. 2025, Gated Delta Networks, eq. 10; the rule itself: Schlag et al. 2021, section
    4.2):

        M_t = αₜ (I - βₜ kₜ kₜᵀ) M_{t-1} + βₜ kₜ ⊗ vₜ          out_t = RMSNorm(qₜ · M_t)

    The decay αₜ in (0, 1) is exp(-exp(rate) softplus(a·x + shift)), the strength βₜ in (0, 1) of the update is a
    sigmoid, each with one value a key head. Queries and keys are normalized to length one. `gated: false` is the plain
    rule, αₜ = 1. The short convolutions and the output gate of the paper's block are left out.

    A decoder runs from left to right. An encoder runs in both directions with the same weights, and `o` projects the
    concatenated results, as in Bahdanau et al. 2015, section 3.2. Cross-attention runs over the source in both
    directions once; each query reads the two final memories.
    """

    chunk_tokens = 32

    def __init__(self, *, gated: bool = True) -> None:
        super().__init__()
        self.gated = gated

    def make(self, *, d_model: int, bias: bool) -> None:
        self.beta = nn.Linear(d_model, self.groups, bias=bias)
        if self.gated:
            self.alpha = nn.Linear(d_model, self.groups, bias=False)
            # Initial values of Mamba-2 (Dao and Gu 2024): steps between 0.001 and 0.1, rates between 1 and 16.
            step = torch.exp(torch.rand(self.groups) * math.log(100) + math.log(0.001))
            self.shift = nn.Parameter(torch.log(torch.expm1(step)))
            self.rate = nn.Parameter(torch.log(1 + 15 * torch.rand(self.groups)))
        if self.role != "decoder":
            self.o = nn.Linear(2 * self.num_heads * self.head_dim, d_model, bias=bias)
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-6)

    def queries(self, x: Tensor) -> Tensor:
        # The first tokens of a row read q·k times a vector, and the norm keeps only the sign of q·k. A value near zero
        # must not change its sign by rounding, so q and k are not rounded to 16 bits.
        return _unit(self.wide_heads(x, self.q)[0])

    def writes(self, x: Tensor) -> RecurrenceInputs:
        k, v = self.wide_heads(x, self.k, self.v)
        beta = wide(self.beta(x)).sigmoid().mT  # (B, L, G) -> (B, G, L)
        if not self.gated:
            return RecurrenceInputs(_unit(k), v, beta, torch.zeros_like(beta[:1, :1]))
        steps = functional.softplus(wide(self.alpha(x)) + wide(self.shift))
        return RecurrenceInputs(_unit(k), v, beta, (-wide(self.rate).exp() * steps).mT)

    def updates(self, writes: RecurrenceInputs, lasting: Tensor, entering: Tensor, memory: Tensor) -> Tensor:
        # u_i = β_i (v_i - read(k_i)) depends on the u of earlier tokens of the chunk: a triangular system.
        assert writes.rate is not None
        k, rate = writes.k, writes.rate[..., None]
        new = rate * (writes.v - entering * (k @ memory))
        return torch.linalg.solve_triangular(rate * lasting * (k @ k.mT), new, upper=False, unitriangular=True)

    def normalize_output(self, out: Tensor) -> Tensor:
        return torch.cat([normed(self.norm, part) for part in out.split(self.head_dim, -1)], -1)

    def encode(self, q: Tensor, writes: RecurrenceInputs, tokens: Tokens) -> Tensor:
        writes, starts, memory = writes.only(tokens.valid), tokens.pos == 0, self.empty(q.shape[0])
        right, _ = self.scan(q, writes, starts, memory)
        left, _ = self.scan(q.flip(2), writes.flip(), flipped(starts), memory)
        return torch.cat([right, left.flip(2)], dim=-1)

    def summary(self, writes: RecurrenceInputs) -> Tensor:
        never, nobody = torch.zeros_like(writes.k[:1, 0, :, 0], dtype=torch.bool), writes.k[:, :0]
        memory = self.empty(writes.k.shape[0])
        ways = [self.scan(nobody, part, never, memory)[1] for part in (writes, writes.flip())]
        return torch.stack(ways, dim=1)


def _unit(x: Tensor) -> Tensor:
    return functional.normalize(x, dim=-1, eps=1e-6)
