"""The settings of a network that was made by hand: what they say is saved and loaded, what they cannot say is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import own_attentions as own
import pytest
import torch
from models.hand_made import PAIRS, by_hand, one_batch, tokenizer, train
from torch import nn

import antiphon
from antiphon.config import AttentionConfig, ModelConfig
from antiphon.errors import ModelError
from antiphon.generation.model import Model
from antiphon.models.build import build_network
from antiphon.models.by_hand.describe import SpecialIds, describe
from antiphon.models.front import InputEmbedding
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import Decoder, Encoder, Shape
from antiphon.nn import Additive, Alibi, Attention, Full, Learned, NoPositions, Relative, Sinusoidal, Window
from antiphon.nn.embedding import Embedding
from antiphon.nn.layers import norm

BASE = Shape(d_model=16, num_heads=2, ffn_dim=32)


def shape(**changes: Any) -> Shape:
    return replace(BASE, **changes)


def parts(
    encoder: Any = ("full",),
    decoder: Any = ("full",),
    cross: Any = ("full",),
    *,
    shapes: tuple[Shape, Shape] = (BASE, BASE),
    positions: Any = Sinusoidal,
    shared: bool = True,
    tied: bool = True,
    front: dict[str, Any] | None = None,
    embedding_norm: bool = False,
    project_to: int | None = None,
    **settings: Any,
) -> EncoderDecoder:
    torch.manual_seed(1)
    size, widths = tokenizer().vocab_size, [each.d_model for each in shapes]
    first = Encoder(list(encoder), shape=shapes[0], project_to=project_to)
    stacks = first, Decoder(list(decoder), list(cross), shape=shapes[1])
    tables = [Embedding(size, width) for width in widths]
    source = tables[1] if shared else tables[0]
    fronts = [
        InputEmbedding(table, positions(width), norm=norm("layer", width) if embedding_norm else None, **(front or {}))
        for table, width in zip((source, tables[1]), widths, strict=True)
    ]
    output = None if tied else Embedding(size, widths[1])
    return EncoderDecoder(fronts[0], stacks[0], fronts[1], stacks[1], output, **{"max_length": 64, **settings})


def attentions(*mixers: Any, cross: Any = None) -> dict[str, Any]:
    return {"encoder": mixers, "decoder": mixers, "cross": [cross or "full"] * len(mixers)}


def grouped(**settings: Any) -> Attention:
    return Attention(Full(), **settings)


def everywhere(cross: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    """Mixers with these settings; `cross`: those of the decoder's attention over the memory, where they differ."""
    return {
        "encoder": [grouped(**settings)],
        "decoder": [grouped(**settings)],
        "cross": [grouped(**(settings if cross is None else cross))],
    }


def without_positions(**given: Any) -> dict[str, Any]:
    return {"positions": lambda width: NoPositions(), **given}


def narrow() -> Attention:
    mixer = Attention(Full())
    mixer.memory_width = 24
    return mixer


