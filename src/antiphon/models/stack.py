"""The two stacks of an encoder-decoder Transformer (Vaswani et al. 2017, figure 1), from plain arguments.

A stack has one mixer in each layer, so that layers and roles may have different attention. The stack owns the
parameters of rules that its layers share. Shapes: N sources, W hypotheses of each, S source and L target positions, D
features.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from antiphon.batch import Tokens
from antiphon.errors import ConfigError
from antiphon.models.attentions import build_rule
from antiphon.nn.attention import Attention
from antiphon.nn.layers import ACTIVATIONS, FeedForward, initialize, norm, zero_padding
from antiphon.nn.mixers import Memory, Mixer
from antiphon.nn.mixers.merged import Merged
from antiphon.nn.noise import Dropout, LayerDrop, Noise, check_probability
from antiphon.nn.rules import ScoreRule, for_layer, parts_of, shared_parts
from antiphon.nn.state import DecoderState, MemoryState, State
from antiphon.registry import nearest
from antiphon.settings import show


@dataclass(frozen=True, slots=True)
class Shape:
    """The settings of the layers of a stack; probabilities are in [0, 1).

    `ffn_bias`: whether feed-forward layers have biases; None: `bias`. `norm_bias`: whether layer norms have one.
    `final_norm`: whether there is a norm after the last layer; None: unless `norm_placement` is post.
    `head_dim` 0 is d_model / num_heads, `ffn_dim` 0 is 4 · d_model (Vaswani et al. 2017, section 3.3).
    """

    d_model: int
    num_heads: int
    head_dim: int = 0
    ffn_dim: int = 0
    activation: str = "relu"
    norm: str = "layer"
    norm_eps: float | None = None
    norm_placement: str = "pre"
    final_norm: bool | None = None
    bias: bool = True
    ffn_bias: bool | None = None
    norm_bias: bool = True
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    layer_drop: float = 0.0

    def __post_init__(self) -> None:
        known = {"activation": ACTIVATIONS, "norm": ("layer", "rms"), "norm_placement": ("pre", "post", "sandwich")}
        for name, values in known.items():
            if getattr(self, name) not in values:
                hint = nearest(str(getattr(self, name)), values) or "."
                raise ConfigError(
                    f"`{name}` must be one of {', '.join(values)}, but is {show(getattr(self, name))}{hint}"
                )
        for name, least in (("d_model", 1), ("num_heads", 1), ("head_dim", 0), ("ffn_dim", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ConfigError(f"`{name}` must be a whole number of at least {least}, but is {show(value)}.")
        for name in ("dropout", "attention_dropout", "activation_dropout", "layer_drop"):
            check_probability(getattr(self, name), f"`{name}`")
        if not self.head_dim and self.d_model % self.num_heads:
            raise ConfigError(
                f"`d_model` must be a multiple of `num_heads` ({self.num_heads}), but is {self.d_model}. Change it, or "
                "give `head_dim`."
            )
        object.__setattr__(self, "head_dim", self.head_dim or self.d_model // self.num_heads)
        object.__setattr__(self, "ffn_dim", self.ffn_dim or 4 * self.d_model)


class Residual(nn.Module):
    """The norm, dropout and sum around a block.

    `pre` is x + f(norm(x)) (Xiong et al. 2020), `post` is norm(x + f(x)) (Vaswani et al. 2017), and `sandwich` is
    x + after(f(norm(x))) (Ding et al. 2021, CogView, "Sandwich-LN"; Gemma Team 2024, Gemma 2, section 2).
    """

    def __init__(self, shape: Shape, noise: Noise) -> None:
        super().__init__()
        self.norm = _norm(shape)
        self.drop = Dropout(shape.dropout, noise)
        self.pre = shape.norm_placement != "post"
        sandwich = shape.norm_placement == "sandwich"
        self.after = _norm(shape) if sandwich else nn.Identity()

    def enter(self, x: Tensor) -> Tensor:
        """The input of the block."""
        return self.norm(x) if self.pre else x

    def leave(self, x: Tensor, y: Tensor) -> Tensor:
        """The output, from the residual stream x and the block's output y."""
        total = x + self.drop(self.after(y))
        return total if self.pre else self.norm(total)


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network."""

    def __init__(self, mixer: Mixer, shape: Shape, noise: Noise) -> None:
        super().__init__()
        self.mixer = mixer
        self.mixer_residual, self.ffn_residual = Residual(shape, noise), Residual(shape, noise)
        self.ffn = _feed_forward(shape, noise)
        self.skip = LayerDrop(shape.layer_drop, noise)

    def forward(self, x: Tensor, tokens: Tokens) -> Tensor:
        """x (N, S, D) -> (N, S, D)"""
        if self.skip.dropped():
            return x
        mixed, _ = self.mixer(self.mixer_residual.enter(x), tokens, None)
        x = self.mixer_residual.leave(x, mixed)
        return self.ffn_residual.leave(x, self.ffn(self.ffn_residual.enter(x)))


class DecoderLayer(nn.Module):
    """Causal self-attention, attention over the memory, and a feed-forward network; `Merged` attention over the memory
    is part of the self-attention."""

    def __init__(self, mixer: Mixer, cross: Mixer, shape: Shape, noise: Noise) -> None:
        super().__init__()
        self.mixer, self.cross = mixer, cross
        self.mixer_residual = Residual(shape, noise)
        if isinstance(cross, Merged):
            cross.join(mixer)
        else:
            self.cross_residual = Residual(shape, noise)
        self.ffn_residual = Residual(shape, noise)
        self.ffn = _feed_forward(shape, noise)
        self.skip = LayerDrop(shape.layer_drop, noise)

    def forward(
        self, x: Tensor, tokens: Tokens, folded: Tokens, state: State | None, memory: State | Memory
    ) -> tuple[Tensor, State | None]:
        """x (N·W, L, D) -> the same; `folded` are the tokens of all hypotheses of a source in one row (N or 1, W·L).

        `memory` is the encoder's output, of which this layer computes its keys: all weights of a layer are used within
        its forward, as FSDP needs. In decoding it is the state with these keys.
        """
        if self.skip.dropped():
            return x, state
        if isinstance(memory, Memory):
            memory = self.cross.begin(x.shape[0], 0, memory)
        if isinstance(self.cross, Merged):
            assert isinstance(memory, MemoryState)
            mixed, state = self.cross.with_own(self.mixer_residual.enter(x), tokens, folded, state, memory)
            x = self.mixer_residual.leave(x, mixed)
            return self.ffn_residual.leave(x, self.ffn(self.ffn_residual.enter(x))), state
        mixed, state = self.mixer(self.mixer_residual.enter(x), tokens, state)
        x = self.mixer_residual.leave(x, mixed)
        queries = self.cross_residual.enter(x)
        width = folded.pos.shape[1] // tokens.pos.shape[1]
        # (N·W, L, D) -> (N, W·L, D): the keys of a source are read once for all its hypotheses.
        read, _ = self.cross(queries.reshape(-1, width * queries.shape[1], queries.shape[2]), folded, memory)
        x = self.cross_residual.leave(x, read.reshape(x.shape))
        return self.ffn_residual.leave(x, self.ffn(self.ffn_residual.enter(x))), state


def again(layer: Callable[..., Tensor], noise: Noise, *inputs: Tensor) -> Tensor:
    """Activation checkpointing: compute `layer(*inputs)`, and recompute it with the same random bits for the gradient
    (Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost).

    The layer must not store anything in a shared memo: the second computation would find it there.
    """
    key, rows = noise.key, noise.rows

    def run(*values: Tensor) -> Tensor:
        with noise.held(key, rows):
            return layer(*values)

    return cast(Tensor, checkpoint(run, *inputs, use_reentrant=False))


class Encoder(nn.Module):
    """Encoder layers, one for each of `attentions`, with fresh weights.

        Encoder(["full"] * 6, shape=shape), Encoder([Fade(), {"window": 64}], shape=shape)

    An attention is a mixer or an argument of `build_rule`: a rule, a class, a function, a name. Layers with the same
    entry share the weights of its rule. `checkpoint`: recompute the layers for the gradient in training. `noise` None:
    that of the network. `project_to`: a linear layer after the last norm brings the memory to this width, as in
    transformers' VisionEncoderDecoderModel; None: there is none.
    """

    checkpoint = False

    def __init__(
        self,
        attentions: Sequence[object],
        *,
        shape: Shape,
        noise: Noise | None = None,
        project_to: int | None = None,
    ) -> None:
        super().__init__()
        mixers = as_mixers(attentions)
        noise = noise or Noise()
        self.noise, self.shape = noise, shape
        self.rules = equip(mixers, role="encoder", shape=shape, noise=noise)
        self.layers = nn.ModuleList(EncoderLayer(mixer, shape, noise) for mixer in mixers)
        self.final = _final_norm(shape)
        self.memory_width = project_to or shape.d_model
        self.project = nn.Identity() if project_to is None else nn.Linear(shape.d_model, project_to)
        self.apply(initialize)

    def forward(self, x: Tensor, tokens: Tokens) -> Memory:
        """x (N, S, D), zero at padding, -> the memory (N, S, `memory_width`), also zero at padding."""
        tokens = tokens.fresh()
        twice = self.checkpoint and self.training and torch.is_grad_enabled()
        for layer in self.layers:
            if twice:
                x = again(lambda x, layer=layer: layer(x, tokens.fresh()), self.noise, x)
            else:
                x = layer(x, tokens)
        return Memory(zero_padding(self.project(self.final(x)), tokens.valid), tokens)


class Decoder(nn.Module):
    """Decoder layers, one for each pair of `attentions` (causal) and `crosses` (over the memory), with new weights;
    otherwise as `Encoder`."""

    checkpoint = False

    def __init__(
        self, attentions: Sequence[object], crosses: Sequence[object], *, shape: Shape, noise: Noise | None = None
    ) -> None:
        super().__init__()
        mixers = as_mixers(attentions)
        crosses = as_mixers(crosses, beside=mixers)
        if len(mixers) != len(crosses):
            raise ConfigError(
                f"a decoder must have one cross-attention a layer, as many as self-attentions ({len(mixers)}), but has "
                f"{len(crosses)}."
            )
        noise = noise or Noise()
        self.noise, self.shape = noise, shape
        self.memory_width = next((mixer.memory_width for mixer in crosses if mixer.memory_width), shape.d_model)
        self.rules = equip(mixers, role="decoder", shape=shape, noise=noise)
        self.cross_rules = equip(crosses, role="cross", shape=shape, noise=noise)
        pairs = zip(mixers, crosses, strict=True)
        self.layers = nn.ModuleList(DecoderLayer(mixer, cross, shape, noise) for mixer, cross in pairs)
        self.final = _final_norm(shape)
        self.apply(initialize)

    def begin(self, memory: Memory, *, width: int, capacity: int) -> DecoderState:
        """The state of `width` hypotheses for each row of the memory, with space for `capacity` tokens."""
        rows = memory.hidden.shape[0]
        pairs = [
            (layer.mixer.begin(rows * width, capacity), layer.cross.begin(rows, capacity, memory))
            for layer in _decoder_layers(self.layers)
        ]
        return DecoderState(pairs, width=width)

    def forward(
        self, x: Tensor, tokens: Tokens, memory: Memory, state: DecoderState | None
    ) -> tuple[Tensor, DecoderState | None]:
        """Decode x (N·W, L, D). Without a state, x are whole sequences, one for each row of the memory."""
        tokens = tokens.fresh()
        folded = tokens if state is None else fold(tokens, state.width)
        twice = self.checkpoint and self.training and torch.is_grad_enabled()
        for i, layer in enumerate(_decoder_layers(self.layers)):
            if state is None and twice:
                whole = partial(_whole, layer, tokens, memory.tokens)
                x = again(whole, self.noise, x, memory.hidden)
            elif state is None:
                x, _ = layer(x, tokens, folded, None, memory)
            else:
                own, cross = state.layers[i]
                x, _ = layer(x, tokens, folded, own, cross)
        return self.final(x), state


def _whole(layer: DecoderLayer, tokens: Tokens, read: Tokens, x: Tensor, hidden: Tensor) -> Tensor:
    """A decoder layer on whole rows, without a shared memo. `read`: the tokens of the memory `hidden`."""
    tokens = tokens.fresh()
    return layer(x, tokens, tokens, None, Memory(hidden, read))[0]


def _decoder_layers(layers: nn.ModuleList) -> Iterable[DecoderLayer]:
    """The layers, with their static type."""
    return cast("Iterable[DecoderLayer]", layers)


def fold(tokens: Tokens, width: int) -> Tokens:
    """Fold tokens (N·W or 1, L) to rows of all hypotheses of a source, (N or 1, W·L)."""
    if width == 1:
        return tokens

    def join(value: Tensor | None) -> Tensor | None:
        if value is None:
            return None
        return value.repeat(1, width) if value.shape[0] == 1 else value.reshape(-1, width * value.shape[1])

    pos = join(tokens.pos)
    assert pos is not None
    return Tokens(pos, join(tokens.segment), join(tokens.prefix))


def equip(mixers: Sequence[Mixer], *, role: str, shape: Shape, noise: Noise) -> nn.ModuleList:
    """Create the parameters of `mixers` for `role`. Returns the rules that layers share, which the stack owns.

    Whole rules come first, then the shared parts of rules that also have parameters in each layer.
    """
    whole: dict[int, ScoreRule] = {}
    within: dict[int, ScoreRule] = {}
    seen: set[int] = set()
    for mixer in mixers:
        mixer.setup(
            d_model=shape.d_model,
            num_heads=shape.num_heads,
            head_dim=shape.head_dim,
            role=role,
            bias=shape.bias,
            dropout=shape.attention_dropout,
            noise=noise,
        )
        if not isinstance(mixer, Attention):
            continue
        for part in parts_of(mixer.rule):
            if id(part) not in seen:
                if "role" in vars(part):
                    raise ConfigError(
                        f"a rule must be part of one stack, but this {type(part).__name__} is part of the {part.role} "
                        "of another stack. Make a new one."
                    )
                seen.add(id(part))
                part.role = role
                part.setup(num_heads=shape.num_heads, head_dim=shape.head_dim, role=role)
        for rule in shared_parts(mixer.rule):
            (whole if rule is mixer.rule else within).setdefault(id(rule), rule)
        mixer.borrow()
    return nn.ModuleList([*whole.values(), *within.values()])


def as_mixers(attentions: Sequence[object], *, beside: Sequence[Mixer] = ()) -> list[Mixer]:
    """A mixer for each layer. A mixer that is given twice, or is in `beside`, is copied. ConfigError for an entry that
    is not an attention, or a mixer of another stack."""
    if isinstance(attentions, str | Mixer | ScoreRule) or not isinstance(attentions, Sequence):
        raise ConfigError(f"a stack must be given a list of attentions, one a layer, but is given {show(attentions)}.")
    mixers: list[Mixer] = []
    built: dict[object, ScoreRule | Mixer] = {}
    for entry in attentions:
        if isinstance(entry, Mixer) and "role" in vars(entry):
            raise ConfigError(
                f"a mixer must stand in one layer, but this {type(entry).__name__} is part of the "
                f"{vars(entry)['role']} of another stack. Make a new one."
            )
        if isinstance(entry, Mixer):
            mixers.append(copy.deepcopy(entry) if any(entry is other for other in (*beside, *mixers)) else entry)
            continue
        key = repr(entry) if isinstance(entry, str | Mapping) else id(entry)
        part = built[key] = built.get(key) or build_rule(entry)
        mixers.append(Attention(for_layer(part)) if isinstance(part, ScoreRule) else copy.deepcopy(part))
    return mixers


def _feed_forward(shape: Shape, noise: Noise) -> FeedForward:
    return FeedForward(
        shape.d_model,
        shape.ffn_dim,
        activation=shape.activation,
        bias=shape.bias if shape.ffn_bias is None else shape.ffn_bias,
        dropout=shape.activation_dropout,
        noise=noise,
    )


def _norm(shape: Shape) -> nn.Module:
    return norm(shape.norm, shape.d_model, eps=shape.norm_eps, bias=shape.norm_bias)


def _final_norm(shape: Shape) -> nn.Module:
    """The norm after the last layer. Post-norm layers need none, but have one if the shape requires it, as in
    `torch.nn.Transformer`."""
    wanted = shape.norm_placement != "post" if shape.final_norm is None else shape.final_norm
    return _norm(shape) if wanted else nn.Identity()


def count_parameters(module: nn.Module) -> int:
    """The number of trained parameters; shared ones are counted once."""
    return sum(parameter.numel() for parameter in module.parameters())
