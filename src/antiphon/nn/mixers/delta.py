"""The gated delta rule: a memory that is corrected by what is new in a value, and that fades as the token says."""

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

    αₜ in (0, 1) is how much lasts, exp(-exp(rate) softplus(a·x + shift)), and βₜ in (0, 1) how much is corrected, a
    sigmoid, one a head of keys; queries and keys have length one. `gated: false` is the plain rule, αₜ = 1. Of the
    paper's block, the short convolutions and the output gate are left out.

    A decoder reads from left to right. An encoder reads in both directions with the same weights, and `o` takes both
    results side by side, as in Bahdanau et al. 2015, section 3.2. In a cross role the source is read in both directions
    once, and each query reads the two memories that this leaves.
    """

    chunk_tokens = 32

    def __init__(self, *, gated: bool = True) -> None:
        super().__init__()
        self.gated = gated

    def make(self, *, d_model: int, bias: bool) -> None:
        self.beta = nn.Linear(d_model, self.groups, bias=bias)
        if self.gated:
            self.alpha = nn.Linear(d_model, self.groups, bias=False)
            # As Mamba-2 begins (Dao and Gu 2024): steps between 0.001 and 0.1, rates between 1 and 16.
            step = torch.exp(torch.rand(self.groups) * math.log(100) + math.log(0.001))
            self.shift = nn.Parameter(torch.log(torch.expm1(step)))
            self.rate = nn.Parameter(torch.log(1 + 15 * torch.rand(self.groups)))
        if self.role != "decoder":
            self.o = nn.Linear(2 * self.num_heads * self.head_dim, d_model, bias=bias)
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-6)

    def queries(self, x: Tensor) -> Tensor:
        # What the first tokens of a row read is their q·k times a vector, of which the norm keeps the sign: a q·k near
        # zero must not be rounded across it, so q and k are not rounded to a short type at all.
        return _unit(self.wide_heads(x, self.q)[0])

    def writes(self, x: Tensor) -> RecurrenceInputs:
        k, v = self.wide_heads(x, self.k, self.v)
        beta = wide(self.beta(x)).sigmoid().mT  # (B, L, G) -> (B, G, L)
        if not self.gated:
            return RecurrenceInputs(_unit(k), v, beta, torch.zeros_like(beta[:1, :1]))
        steps = functional.softplus(wide(self.alpha(x)) + wide(self.shift))
        return RecurrenceInputs(_unit(k), v, beta, (-wide(self.rate).exp() * steps).mT)

    def written(self, writes: RecurrenceInputs, lasting: Tensor, entering: Tensor, memory: Tensor) -> Tensor:
        # u_i = β_i (v_i - what k_i reads), and it reads what earlier tokens of the chunk wrote: a triangular system.
        assert writes.rate is not None
        k, rate = writes.k, writes.rate[..., None]
        new = rate * (writes.v - entering * (k @ memory))
        return torch.linalg.solve_triangular(rate * lasting * (k @ k.mT), new, upper=False, unitriangular=True)

    def mend(self, out: Tensor) -> Tensor:
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
