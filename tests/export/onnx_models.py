"""Small models with random weights, to be exported."""

from __future__ import annotations

from typing import Any

from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
from antiphon.generation.model import Model
from antiphon.models.build import build_network
from antiphon.models.folders.checkpoint import Parts
from antiphon.text import train_tokenizer

TEXTS = ["in 3 hours", "4 days ago", "a", "Monday, 5 May 2014 and a bit more"]


def small_model(attention: dict[str, Any] | None = None, *, shared: bool = True, **shape: Any) -> Model:
    """A model of one layer a side unless `shape` says more, with fresh weights that give varied answers."""
    tokenizer = train_tokenizer([text * 2 for text in TEXTS] * 5, kind="bpe", vocab_size=300)
    sizes = {"preset": "tiny", "d_model": 32, "num_heads": 4, "ffn_dim": 48, "encoder_layers": 1, "decoder_layers": 1}
    config = ModelConfig(**{**sizes, "max_length": 64, "dropout": 0.1, **shape})
    kinds = AttentionConfig(**(attention or {}))
    size = tokenizer.vocab_size
    network = build_network(config, kinds, source_vocab=size, target_vocab=size, shared=shared, seed=3).eval()
    parts = Parts(network, config, kinds, tokenizer, tokenizer.as_target(), "text", GenerationConfig())
    return Model.from_parts(parts)
