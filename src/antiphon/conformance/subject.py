"""What is checked: a rule or a mixer, with what a law needs to run it, all small and in float64.

    subject = Subject(Alibi())
    for unit in subject.units("decoder"):             # as it stands in a layer; again with grouped keys and rotary
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
from antiphon.nn.noise import Noise, number_sites
from antiphon.nn.rules import ScoreRule, parts_of
from antiphon.nn.state import DecoderState, State

D_MODEL, HEADS, HEAD_DIM = 16, 4, 4
GROUPS = 2  # key heads where keys are shared
CPU = torch.device("cpu")


class AttentionUnit(nn.Module):
    """One attention in one role, with the parameters that a stack makes for it, moved away from their first values;
    in evaluation mode."""

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
            with torch.no_grad():  # a parameter that begins as zero would hide what it does
                for parameter in self.parameters():
                    parameter.add_(0.2 * torch.randn_like(parameter))
        number_sites(self)
        self.to(dtype).eval()

    def forward(self, x: Tensor, tokens: Tokens, memory: Memory | None = None) -> Tensor:
        """x (R, L, D) as whole rows; in a cross role over `memory`, one row each."""
        state = None if memory is None else self.mixer.begin(x.shape[0], 0, memory)
        return self.mixer(x, tokens.fresh(), state)[0]

    def begin(self, rows: int, capacity: int, memory: Memory | None = None, *, width: int = 1) -> DecoderState:
        """The state of `rows` hypotheses, `width` for each row of the memory."""
        if memory is None:
            return DecoderState([(self.mixer.begin(rows, capacity), State())], width=width)
        return DecoderState([(State(), self.mixer.begin(rows // width, capacity, memory))], width=width)

    def step(self, x: Tensor, tokens: Tokens, state: DecoderState) -> Tensor:
        """x (N·W, L, D), which follows what `state` has seen; a cross role gets the W rows of a source as one."""
        (own, cross), tokens = state.layers[0], tokens.fresh()
        if self.role != "cross":
            return self.mixer(x, tokens, own)[0]
        folded = x.reshape(-1, state.width * x.shape[1], D_MODEL)  # (N·W, L, D) -> (N, W·L, D)
        return self.mixer(folded, fold(tokens, state.width), cross)[0].reshape(x.shape)

    def memory(self, *lengths: int, width: int | None = None) -> Memory | None:
        """A memory of rows of `lengths`, each a function of its place alone, in a cross role."""
        if self.role != "cross":
            return None
        tokens = padded(*lengths, width=width)
        hidden = torch.zeros(len(lengths), tokens.pos.shape[1], D_MODEL, dtype=torch.float64)
        for row, length in enumerate(lengths):
            hidden[row, :length] = draw(length, D_MODEL, seed=100 + row)
        return Memory(zero_padding(hidden, tokens.valid), tokens)

    def parameters_by_name(self) -> dict[str, nn.Parameter]:
        """Its parameters, a rule's first, called as its author calls them."""
        return {name.removeprefix("mixer.").removeprefix("rules.0."): p for name, p in self.named_parameters()}


class Subject:
    """A rule or mixer that is checked. It is copied for each use and never run itself."""

    def __init__(self, part: ScoreRule | Mixer) -> None:
        self.part = part = part if isinstance(part, ScoreRule) else _fitting(part)
        if isinstance(part, ScoreRule):
            self.name = f"the rule `{' & '.join(type(each).__name__ for each in parts_of(part))}`"
        else:
            self.name = part.called

    @property
    def is_rule(self) -> bool:
        """Whether it is a rule of dot-product attention."""
        return isinstance(self.part, ScoreRule)

    def unit(
        self, role: str, *, grouped: bool = False, dropout: float = 0.0, dtype: torch.dtype = torch.float64
    ) -> AttentionUnit:
        """It in one role; `grouped`: with shared keys, and with rotary positions where it takes them."""
        part, label = copy.deepcopy(self.part), "grouped keys and rotary positions" if grouped else ""
        if isinstance(part, ScoreRule):
            part = Attention(part, num_kv_heads=GROUPS if grouped else None, rotary=grouped)
        elif grouped:
            part.num_kv_heads, part.rotary_positions = GROUPS, True
        return AttentionUnit(part, role=role, label=label, dropout=dropout, dtype=dtype)

    def units(self, role: str) -> Iterator[AttentionUnit]:
        """It in one role, in each of the forms that it has."""
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
        """A tiny encoder-decoder with it in one role and plain attention in the others, in evaluation mode."""
        model, attention, size = model_config(settings or {}), self.config(role), vocabulary
        network = build_network(model, attention, source_vocab=size, target_vocab=size, shared=shared, seed=seed)
        return network.double().eval()

    def config(self, role: str) -> AttentionConfig:
        """The attention of that network."""
        own: dict[str, Any] = {role: self.part}
        return AttentionConfig(**own)


def _fitting(mixer: Mixer) -> Mixer:
    """The mixer, or one of its kind where it was made of a module that is too large or small for what is small here."""
    for role in ROLES:
        try:
            AttentionUnit(copy.deepcopy(mixer), role=role)
        except ConfigError:
            return mixer.of_any_size()
        except Exception:
            return mixer  # a fault, which the first law will tell
    return mixer


def model_config(settings: Mapping[str, object]) -> ModelConfig:
    """The settings of a tiny encoder-decoder, but for those given."""
    base: dict[str, object] = {
        "preset": "tiny", "d_model": D_MODEL, "num_heads": HEADS, "ffn_dim": 24, "encoder_layers": 1,
        "decoder_layers": 1, "positions": "sinusoidal", "tie_embeddings": False, "dropout": 0.0, "max_length": 32,
    }  # fmt: skip
    return ModelConfig(**{**base, **settings})  # type: ignore[arg-type]


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers of a shape, the same ones at each call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ordered(length: int, start: int = 0) -> Tokens:
    """`length` real tokens, the same positions in all rows."""
    return Tokens(torch.arange(start, start + length)[None])


def padded(*lengths: int, width: int | None = None) -> Tokens:
    """Rows of `lengths` real tokens, padded on the right."""
    return Tokens.of_lengths(torch.tensor(lengths), width or max(lengths))


def placed(rows: Sequence[Sequence[int]]) -> Tokens:
    """Rows of positions as they stand, -1 at padding."""
    return Tokens(torch.tensor(rows))


def loosen(state: DecoderState, rows: int) -> DecoderState:
    """A fresh state whose rows may stand at different positions, as those of a batch do that rows join and leave."""
    state.spread(rows // state.width)
    return state


def known(role: str) -> str:
    """The role, if there is one of that name."""
    if role not in ROLES:
        raise ConfigError(f"`role` must be one of {', '.join(ROLES)}, but is `{role}`.")
    return role
