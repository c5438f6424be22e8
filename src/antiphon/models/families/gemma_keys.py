"""The config.json of a T5Gemma: the keys of the section of each side, and the layers that they describe.

entry_of([Layer(50.0, 4097), Layer(50.0, None)])    # [{all: [{soft_cap: 50.0}, {window: 4097}]}, {soft_cap: 50.0}]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, NamedTuple

from antiphon.models.families.family import Id, Keys, Layers, Size, Vocabulary, refuse_unless
from antiphon.settings import Positive, Range, Rate, Settings, require

SLIDING, WHOLE = "sliding_attention", "full_attention"
# Name in config.json -> activation of the model, and of the family if it has no name there.
ACTIVATIONS: dict[str, tuple[str, str | None]] = {
    "gelu_pytorch_tanh": ("geglu", "geglu_tanh"),
    "gelu": ("geglu", None),
    "silu": ("swiglu", None),
    "relu": ("geglu", "reglu"),
}


class Layer(NamedTuple):
    """The rules of one layer's attention: the cap of its scores and its window, None without one."""

    cap: float | None
    window: int | None

    def spec(self) -> object:
        """The entry of a recipe."""
        rules = [{name: value} for name, value in (("soft_cap", self.cap), ("window", self.window)) if value]
        return {"all": rules} if len(rules) == 2 else rules[0] if rules else "full"


def entry_of(layers: Sequence[Layer]) -> object:
    """An entry of a recipe's `attention` for `layers`: the shortest list that alternates."""
    return alternating([layer.spec() for layer in layers])


def alternating(specs: Sequence[object]) -> object:
    """The shortest entry whose list alternates over these layers; a single attention if all have one."""
    for period in range(1, len(specs)):
        if all(spec == specs[i % period] for i, spec in enumerate(specs)):
            specs = specs[:period]
            break
    return list(specs) if len(specs) > 1 else specs[0] if specs else "full"


def layers_of(entry: object, count: int, *, family: str) -> list[Layer]:
    """The inverse of `entry_of`; Inexpressible for other rules."""
    specs = entry if isinstance(entry, list) else [entry]
    return [_layer(specs[i % len(specs)], family) for i in range(count)]


def _layer(spec: object, family: str) -> Layer:
    if spec == "full":
        return Layer(None, None)
    rules = spec.get("all", [spec]) if isinstance(spec, dict) else [spec]
    found: dict[str, Any] = {}
    for rule in rules:
        pair = next(iter(rule.items())) if isinstance(rule, dict) and len(rule) == 1 else ("", None)
        known = pair[0] in ("soft_cap", "window") and isinstance(pair[1], int | float) and pair[0] not in found
        refuse_unless(
            known, family, f"no rules but one `soft_cap` and one `window`, each a number (one is {rule!r:.60})"
        )
        found[pair[0]] = pair[1]
    return Layer(found.get("soft_cap"), found.get("window"))


@dataclass(frozen=True, kw_only=True)
class RopeKeys(Settings):
    """The keys that are read of `rope_parameters`."""

    rope_type: Literal["default"] = "default"
    rope_theta: Positive = 10000.0


@dataclass(frozen=True, kw_only=True)
class StackKeys(Settings):
    """The keys that are read of the config of one side."""

    vocab_size: Vocabulary
    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Layers
    num_attention_heads: Size
    num_key_value_heads: Size
    head_dim: Annotated[int, Range(low=2, high=2**13)] = 256
    hidden_activation: str = "gelu_pytorch_tanh"
    max_position_embeddings: Annotated[int, Range(low=1, high=2**20)] = 8192
    rms_norm_eps: Annotated[float, Range(low=0, high=1, open_low=True)] = 1e-6
    rope_parameters: RopeKeys | None = None
    rope_theta: Positive | None = None
    attention_bias: bool = False
    query_pre_attn_scalar: Annotated[int, Range(low=1, high=2**20)] = 256
    sliding_window: Annotated[int, Range(low=1, high=2**20)] | None = 4096
    layer_types: tuple[Literal["sliding_attention", "full_attention"], ...] | None = None
    attn_logit_softcapping: Positive | None = 50.0
    final_logit_softcapping: Positive | None = 30.0
    pad_token_id: Id | None = 0
    bos_token_id: Id | None = 2
    eos_token_id: Id | tuple[Id, ...] | None = 1

    def check(self) -> None:
        known = self.hidden_activation in ACTIVATIONS
        problem = f"must be one of {', '.join(ACTIVATIONS)}, but is `{self.hidden_activation:.40}`"
        require(known, "hidden_activation", problem)
        require(not self.attention_bias, "attention_bias", "must be false, but is true: attention has no biases here")
        fits = self.layer_types is None or len(self.layer_types) == self.num_hidden_layers
        require(fits, "layer_types", f"must have one entry a layer ({self.num_hidden_layers}), but has not")
        needed = self.sliding_window is not None or SLIDING not in self.kinds
        require(needed, "sliding_window", f"must be given for layers of `{SLIDING}`, but is empty")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each layer; by default they alternate, starting with a sliding window."""
        return self.layer_types or tuple((SLIDING, WHOLE)[i % 2] for i in range(self.num_hidden_layers))

    @property
    def base(self) -> float:
        """The base of the rotary frequencies; in older files it is not in `rope_parameters`."""
        return (self.rope_parameters.rope_theta if self.rope_parameters else self.rope_theta) or 10000.0

    def attention(self, *, more: int) -> object:
        """The entry of a recipe for these layers; their window is `more` tokens larger than in config.json."""
        window = (self.sliding_window or 0) + more
        cap = self.attn_logit_softcapping
        return entry_of([Layer(cap, window if kind == SLIDING else None) for kind in self.kinds])


# Keys that must be equal in both stacks.
AGREED = ("head_dim", "hidden_activation", "rms_norm_eps", "query_pre_attn_scalar", "base")


@dataclass(frozen=True, kw_only=True)
class T5GemmaKeys(Keys):
    """The keys that are read of a T5Gemma's config.json."""

    encoder: StackKeys
    decoder: StackKeys
    dropout_rate: Rate = 0.0
    attention_dropout: Rate = 0.0
    tie_word_embeddings: bool = True
    vocab_size: Vocabulary | None = None

    @property
    def one_table(self) -> bool:
        return False  # each side has its own

    def check(self) -> None:
        for name in AGREED:
            one, other = getattr(self.encoder, name), getattr(self.decoder, name)
            said = "rope_theta" if name == "base" else name
            require(one == other, f"decoder.{said}", f"must be that of the encoder ({one}), but is {other}")

    def special_ids(self) -> dict[str, Any]:
        return special_ids_of(self, self.decoder)


def special_ids_of(keys: Keys, decoder: Any) -> dict[str, Any]:
    """The special ids, which may be in the `decoder`'s section. Decoding starts with the begin-of-text token."""

    def id_of(name: str) -> Any:
        own = getattr(keys, name)
        return getattr(decoder, name) if own is None else own

    begin = id_of("bos_token_id") if keys.decoder_start_token_id is None else keys.decoder_start_token_id
    ends = {name: id_of(name) for name in ("pad_token_id", "eos_token_id")}
    return Keys.special_ids(replace(keys, **ends, decoder_start_token_id=begin))
