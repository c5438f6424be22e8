"""The subject of a check: a rule or a mixer, in small units and networks in float64 in which laws run it.

    subject = Subject(Alibi())
    for unit in subject.units("decoder"):             # as in a layer; again with grouped keys and rotary positions
        y = unit(draw(2, 5, D_MODEL), ordered(5))     # (2, 5, D_MODEL)

Shapes: R rows, N sources with W rows each, L target positions, S positions of the memory.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.batch import Tokens
from antiphon.config import ROLES, AttentionConfig, ModelConfig
from antiphon.errors import ConfigError
from antiphon.models.build import build_network
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import Shape, equip, fold
from antiphon.nn.attention import Attention
from antiphon.nn.layers import initialize, zero_padding
from antiphon.nn.mixers import Memory, Mixer
from antiphon.nn.mixers.merged import Merged
from antiphon.nn.noise import Noise, number_sites
from antiphon.nn.rules import Full, ScoreRule, parts_of
from antiphon.nn.state import DecoderState, MemoryState, State

D_MODEL, HEADS, HEAD_DIM = 16, 4, 4
GROUPS = 2  # key heads with grouped keys
CPU = torch.device("cpu")


class AttentionUnit(nn.Module):
    """One attention in one role, with the parameters that a stack would make, in evaluation mode. Parameters are
    perturbed, since initial zeros would hide errors."""

    def __init__(
        self, mixer: Mixer, *, role: str, label: str = "", dropout: float = 0.0, dtype: torch.dtype = torch.float64
    ) -> None:
        super().__init__()
        self.role, self.label, self.noise = role, label, Noise()
        shape = Shape(D_MODEL, HEADS, HEAD_DIM, D_MODEL, attention_dropout=dropout)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.rules = equip([mixer], role=role, shape=shape, noise=self.noise)
            self.mixer = mixer
            self.apply(initialize)
            with torch.no_grad():  # a parameter that is zero would hide its effect
                for parameter in self.parameters():
                    parameter.add_(0.2 * torch.randn_like(parameter))
        number_sites(self)
        self.to(dtype).eval()

    def forward(self, x: Tensor, tokens: Tokens, memory: Memory | None = None) -> Tensor:
        """Run whole rows x (R, L, D); in a cross role over `memory`, with a row for each."""
        state = None if memory is None else self.mixer.begin(x.shape[0], 0, memory)
        return self.mixer(x, tokens.fresh(), state)[0]

    def begin(self, rows: int, capacity: int, memory: Memory | None = None, *, width: int = 1) -> DecoderState:
        """The state of `rows` hypotheses, `width` for each row of the memory."""
        if memory is None:
            return DecoderState([(self.mixer.begin(rows, capacity), State())], width=width)
        return DecoderState([(State(), self.mixer.begin(rows // width, capacity, memory))], width=width)

    def step(self, x: Tensor, tokens: Tokens, state: DecoderState) -> Tensor:
        """Run the next tokens x (N·W, L, D) with `state`; in a cross role the W rows of a source are folded into
        one."""
        (own, cross), tokens = state.layers[0], tokens.fresh()
        if self.role != "cross":
            return self.mixer(x, tokens, own)[0]
        folded = x.reshape(-1, state.width * x.shape[1], D_MODEL)  # (N·W, L, D) -> (N, W·L, D)
        return self.mixer(folded, fold(tokens, state.width), cross)[0].reshape(x.shape)

    def memory(self, *lengths: int, width: int | None = None) -> Memory | None:
        """A memory with rows of `lengths` for a cross role, else None; each row is a function of its index only."""
        if self.role != "cross":
            return None
        tokens = padded(*lengths, width=width)
        hidden = torch.zeros(len(lengths), tokens.pos.shape[1], D_MODEL, dtype=torch.float64)
        for row, length in enumerate(lengths):
            hidden[row, :length] = draw(length, D_MODEL, seed=100 + row)
        return Memory(zero_padding(hidden, tokens.valid), tokens)

    def parameters_by_name(self) -> dict[str, nn.Parameter]:
        """The parameters by the names in the user's class, those of a rule first."""
        return {name.removeprefix("mixer.").removeprefix("rules.0."): p for name, p in self.named_parameters()}