RELATIVE, APART = Relative(), Relative(per_layer=True)
SAVED: dict[str, Any] = {
    "plain": dict,
    "two tables": lambda: {"shared": False},
    "untied": lambda: {"tied": False},
    "two tables, untied": lambda: {"shared": False, "tied": False},
    "learned positions": lambda: {"positions": lambda width: Learned(width, max_length=64)},
    "no positions": lambda: {"positions": lambda width: NoPositions()},
    "offset": lambda: {"positions": lambda width: Sinusoidal(width, offset=2)},
    "halves": lambda: {"positions": lambda width: Sinusoidal(width, layout="halves")},
    "learned, offset": lambda: {"positions": lambda width: Learned(width, max_length=64, offset=2)},
    "scale 1": lambda: {"front": {"scale": 1.0}},
    "scale 3": lambda: {"front": {"scale": 3.0}},
    "rounded scale": lambda: {"front": {"rounds": True}},
    "norm of embeddings": lambda: {"embedding_norm": True},
    "post": lambda: {"shapes": (shape(norm_placement="post"),) * 2},
    "sandwich": lambda: {"shapes": (shape(norm_placement="sandwich", norm="rms"),) * 2},
    "post and final": lambda: {"shapes": (shape(norm_placement="post", final_norm=True),) * 2},
    "pre without final": lambda: {"shapes": (shape(final_norm=False),) * 2},
    "eps": lambda: {"shapes": (shape(norm_eps=1e-3),) * 2},
    "eps of rms": lambda: {"shapes": (shape(norm_eps=1e-2, norm="rms"),) * 2},
    "gelu": lambda: {"shapes": (shape(activation="gelu"),) * 2},
    "gelu_tanh": lambda: {"shapes": (shape(activation="gelu_tanh"),) * 2},
    "reglu": lambda: {"shapes": (shape(activation="reglu"),) * 2},
    "no bias": lambda: {"shapes": (shape(bias=False),) * 2},
    "head_dim": lambda: {"shapes": (shape(head_dim=6),) * 2},
    "other decoder ffn": lambda: {"shapes": (BASE, shape(ffn_dim=24))},
    "other decoder heads": lambda: {"shapes": (shape(head_dim=4), shape(head_dim=4, num_heads=4))},
    "other decoder width": lambda: {
        "shapes": (shape(d_model=24), BASE), "shared": False, "cross": [narrow()],
    },
    "projected memory": lambda: {"shapes": (shape(d_model=24), BASE), "shared": False, "project_to": 16},
    "projected memory of one width": lambda: {"project_to": 16},
    "output_scale": lambda: {"output_scale": 16**-0.5},
    "output_cap": lambda: {"output_cap": 5.0},
    "learned_output_bias": lambda: {"learned_output_bias": True},
    "window": lambda: attentions(Window(4), {"window": 4}),
    "alternating": lambda: attentions(*["full", {"window": 4}] * 2),
    "mixed lists": lambda: attentions("full", {"window": 4}, "alibi", "full"),
    "additive": lambda: {"encoder": [Additive()], "decoder": ["additive"], "cross": [Additive()]},
    "delta": lambda: attentions("delta"),
    "alibi and window": lambda: attentions(Alibi() & Window(4)),
    "relative, shared": lambda: attentions(*[RELATIVE] * 2),
    "relative, per layer": lambda: attentions(*[APART] * 2),
    "relative by name": lambda: attentions("relative", "relative"),
    "relative, not shared": lambda: attentions(Relative(), Relative()),
    "relative and full": lambda: attentions(RELATIVE, "full", RELATIVE),
    "relative of two sizes": lambda: attentions(Relative(buckets=8), Relative(buckets=16)),
    "num_kv_heads": lambda: everywhere(num_kv_heads=1),
    "rotary": lambda: without_positions(**everywhere({}, rotary=True)),
    "rotary_base": lambda: without_positions(**everywhere({}, rotary=True, rotary_base=500.0)),
    "attention_scale": lambda: everywhere(scale=0.2),
    "own function": lambda: attentions(own.softmax),
    "own scorer": lambda: attentions(own.CustomAttention),
    "dropout": lambda: {
        "shapes": (shape(dropout=0.1, attention_dropout=0.2, activation_dropout=0.3, layer_drop=0.1),) * 2
    },
    "dropout of one side": lambda: {
        "shapes": (shape(dropout=0.4), BASE), "front": {"dropout": 0.1, "word_dropout": 0.2},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SAVED)
def test_what_settings_can_say_is_saved_and_loaded(name: str, tmp_path: Path) -> None:
    network = parts(**SAVED[name]())
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn_like(weight) * 0.05)
    model, batch = Model(network, tokenizer()), one_batch()
    loaded = antiphon.load(model.save(tmp_path / "model"), device="cpu")
    found = []
    for each in (network, loaded.network):
        loss = each.eval().requires_grad_(True)(batch)
        gradients = torch.autograd.grad(loss, list(each.parameters()))
        found.append((loss, dict(zip([name for name, _ in each.named_parameters()], gradients, strict=True))))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-5, atol=1e-6)
    assert found[1][1].keys() == found[0][1].keys()
    for key, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][key], gradient, rtol=1e-4, atol=1e-6, msg=key)
    texts = [[each.text for each in one.generate([s for s, _ in PAIRS], max_new_tokens=5)] for one in (model, loaded)]
    assert texts[0] == texts[1]


class OwnPositions(nn.Module):
    def forward(self, x: torch.Tensor, pos: torch.Tensor) -> torch.Tensor:
        return x + 0.01 * pos[..., None]


def unequal_layers() -> EncoderDecoder:
    network = parts(["full"] * 2)
    layer: Any = network.encoder.layers[1]
    layer.ffn = Encoder(["full"], shape=shape(ffn_dim=20)).layers[0].ffn  # type: ignore[union-attr]
    return network


def other_activation() -> EncoderDecoder:
    network = parts(["full"] * 2)
    layer: Any = network.encoder.layers[1]
    layer.ffn = Encoder(["full"], shape=shape(activation="gelu")).layers[0].ffn  # type: ignore[union-attr]
    return network


def own_block() -> EncoderDecoder:
    network = parts()
    layer: Any = network.decoder.layers[0]
    layer.ffn = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 16))
    return network


def other_eps() -> EncoderDecoder:
    network = parts()
    layer: Any = network.decoder.layers[0]
    layer.ffn_residual.norm.eps = 0.1
    return network


