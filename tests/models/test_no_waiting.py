"""A training step reads no value from the device, for which the host would wait for all earlier work of a GPU.

The step runs on the device `meta`, whose tensors have no values: reading one is an error.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from antiphon.batch import Batch, Example, Tokens, collate
from antiphon.config import AttentionConfig, ModelConfig, TrainingConfig
from antiphon.models.build import build_network
from antiphon.nn.loss import CrossEntropy
from antiphon.nn.noise import Dropout
from antiphon.training.objectives.r_drop import PairedCrossEntropy, twice
from antiphon.training.optim import build_optimizer

MODEL = {"preset": "small", "d_model": 64, "ffn_dim": 128, "encoder_layers": 1, "decoder_layers": 1}


def on_meta(batch: Batch) -> Batch:
    """The batch as `Batch.to` makes it, which needs a device that can be chosen."""

    def tokens(given: Tokens) -> Tokens:
        return Tokens(given.pos.to("meta"), in_order=given.in_order)

    sides = [batch.source, tokens(batch.source_tokens), batch.target_ids, tokens(batch.target_tokens), batch.labels]
    sides += [batch.label_mask, batch.label_places]
    return Batch(*(side.to("meta") if isinstance(side, Tensor) else side for side in sides), batch.index)


@pytest.mark.parametrize(
    "attention, model, longest",
    [
        ({}, {"norm_placement": "post", "activation": "geglu"}, 24),
        ({}, {"positions": "rotary", "num_kv_heads": 2, "attention_dropout": 0.1, "word_dropout": 0.1}, 24),
        ({"encoder": "relative", "decoder": "alibi"}, {"output_cap": 30.0}, 24),
        ({"encoder": {"window": 64}, "decoder": {"window": 64}}, {}, 512),  # in blocks
        ({"encoder": "additive", "decoder": "differential", "cross": "sigmoid"}, {}, 24),
        ({"encoder": "shaw", "decoder": {"soft_cap": 30.0}}, {}, 24),
    ],
)
def test_no_value_is_read(
    attention: dict[str, Any], model: dict[str, Any], longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep(self: Dropout, x: Tensor, threshold: int) -> Tensor:
        return torch.ones_like(x)  # a generator of the device would draw them

    monkeypatch.setattr(Dropout, "keep", keep)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which the device does not have
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _="": False)
    with torch.device("meta"):
        sizes = {"source_vocab": 100, "target_vocab": 100}
        config = ModelConfig(**{**MODEL, **model})  # type: ignore[arg-type]
        network = build_network(config, AttentionConfig(**attention), **sizes, shared=True, warn=False)
    rows = [Example([5] * (longest - index), [6] * (longest // 2 - index), index) for index in range(3)]
    batch = on_meta(collate(rows, pad_id=0, start_id=1))
    network.train()
    settings = TrainingConfig(max_steps=1, optimizer="lion")
    optimizer = build_optimizer(network, settings)
    for given, criterion in ((batch, CrossEntropy(0.1)), (twice(batch), PairedCrossEntropy(0.1, 5.0))):
        if isinstance(criterion, PairedCrossEntropy) and network.output_cap is not None:
            continue
        network.noise.set(seed=0, step=0, micro_batch=0)
        network(given, criterion).objective.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_error_that_a_read_would_be() -> None:
    with pytest.raises(RuntimeError, match="meta"):
        bool(torch.ones(2, device="meta").any())
