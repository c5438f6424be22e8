"""Cross-attention merged into self-attention: by hand, with every rule, dropout, maps, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from antiphon.batch import Example, Tokens, collate
from antiphon.config import AttentionConfig, ModelConfig
from antiphon.errors import ConfigError
from antiphon.models.build import build_network
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.mixers import Memory
from antiphon.nn.positions import Rotary

SIZES: dict[str, Any] = {"d_model": 16, "ffn_dim": 20, "num_heads": 4, "encoder_layers": 1, "decoder_layers": 2}


def network(decoder: object = "full", **settings: Any) -> EncoderDecoder:
    attention = AttentionConfig(decoder=decoder, cross="merged")
    model = ModelConfig(preset="tiny", **{**SIZES, "positions": "none", **settings})
    return build_network(model, attention, source_vocab=20, target_vocab=20, shared=True).double().eval()


def test_one_softmax_over_both() -> None:
    """Window 2, grouped keys, rotary positions of the target only, a row of the source with padding."""
    spec = {"all": [{"qk_norm": {"shared": True}}, {"window": 2}, {"rotary": 50.0}]}
    layer = network(spec, num_kv_heads=2).decoder.layers[0]
    own = layer.mixer
    draw = torch.Generator().manual_seed(0)
    for parameter in layer.parameters():
        parameter.data.add_(0.2 * torch.randn(parameter.shape, generator=draw))
    x, hidden = (torch.randn(2, length, 16, generator=draw, dtype=torch.float64) for length in (3, 4))
    tokens, read = Tokens(torch.arange(3)[None]), Tokens(torch.tensor([[0, 1, 2, 3], [0, 1, -1, -1]]))
    state = layer.cross.begin(2, 0, Memory(hidden, read))
    found, _ = layer.cross.with_own(x, tokens, tokens, None, state)

    rotary, rule = Rotary(4, base=50.0), own.rule.left.left

    def heads(values: Tensor, count: int, scale: Tensor | None = None) -> Tensor:
        split = values.unflatten(-1, (count, 4)).transpose(1, 2)
        if scale is not None:
            split = split / (split.square().mean(-1, keepdim=True) + 1e-6).sqrt() * scale
        return split if count == 4 else split.repeat_interleave(2, dim=1)

    tables = rotary.tables(tokens.pos)
    q = rotary(heads(own.q(x), 4, rule.q_scale), tables)
    k = torch.cat([rotary(heads(own.k(x), 2, rule.k_scale), tables), heads(own.k(hidden), 2, rule.k_scale)], 2)
    v = torch.cat([heads(own.v(x), 2), heads(own.v(hidden), 2)], 2)
    seen = torch.zeros(2, 1, 3, 7, dtype=torch.bool)
    seen[..., :3] = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 1]])
    seen[0, ..., 3:] = seen[1, ..., 3:5] = True
    weights = (q @ k.transpose(-1, -2) / 2).masked_fill(~seen, -torch.inf).softmax(-1)
    torch.testing.assert_close(found, own.o((weights @ v).transpose(1, 2).flatten(2)))


def test_no_weights_of_its_own_and_no_norm_for_it() -> None:
    names = {name for name, _ in network().decoder.layers[0].named_parameters()}
    assert not any(name.startswith("cross") for name in names) and "mixer.q.weight" in names
    plain = build_network(
        ModelConfig(preset="tiny", **SIZES), AttentionConfig(), source_vocab=20, target_vocab=20, shared=True
    )
    assert any(name.startswith("cross_residual") for name, _ in plain.decoder.layers[0].named_parameters())


@pytest.mark.parametrize("decoder", ["full", {"window": 2}, "sinks", {"all": ["relative", {"soft_cap": 2.0}]}, "shaw"])
def test_steps_of_beams_are_whole_rows(decoder: object) -> None:
    made, ids = network(decoder), torch.tensor([[1, 4, 5, 6], [1, 7, 8, 9], [1, 4, 9, 3], [1, 2, 3, 4]])
    memory = made.encode(torch.tensor([[5, 6, 2], [9, 2, 0]]), Tokens(torch.tensor([[0, 1, 2], [0, 1, -1]])))
    each = memory.select(torch.tensor([0, 0, 1, 1]))
    whole, _ = made.decode(ids, Tokens(torch.arange(4)[None]), each, None)
    state, steps = made.begin(memory, width=2, capacity=4), []
    for i in range(4):
        hidden, state = made.decode(ids[:, i : i + 1], Tokens(torch.tensor([[i]])), memory, state)
        steps.append(hidden)
    torch.testing.assert_close(torch.cat(steps, 1), whole)


def test_maps_of_both_sum_to_one() -> None:
    made, maps = network(), {}
    batch = collate([Example([5, 6, 2], [8, 9, 2], 0), Example([7, 2], [3, 2], 1)], pad_id=0, start_id=1)
    memory = made.encode(batch.source, batch.source_tokens)
    made.decode(batch.target_ids, replace(batch.target_tokens, maps=maps), memory, None)
    layer = made.decoder.layers[1]
    (own,), (cross,) = maps[layer.mixer], maps[layer.cross]
    assert own.shape == (2, 4, 3, 3) and cross.shape == (2, 4, 3, 3)
    total = own.sum(-1) + cross.sum(-1)
    torch.testing.assert_close(total[0], torch.ones_like(total[0]))


def test_attention_dropout_is_of_both() -> None:
    made = network(attention_dropout=0.5).train()
    batch = collate([Example([5, 6, 2], [8, 9, 2], 0)], pad_id=0, start_id=1)
    losses = []
    for step in (1, 1, 2):
        made.noise.set(seed=0, step=step, micro_batch=0)
        losses.append(made(batch).item())
    assert losses[0] == losses[1] != losses[2]


def test_what_it_cannot_stand_beside() -> None:
    with pytest.raises(ConfigError, match=r"`merged` must stand in a layer whose self-attention is a rule, .* `Delta`"):
        network("delta")
    sizes = {"source_vocab": 20, "target_vocab": 20, "shared": True}
    model = ModelConfig(preset="tiny", **SIZES)
    with pytest.raises(ConfigError, match=r"`merged` must be the cross-attention of a decoder, but is .* of the enc"):
        build_network(model, AttentionConfig(encoder="merged"), **sizes)


def test_rotary_positions_are_set_once() -> None:
    with pytest.raises(
        ConfigError, match=r"rotary positions must be set once, but are in `attention.decoder` and in `m"
    ):
        network({"rotary": 50.0}, positions="rotary")
    with pytest.raises(
        ConfigError, match="`head_dim` must be even under `rotary`, which turns pairs of features, but is"
    ):
        network("rotary", head_dim=3)