def one_of_two_sides(**front: Any) -> EncoderDecoder:
    """A network whose source has another front than its target."""
    torch.manual_seed(1)
    table = Embedding(tokenizer().vocab_size, 16)
    source = InputEmbedding(table, front.pop("positions", Sinusoidal)(16), **front)
    encoder, decoder = Encoder(["full"], shape=BASE), Decoder(["full"], ["full"], shape=BASE)
    return EncoderDecoder(source, encoder, InputEmbedding(table, Sinusoidal(16)), decoder, max_length=64)


def nameless() -> Any:
    """A function that no other process can import."""

    def fade(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return own.softmax(q, k, v, mask)

    return fade


REFUSED: dict[str, tuple[Any, str]] = {
    "own positions": (lambda: parts(positions=lambda width: OwnPositions()), "positions.*OwnPositions"),
    "unequal layers": (unequal_layers, r"layers\.1\.ffn.*\(20, 16\).*\(32, 16\)"),
    "other activation": (other_activation, "kind.*layers.1.ffn.*gelu.*relu"),
    "own block": (own_block, "layers.0.ffn"),
    "other eps": (other_eps, "eps.*0.1.*1e-05"),
    "two scales": (lambda: one_of_two_sides(scale=1.0), "scale.*source|source.*scale|scale.*target"),
    "two positions": (lambda: one_of_two_sides(positions=lambda width: NoPositions()), "positions"),
    "nameless function": (lambda: parts(**attentions(nameless())), "name.*fade"),
    "two back ends": (lambda: parts(["full"], [grouped(backend="eager")]), "backend.*auto, eager"),
    "three kv heads": (lambda: parts(["full"], [grouped(num_kv_heads=1)], [grouped()]), "layers.0.cross|num_kv_heads"),
    "rotary on one side": (lambda: parts([grouped(rotary=True)]), "rotary|positions"),
    "two scales of attention": (lambda: parts([grouped(scale=0.2)], [grouped(scale=0.3)]), "scale"),
    "norms of two kinds": (lambda: parts(shapes=(shape(norm="rms"), BASE)), "decoder.*norm"),
    "one post": (lambda: parts(shapes=(shape(norm_placement="post"), BASE)), "decoder|pre"),
    "other output scale": (lambda: parts(output_scale=0.3), "output_scale.*0.3"),
    "fixed output bias": (lambda: parts(output_bias=True), "output_bias"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_settings_cannot_say_is_refused_with_the_difference(name: str, tmp_path: Path) -> None:
    make, words = REFUSED[name]
    model = Model(make(), tokenizer())
    assert len(model.generate(["in 3 hours"], max_new_tokens=3)) == 1, "it answers all the same"
    with pytest.raises(ModelError, match=words) as error:
        model.save(tmp_path / "model")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "model").exists()


def test_a_network_that_cannot_be_saved_goes_back_by_its_state_dict(tmp_path: Path) -> None:
    network = REFUSED["own positions"][0]()
    train(network, one_batch())
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    other = REFUSED["own positions"][0]()
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(other.logits(one_batch()), network.logits(one_batch()))


@pytest.mark.parametrize(
    "settings",
    [
        {"preset": "tiny"}, {"preset": "small"}, {"preset": "student"}, {"preset": "tiny", "positions": "relative"},
        {"preset": "tiny", "positions": "alibi"}, {"preset": "small", "positions": "learned", "tie_embeddings": False},
        {"preset": "base", "encoder_layers": 2, "decoder_layers": 3}, {"preset": "tiny", "num_kv_heads": 2},
        {"preset": "small", "norm_eps": 1e-4, "embedding_scale": 2.0, "final_norm": False},
    ],
)  # fmt: skip
def test_the_settings_of_what_settings_made_make_it_again(settings: dict[str, Any]) -> None:
    model = ModelConfig(**{**settings, "d_model": 16, "num_heads": 4, "ffn_dim": 24})
    # A relative rule that layers of several kinds share has no setting but `positions`.
    attention = AttentionConfig() if model.positions == "relative" else AttentionConfig(decoder=[{"window": 4}, "full"])
    sizes = (300, 300)
    made = build_network(model, attention, source_vocab=300, target_vocab=300, shared=True, warn=False)
    found = describe(made, ids=SpecialIds(0, 1, 2), sizes=sizes, one_tokenizer=True)
    again = build_network(*found, source_vocab=300, target_vocab=300, shared=True, warn=False)
    assert again.state_dict().keys() == made.state_dict().keys()
    assert found[0].family is None
    for name, weight in made.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name
    one, other = (each.eval()(one_batch()) for each in (made, again))
    assert torch.equal(one, other)


def test_the_folder_says_what_the_network_is(tmp_path: Path) -> None:
    folder = Model(by_hand(["full", {"window": 4}]), tokenizer()).save(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    assert config["model"]["d_model"] == 16 and config["model"]["encoder_layers"] == 2
    assert config["attention"]["encoder"] == ["full", {"window": 4}] and config["attention"]["cross"] == "full"
