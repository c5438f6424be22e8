"""What T5Gemma needed of the stack, computed by hand; and which T5Gemma is refused, by which line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from models.test_hub import logits, parts_of
from torch.nn import functional

from antiphon.batch import Example, Tokens, collate
from antiphon.config import AttentionConfig, FamilyConfig, ModelConfig
from antiphon.errors import ConfigError, ModelError
from antiphon.models.build import build_network
from antiphon.models.families.gemma_keys import Layer, entry_of, layers_of
from antiphon.models.folders.hub import load_pretrained, save_pretrained
from antiphon.models.front import InputEmbedding
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.loss import CrossEntropy
from antiphon.nn.noise import Noise
from antiphon.nn.positions import NoPositions

SIZES: dict[str, Any] = {"d_model": 16, "ffn_dim": 20, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 2}


def network(attention: AttentionConfig | None = None, *, shared: bool = True, **settings: Any) -> EncoderDecoder:
    model = ModelConfig(preset="tiny", **{**SIZES, **settings})
    made = build_network(model, attention or AttentionConfig(), source_vocab=20, target_vocab=20, shared=shared)
    return made.double().eval()


def test_a_norm_stands_before_and_behind_each_block_of_a_sandwich() -> None:
    layer = network(norm_placement="sandwich").encoder.layers[0]
    for parameter in layer.parameters():
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    x, tokens = torch.randn(2, 5, 16, dtype=torch.float64), Tokens(torch.arange(5)[None])

    def normed(norm: Any, x: torch.Tensor) -> torch.Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight

    mixed, _ = layer.mixer(normed(layer.mixer_residual.norm, x), tokens, None)
    y = x + normed(layer.mixer_residual.after, mixed)
    y = y + normed(layer.ffn_residual.after, layer.ffn(normed(layer.ffn_residual.norm, y)))
    torch.testing.assert_close(layer(x, tokens), y)


def test_capped_logits_and_the_loss_of_them() -> None:
    made, plain = network(output_cap=0.5), network()
    batch = collate([Example([5, 6, 2], [8, 9, 2], 0), Example([7, 2], [3, 2], 1)], pad_id=0, start_id=1)
    hidden, _ = made.decode(batch.target_ids, batch.target_tokens, made.encode(batch.source, batch.source_tokens), None)
    found = made.logits(hidden)
    torch.testing.assert_close(found, 0.5 * torch.tanh(plain.logits(hidden) / 0.5))
    wanted = functional.cross_entropy(found[batch.label_mask], batch.labels[batch.label_mask], reduction="sum")
    torch.testing.assert_close(made(batch, CrossEntropy()).objective, wanted)


def test_the_base_of_rotary_positions() -> None:
    made, other = network(rotary_base=50.0), network()
    assert made.encoder.layers[0].mixer.rotary.base == 50 and other.encoder.layers[0].mixer.rotary.base == 10000
    mixer = network(AttentionConfig(encoder="differential"), rotary_base=50.0).encoder.layers[0].mixer
    assert mixer.rotary.base == 50
    with pytest.raises(ConfigError, match="`rotary_base` must be left out without `positions: rotary`, but is 50"):
        ModelConfig(rotary_base=50, positions="alibi")


def test_a_scale_that_is_rounded_to_the_type_of_the_vectors() -> None:
    table = torch.nn.Embedding(3, 3584)
    ids, tokens = torch.tensor([[1]]), Tokens(torch.tensor([[0]]))
    for dtype, scale in ((torch.bfloat16, 59.75), (torch.float64, 3584**0.5)):
        front = (
            InputEmbedding(table, NoPositions(), scale=3584**0.5, rounds=True, dropout=0.0, noise=Noise())
            .to(dtype)
            .eval()
        )
        torch.testing.assert_close(front(ids, tokens)[0], table(ids) * scale, rtol=0, atol=0)


def record(**settings: Any) -> FamilyConfig:
    return FamilyConfig(name="t5gemma", pad_id=0, start_id=1, end_id=2, shared_tables=False, **settings)


def test_a_decoder_of_another_width() -> None:
    family = record(decoder_d_model=12, decoder_heads=3, decoder_kv_heads=1)
    made = network(shared=False, family=family, tie_embeddings=False)
    assert made.decoder.layers[0].cross.k.weight.shape == (4, 16)
    ids, places = torch.tensor([[1, 4, 5, 6]]), Tokens(torch.arange(4)[None])
    memory = made.encode(torch.tensor([[5, 6, 2]]), Tokens(torch.arange(3)[None]))
    whole, _ = made.decode(ids, places, memory, None)
    assert whole.shape == (1, 4, 12)
    state, steps = made.begin(memory, width=1, capacity=4), []
    for i in range(4):
        hidden, state = made.decode(ids[:, i : i + 1], Tokens(torch.tensor([[i]])), memory, state)
        steps.append(hidden)
    torch.testing.assert_close(torch.cat(steps, 1), whole)
    with pytest.raises(ConfigError, match=r"`Delta` must read a memory of the decoder's own width \(12\), but .* 16"):
        network(AttentionConfig(cross="delta"), shared=False, family=record(decoder_d_model=12))
    with pytest.raises(ConfigError, match=r"`family.decoder_kv_heads` must divide the decoder's 3 heads, but is 2"):
        network(family=record(decoder_heads=3, decoder_kv_heads=2))
    with pytest.raises(ConfigError, match=r"`family.decoder_d_model` must be `d_model` \(16\) where both sides have"):
        network(family=FamilyConfig(name="t5", pad_id=0, start_id=1, end_id=2, decoder_d_model=12))


@pytest.mark.parametrize(
    ("layers", "entry"),
    [
        ([], "full"),
        ([Layer(None, None)] * 3, "full"),
        ([Layer(5.0, None)], {"soft_cap": 5.0}),
        ([Layer(5.0, 3), Layer(5.0, None)] * 2, [{"all": [{"soft_cap": 5.0}, {"window": 3}]}, {"soft_cap": 5.0}]),
        ([Layer(None, 3), Layer(None, None), Layer(None, None)], [{"window": 3}, "full", "full"]),
    ],
)
def test_layers_as_an_entry_of_a_recipe_and_back(layers: list[Layer], entry: object) -> None:
    assert entry_of(layers) == entry and layers_of(entry, len(layers), family="t5gemma") == layers


def test_a_window_reaches_one_token_farther_in_the_encoder() -> None:
    attention = parts_of("t5gemma").attention
    slides = [{"all": [{"soft_cap": 50.0}, {"window": window}]} for window in (3, 2)]
    assert attention == AttentionConfig(
        encoder=[slides[0], {"soft_cap": 50.0}], decoder=[slides[1], {"soft_cap": 50.0}], cross={"soft_cap": 50.0}
    )


@pytest.mark.parametrize(
    ("side", "changes", "said", "kind"),
    [
        ("encoder", {"attention_bias": True}, "`encoder.attention_bias` must be false, but is true", ConfigError),
        ("decoder", {"head_dim": 8}, r"`decoder.head_dim` must be that of the encoder \(6\), but is 8", ConfigError),
        (
            "decoder",
            {"rope_theta": 500.0, "rope_parameters": None},
            r"`decoder.rope_theta` must be .* but is 500",
            ConfigError,
        ),
        (
            "encoder",
            {"rope_parameters": {"rope_type": "yarn", "factor": 2}},
            "`encoder.rope_parameters.rope_type`",
            ConfigError,
        ),
        (
            "encoder",
            {"layer_types": ["full_attention"]},
            r"`encoder.layer_types` must have one entry a layer \(2\)",
            ConfigError,
        ),
        ("encoder", {"layer_types": ["chunked"] * 2}, "`encoder.layer_types", ConfigError),
        (
            "decoder",
            {"sliding_window": None},
            "`decoder.sliding_window` must be given for layers of `sliding_att",
            ConfigError,
        ),
        (
            "encoder",
            {"hidden_activation": "mish"},
            "`encoder.hidden_activation` must be one of gelu_pytorch_tanh",
            ConfigError,
        ),
        ("encoder", {"num_key_value_heads": 3}, r"must divide `num_heads` \(2\), but is 3", ConfigError),
        ("encoder", {"hidden_size": 2**31}, "`encoder.hidden_size` must be at least 1 and at most 262144", ConfigError),
    ],
)
def test_what_is_refused_is_named(
    side: str, changes: dict[str, Any], said: str, kind: type[Exception], tmp_path: Path
) -> None:
    made = save_pretrained(tmp_path, parts_of("t5gemma"))
    content = json.loads((made / "config.json").read_text())
    content[side] |= changes
    (made / "config.json").write_text(json.dumps(content))
    with pytest.raises(kind, match=said) as caught:
        load_pretrained(made)
    assert "\n" not in str(caught.value)


def test_caps_that_are_off_stay_off(tmp_path: Path) -> None:
    made = save_pretrained(tmp_path, parts_of("t5gemma"))
    content = json.loads((made / "config.json").read_text())
    for side in ("encoder", "decoder"):
        content[side] |= {"attn_logit_softcapping": None, "final_logit_softcapping": None, "unknown": 1}
    (made / "config.json").write_text(json.dumps(content))
    found = load_pretrained(made)
    assert found.model.output_cap is None and found.attention.cross == "full"
    again = json.loads((save_pretrained(tmp_path / "again", found) / "config.json").read_text())
    assert again["decoder"]["attn_logit_softcapping"] is None and again["decoder"]["final_logit_softcapping"] is None


def test_bfloat16_is_near_and_float16_refused(tmp_path: Path) -> None:
    made = save_pretrained(tmp_path, parts_of("t5gemma"))
    exact, near = logits(load_pretrained(made)), logits(load_pretrained(made, dtype=torch.bfloat16))
    assert float((near.float() - exact).abs().max()) < 2e-2 * float(exact.abs().max())
    with pytest.raises(ModelError, match="must not be float16 for t5gemma"):
        load_pretrained(made, dtype=torch.float16)


def test_other_rules_are_not_written_as_t5gemma(tmp_path: Path) -> None:
    parts = parts_of("t5gemma")
    for role, entry, said in (
        ("encoder", {"all": [{"soft_cap": 5.0}, "alibi"]}, "no rules but one `soft_cap` and one `window`"),
        ("decoder", [{"soft_cap": 5.0}, {"soft_cap": 6.0}], "one cap and one window in all layers of the decoder"),
        ("cross", "full", "the decoder's `soft_cap` in its attention across too"),
    ):
        odd = replace(parts, attention=replace(parts.attention, **{role: entry}))
        with pytest.raises(ModelError, match=f"written as t5gemma must have {said}"):
            save_pretrained(tmp_path, odd)
