"""Settings that only a family of published checkpoints needs: in the `config.json` of a model folder, never in a
recipe.

    FamilyConfig(name="t5", pad_id=0, start_id=0, end_id=1, embedding_scale=False, output_scale=True)

A family (models/families/) makes this record from the config of a published checkpoint; `models/build.py` turns it into
plain arguments of the parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from antiphon.config.ids import MOST_IDS, Id
from antiphon.config.speech import SpeechConfig
from antiphon.config.vision import VisionConfig
from antiphon.settings import Range, Settings, require

__all__ = ["MOST_IDS", "FamilyConfig", "Id"]


@dataclass(frozen=True)
class FamilyConfig(Settings):
    name: str
    """The family, as a published `config.json` calls it under `model_type`."""
    pad_id: Id
    """The padding id, which is never generated."""
    start_id: Id
    """The decoder's first input."""
    end_id: Id
    """The id that ends an answer."""
    first_id: Id | None = None
    """The forced first id of every answer, which its score excludes; none: not forced."""
    closes: bool = False
    """Whether an answer that reaches its limit is ended with `end_id`."""
    never_ids: tuple[Id, ...] = ()
    """Ids that are never generated, besides `pad_id` and `start_id`."""
    shared_tables: bool = True
    """Whether source and target share an embedding table."""
    position_offset: Annotated[int, Range(low=0, high=64)] = 0
    """The number of the first token's position."""
    sinusoids: Literal["interleaved", "halves", "closed_halves"] = "interleaved"
    """Sines and cosines alternate, or all sines come before all cosines; closed: the lowest frequency is 1/10000."""
    embedding_scale: bool = True
    """Whether token vectors are multiplied with the root of `d_model`."""
    rounds_scale: bool = False
    """Whether that root is first rounded to the type of the vectors."""
    unscaled_id: Id | None = None
    """An id whose input vector is a weight of its own, which is not multiplied; the output has its row of the table."""
    embedding_norm: bool = False
    """Whether a norm follows the sum of token vectors and positions."""
    norm_eps: Annotated[float, Range(low=0, high=1, open_low=True)] | None = None
    """What the norms add to the variance; none: 1e-5 (layer), 1e-6 (rms)."""
    activation: Literal["gelu_tanh", "geglu_tanh", "reglu"] | None = None
    """Overrides the model's activation: GELU in its tanh form, plain or gated, or a gated ReLU."""
    decoder_activation: (
        Literal["relu", "gelu", "silu", "gelu_tanh", "geglu", "geglu_tanh", "swiglu", "reglu"] | None
    ) = None
    """Overrides the activation of the decoder's layers; none: that of the encoder's."""
    ffn_bias: bool | None = None
    """Whether feed-forward layers have biases; none: as the model's other linear layers."""
    norm_bias: bool = True
    """Whether layer norms have a bias."""
    rotary_width: Annotated[int, Range(low=1, high=2**13)] | None = None
    """The features of a head that rotary positions turn; none: all."""
    decoder_heads: Annotated[int, Range(low=1, high=1024)] | None = None
    """Heads of the decoder's attention; none: those of the encoder."""
    decoder_kv_heads: Annotated[int, Range(low=1, high=1024)] | None = None
    """Key and value heads of the decoder's attention; none: `num_kv_heads`, as the encoder."""
    decoder_d_model: Annotated[int, Range(low=1, high=2**16)] | None = None
    """Width of the decoder, which then has its own embedding tables; none: that of the encoder."""
    decoder_ffn_dim: Annotated[int, Range(low=1, high=2**18)] | None = None
    """Inner width of the decoder's feed-forward layers; none: that of the encoder's."""
    decoder_norm_placement: Literal["pre", "post", "sandwich"] | None = None
    """Where the decoder's norms stand; none: `norm_placement`, as in the encoder."""
    decoder_norm_eps: Annotated[float, Range(low=0, high=1, open_low=True)] | None = None
    """What the decoder's norms add to the variance; none: as in the encoder."""
    memory_projection: bool = False
    """Whether a linear layer brings the encoder's output to the decoder's width; if not, cross-attention reads it in
    the encoder's."""
    output_scale: bool = False
    """Whether the decoder's output is divided by the root of `d_model` before the output projection."""
    output_bias: bool = False
    """Whether a fixed bias is added to the logits."""
    key_bias: bool = True
    """Whether the keys of attention have a bias where the model's linear layers do."""
    encoder_qkv_bias: bool = True
    """Whether queries, keys and values of the encoder have a bias where its other linear layers do."""
    vision: VisionConfig | None = None
    """Settings of images within texts; none: sources are without images."""
    speech: SpeechConfig | None = None
    """Settings of the speech input if sources are sound; none: sources are text."""

    def check_decoder(self, *, d_model: int, heads: int, groups: int | None) -> None:
        """Raise SettingError if the decoder's sizes do not fit together; unset ones are those of the encoder."""
        own = self.decoder_heads or heads
        shared = self.decoder_kv_heads or groups or own
        require(own % shared == 0, "family.decoder_kv_heads", f"must divide the decoder's {own} heads, but is {shared}")
        apart = self.decoder_d_model in (None, d_model) or not self.shared_tables
        problem = f"must be `d_model` ({d_model}) where both sides have one table, but is {self.decoder_d_model}"
        require(apart, "family.decoder_d_model", problem)