class MergedUnit(AttentionUnit):
    """Merged cross-attention with the self-attention that it is part of: a decoder's layer without the rest."""

    def __init__(
        self, merged: Merged, *, label: str = "", dropout: float = 0.0, dtype: torch.dtype = torch.float64
    ) -> None:
        own = Attention(Full(), num_kv_heads=merged.num_kv_heads, rotary=merged.rotary_positions)
        super().__init__(own, role="decoder", label=label, dropout=dropout, dtype=dtype)
        self.role = "cross"
        equip([merged], role="cross", shape=Shape(D_MODEL, HEADS, HEAD_DIM, D_MODEL), noise=self.noise)
        merged.join(own)
        self.merged = merged

    def forward(self, x: Tensor, tokens: Tokens, memory: Memory | None = None) -> Tensor:
        read, tokens = self.merged.begin(x.shape[0], 0, memory), tokens.fresh()
        assert isinstance(read, MemoryState)
        return self.merged.with_own(x, tokens, tokens, None, read)[0]

    def begin(self, rows: int, capacity: int, memory: Memory | None = None, *, width: int = 1) -> DecoderState:
        own, read = self.mixer.begin(rows, capacity), self.merged.begin(rows // width, capacity, memory)
        return DecoderState([(own, read)], width=width)

    def step(self, x: Tensor, tokens: Tokens, state: DecoderState) -> Tensor:
        (own, read), tokens = state.layers[0], tokens.fresh()
        assert isinstance(read, MemoryState)
        if tokens.pos.shape[0] > 1:  # rows may be at different positions
            state.expand_rows(tokens.pos.shape[0] // state.width)
        return self.merged.with_own(x, tokens, fold(tokens, state.width), own, read)[0]


class Subject:
    """A rule or mixer to check. Every use runs a copy."""

    def __init__(self, part: ScoreRule | Mixer) -> None:
        self.part = part = part if isinstance(part, ScoreRule) else _fitting(part)
        if isinstance(part, ScoreRule):
            self.name = f"the rule `{' & '.join(type(each).__name__ for each in parts_of(part))}`"
        else:
            self.name = part.called

    @property
    def is_rule(self) -> bool:
        """Whether it is a score rule."""
        return isinstance(self.part, ScoreRule)

    def unit(
        self, role: str, *, grouped: bool = False, dropout: float = 0.0, dtype: torch.dtype = torch.float64
    ) -> AttentionUnit:
        """A unit in one role; `grouped`: with grouped keys, and with rotary positions if supported."""
        part, label = copy.deepcopy(self.part), "grouped keys and rotary positions" if grouped else ""
        if isinstance(part, ScoreRule):
            part = Attention(part, num_kv_heads=GROUPS if grouped else None, rotary=grouped)
        elif grouped:
            part.num_kv_heads, part.rotary_positions = GROUPS, True
        if isinstance(part, Merged) and role == "cross":
            return MergedUnit(part, label=label, dropout=dropout, dtype=dtype)
        return AttentionUnit(part, role=role, label=label, dropout=dropout, dtype=dtype)

    def units(self, role: str) -> Iterator[AttentionUnit]:
        """The units of one role, in all supported variants."""
        yield self.unit(role)
        if isinstance(self.part, ScoreRule) or "num_kv_heads" in self.part.takes:
            yield self.unit(role, grouped=True)

    def rule(self, role: str) -> ScoreRule:
        """The rule with its parameters; Skip for a mixer."""
        attention = self.unit(role).mixer
        assert self.is_rule and isinstance(attention, Attention)
        return attention.rule

    def network(
        self,
        role: str,
        settings: Mapping[str, object] | None = None,
        *,
        seed: int = 0,
        vocabulary: int = 13,
        shared: bool = False,
    ) -> EncoderDecoder:
        """A tiny encoder-decoder with the subject in one role and full attention in the others, in evaluation mode."""
        model, attention, size = model_config(settings or {}), self.config(role), vocabulary
        network = build_network(model, attention, source_vocab=size, target_vocab=size, shared=shared, seed=seed)
        return network.double().eval()

    def config(self, role: str) -> AttentionConfig:
        """The attention of that network."""
        own: dict[str, Any] = {role: self.part}
        return AttentionConfig(**own)


def _fitting(mixer: Mixer) -> Mixer:
    """The mixer, or one of the same class with a module of the sizes used here."""
    for role in ROLES:
        try:
            AttentionUnit(copy.deepcopy(mixer), role=role)
        except ConfigError:
            return mixer.of_any_size()
        except Exception:
            return mixer  # another fault, which the first law reports
    return mixer


def model_config(settings: Mapping[str, object]) -> ModelConfig:
    """The settings of a tiny encoder-decoder, updated with those given."""
    base: dict[str, object] = {
        "preset": "tiny", "d_model": D_MODEL, "num_heads": HEADS, "ffn_dim": 24, "encoder_layers": 1,
        "decoder_layers": 1, "positions": "sinusoidal", "tie_embeddings": False, "dropout": 0.0, "max_length": 32,
    }  # fmt: skip
    return ModelConfig(**{**base, **settings})  # type: ignore[arg-type]


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Normally distributed numbers, the same at each call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ordered(length: int, start: int = 0) -> Tokens:
    """`length` real tokens, the same positions in all rows."""
    return Tokens(torch.arange(start, start + length)[None])


def padded(*lengths: int, width: int | None = None) -> Tokens:
    """Rows of `lengths` real tokens, padded on the right."""
    return Tokens.of_lengths(torch.tensor(lengths), width or max(lengths))


def placed(rows: Sequence[Sequence[int]]) -> Tokens:
    """Tokens with given positions, -1 at padding."""
    return Tokens(torch.tensor(rows))


def loosen(state: DecoderState, rows: int) -> DecoderState:
    """A fresh state whose rows may be at different positions, as in a batch that rows join and leave."""
    state.expand_rows(rows // state.width)
    return state


def known(role: str) -> str:
    """Return `role` if it is valid; else raise ConfigError."""
    if role not in ROLES:
        raise ConfigError(f"`role` must be one of {', '.join(ROLES)}, but is `{role}`.")
    return role
