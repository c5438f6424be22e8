"""Every mixer of the catalogue and one of a user's, small and random in float64, and what tests do with them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.nn.mixers import (
    Additive,
    Delta,
    Differential,
    HeadMixer,
    LinearAttention,
    Memory,
    Recurrence,
    Sigmoid,
    WeightMixer,
)
from antiphon.nn.noise import Noise
from antiphon.nn.state import State

WIDTH, HEADS, DIM = 12, 4, 4


class Distance(WeightMixer):
    """A mixer of a user's own, all of it."""

    def logits(self, q: Tensor, k: Tensor) -> Tensor:
        return -torch.cdist(q, k) * self.scale


MIXERS = {
    "additive": Additive,
    "additive mlp": lambda: Additive(scorer="mlp"),
    "linear": LinearAttention,
    "delta": Delta,
    "delta without gates": lambda: Delta(gated=False),
    "sigmoid": lambda: Sigmoid(bias=-1.5),
    "differential": Differential,
    "of a user": Distance,
}
RECURRENT = ["linear", "delta", "delta without gates"]
ROLES = ["encoder", "decoder", "cross"]
each = pytest.mark.parametrize("name", list(MIXERS))
each_recurrent = pytest.mark.parametrize("name", RECURRENT)


def make(name: str, role: str, *, groups: int | None = 2, chunk: int = 4, rotary: bool = False) -> HeadMixer:
    """In float64, each parameter random; recurrences are cut into chunks of `chunk` tokens."""
    torch.manual_seed(len(name))
    mixer = MIXERS[name]()
    mixer.num_kv_heads, mixer.rotary_positions = groups, rotary
    mixer.setup(d_model=WIDTH, num_heads=HEADS, head_dim=DIM, role=role, bias=True, dropout=0.0, noise=Noise())
    if isinstance(mixer, Recurrence):
        mixer.chunk_tokens = chunk
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.copy_(parameter + torch.randn_like(parameter) * 0.5)
    return mixer.double()


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 7), dtype=torch.float64)


def row(length: int) -> Tokens:
    return Tokens(torch.arange(length)[None])


def run(mixer: HeadMixer, x: Tensor, tokens: Tokens, memory: Memory | None = None) -> Tensor:
    """Whole rows, as training computes them."""
    state = None if memory is None else mixer.begin(x.shape[0], 0, memory)
    return mixer(x, tokens.fresh(), state)[0]


def source(role: str, rows: int = 2, length: int = 6) -> Memory | None:
    return Memory(draw(rows, length, WIDTH, seed=3), row(length)) if role == "cross" else None


def leaves(state: State) -> list[Tensor]:
    return [*state.source.values(), *state.hypothesis.values()]


def same(found: Tensor, wanted: Tensor, *, most: float = 1e-12) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=most)
