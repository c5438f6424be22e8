"""Layers that are computed again for the gradient: the same loss and gradients, and less that is kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from antiphon.batch import Batch, Example, collate
from antiphon.config import AttentionConfig, ModelConfig
from antiphon.models.build import build_network
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.loss import CrossEntropy, FusedCriterion
from antiphon.nn.mixout import add_mixout
from antiphon.nn.noise import number_sites

SHAPE: dict[str, Any] = {
    "preset": "tiny", "d_model": 16, "ffn_dim": 24, "num_heads": 2, "dropout": 0.2, "attention_dropout": 0.2,
    "activation_dropout": 0.2, "layer_drop": 0.2, "word_dropout": 0.2, "encoder_layers": 3, "decoder_layers": 3,
}  # fmt: skip


def network(attention: AttentionConfig, **shape: Any) -> EncoderDecoder:
    made = build_network(
        ModelConfig(**{**SHAPE, **shape}), attention, source_vocab=20, target_vocab=20, shared=True, seed=3
    )
    return made.double().train()


def batch(length: int = 7, rows: int = 4) -> Batch:
    draw = torch.Generator().manual_seed(length)
    made = [torch.randint(4, 20, (length - row % 3,), generator=draw).tolist() for row in range(rows)]
    return collate([Example([*row, 2], [*row[::-1], 2], i) for i, row in enumerate(made)], pad_id=0, start_id=1)


def gradients(made: EncoderDecoder, *, again: bool) -> list[Tensor]:
    """Loss and gradients of two forwards with other bits, whose backward runs when both are done."""
    made.checkpoint_activations(again)
    losses = []
    for micro_batch in range(2):
        made.noise.set(seed=5, step=11, micro_batch=micro_batch)
        losses.append(made(batch(7 + micro_batch), CrossEntropy(0.1)).objective)
    loss = losses[0] + losses[1]
    used = [parameter for parameter in made.parameters() if parameter.requires_grad]
    return [loss.detach(), *(g for g in torch.autograd.grad(loss, used, allow_unused=True) if g is not None)]


KINDS = {
    "full": AttentionConfig(),
    "learned rules": AttentionConfig(encoder="relative", decoder={"all": ["relative", {"window": 3}]}, cross="full"),
    "mixer": AttentionConfig(encoder="additive", decoder=["full", "additive"], cross="additive"),
}


@pytest.mark.parametrize("attention", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("mixout", [0.0, 0.3])
def test_equals_plain(attention: AttentionConfig, mixout: float) -> None:
    made = network(attention)
    if mixout:
        add_mixout(made, mixout, made.noise)
        number_sites(made)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.mul_(1.1)
    plain, again = gradients(made, again=False), gradients(made, again=True)
    assert len(plain) == len(again) > 20
    for one, other in zip(plain, again, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_evaluation_and_decoding_are_untouched() -> None:
    made = network(AttentionConfig()).eval()
    with torch.no_grad():
        plain = made(batch(), CrossEntropy()).objective
        made.checkpoint_activations(True)
        assert torch.equal(made(batch(), CrossEntropy()).objective, plain)


def kept_bytes(made: EncoderDecoder, *, again: bool) -> int:
    """What a forward keeps for the gradient, weights apart."""
    made.checkpoint_activations(again)
    weights = {parameter.untyped_storage().data_ptr() for parameter in made.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = made(batch(200, rows=2), Sum())
    del loss
    return sum(kept.values())


class Sum(FusedCriterion):
    """The sum of the hidden vectors: no logits are kept."""

    def __call__(self, hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        return hidden.sum()


def test_less_is_kept() -> None:
    made = network(AttentionConfig(encoder="relative"), encoder_layers=4, layer_drop=0.0)
    plain, again = kept_bytes(made, again=False), kept_bytes(made, again=True)
    assert again < plain / 5, (again, plain)
