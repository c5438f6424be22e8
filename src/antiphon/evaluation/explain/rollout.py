"""Attention rollout (Abnar and Zuidema 2020), carried to an encoder-decoder.

A layer passes on half of a position's own vector, by the residual connection, and half of what its attention reads, by
the mean weights of its heads (section 3). In the encoder that is R <- (R + A R) / 2, from the identity. In the decoder
the parts of a vector that come from the source, P (T, S), begin at zero: P <- (P + D P) / 2 for self-attention with the
weights D, then P <- (P + C R) / 2 for cross-attention with the weights C over the encoder's result R.
"""

from __future__ import annotations

import torch
from torch import Tensor

from antiphon.batch import Example, collate
from antiphon.errors import ModelError
from antiphon.evaluation.explain.pair import ExplainedPair
from antiphon.generation.attention.maps import layer_weights, mixers_of


def attention_rollout(pair: ExplainedPair) -> Tensor:
    """The share (U, S) of each source position in what predicts a unit, the mean over its tokens; a row adds up to 1.

    ModelError, which names the layer, if an attention has no weights.
    """
    tokens = pair.model.special_tokens
    batch = collate([Example(pair.source_ids, pair.target_ids, 0)], pad_id=tokens.pad, start_id=tokens.start).to(
        pair.network.device
    )
    found = layer_weights(pair.network, batch, window=pair.window)
    weights = {role: [_mean(each) for each in layers if each is not None] for role, layers in found.items()}
    for role, layers in found.items():
        for place, (each, mixer) in enumerate(zip(layers, mixers_of(pair.network)[role], strict=True), 1):
            if each is None:
                raise ModelError(
                    f"rollout needs the weights of every attention, but {mixer.called} in layer {place} of the {role} "
                    "attention has none. Choose integrated-gradients or leave-one-out."
                )
    encoder = torch.eye(len(pair.source_ids), dtype=torch.float64)
    for own in weights["encoder"]:
        encoder = (encoder + own @ encoder) / 2
    decoder = torch.zeros(len(pair.target_ids), len(pair.source_ids), dtype=torch.float64)
    for own, cross in zip(weights["decoder"], weights["cross"], strict=True):
        decoder = (decoder + own @ decoder) / 2
        decoder = (decoder + cross @ encoder) / 2
    rows = torch.stack([decoder[list(unit.places)].mean(0) for unit in pair.units])
    return rows / rows.sum(1, keepdim=True).clamp_min(1e-12)


def _mean(weights: Tensor) -> Tensor:
    """The mean (Q, K) over the heads of (1, H, Q, K), each row scaled to a sum of 1: weights beside sinks have less,
    and those of some mixers are negative."""
    mean = weights[0].double().cpu().abs().mean(0)
    return mean / mean.sum(-1, keepdim=True).clamp_min(1e-12)
