"""Each mixer in a whole network, in all three roles: it trains, is searched with a cache, recomputed and saved."""

from __future__ import annotations

import random
import warnings
from typing import Any

import pytest
import torch
from search.toys import SPECIAL, VOCABULARY, assert_same, plain_search, source_of

from antiphon.batch import Example, collate
from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
from antiphon.models.attentions import build_rule, saved_spec
from antiphon.models.build import build_network
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.loss import CrossEntropy
from antiphon.nn.mixers import Mixer
from antiphon.search.engine import SourceInput, answer, forced_scores

SPECS: list[object] = [
    "additive",
    {"additive": {"scorer": "mlp"}},
    "linear",
    "delta",
    {"delta": {"gated": False}},
    {"sigmoid": {"bias": -2.0}},
    {"differential": {"lambda_init": 0.5}},
]
EXAMPLES = [Example([5, 6, 7, 2], [8, 9, 2], 0), Example([5, 2], [8, 9, 3, 4, 5, 2], 1), Example([9, 4, 9, 2], [2], 2)]
each = pytest.mark.parametrize("spec", SPECS, ids=str)


def network(spec: object, *, dropout: float = 0.0, positions: str = "sinusoidal") -> EncoderDecoder:
    """One in float64 with grouped keys and weights large enough that different sources have different answers."""
    model = ModelConfig(
        "tiny",
        d_model=16,
        ffn_dim=24,
        num_heads=4,
        num_kv_heads=2,
        encoder_layers=1,
        decoder_layers=2,
        positions=positions,
        bias=True,
        dropout=dropout,
        attention_dropout=dropout,
        tie_embeddings=False,
        max_length=40,
    )
    attention = AttentionConfig(encoder=spec, decoder=spec, cross=spec)
    made = build_network(model, attention, source_vocab=VOCABULARY, target_vocab=VOCABULARY, shared=False).double()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.mul_(1.7)
        made.output.weight[SPECIAL.end] *= 1.8
    return made


@each
def test_it_trains_and_every_parameter_takes_part(spec: object) -> None:
    made, batch, losses = network(spec), collate(EXAMPLES, pad_id=0, start_id=1), []
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-4)
    for _ in range(4):
        optimizer.zero_grad()
        made.noise.set(seed=0, step=0, micro_batch=0)  # one dropout mask: only the weights change
        loss = made(batch, CrossEntropy()).objective
        loss.backward()
        for name, parameter in made.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("beam_size", [1, 3])
@each
def test_cached_search_is_search_from_whole_rows(spec: object, beam_size: int) -> None:
    made, dice = network(spec).eval(), random.Random(str(spec))
    config = GenerationConfig(beam_size=beam_size, n_best=beam_size, max_new_tokens=6)
    sources = [SourceInput(source_of(dice), row, prefix=(4, 7) if row else ()) for row in range(3)]
    answers = answer(made, sources, config, SPECIAL)
    for source, found in zip(sources, answers, strict=True):
        assert_same(found, plain_search(made, source.ids, config, prefix=source.prefix))
    first = answers[0][0]
    assert forced_scores(made, [(sources[0].ids, first.ids)], SPECIAL)[0] == pytest.approx(first.score, abs=1e-10)


@each
def test_layers_computed_again_give_the_same_gradients(spec: object) -> None:
    made, batch, found = network(spec, dropout=0.2).train(), collate(EXAMPLES, pad_id=0, start_id=1), []
    for twice in (False, True):
        made.checkpoint_activations(twice)
        made.noise.set(seed=1, step=0, micro_batch=0)
        loss = made(batch, CrossEntropy()).objective
        found.append([loss, *torch.autograd.grad(loss, list(made.parameters()))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@each
def test_it_remembers_how_it_was_made(spec: object) -> None:
    made = build_rule(spec)
    name, settings = next(iter(spec.items())) if isinstance(spec, dict) else (spec, {})
    assert saved_spec(made) == spec
    assert saved_spec(type(made)(**settings)) == spec and str(name)


def test_roles_and_layers_mix_and_dot_products_take_the_models_settings() -> None:
    model = ModelConfig("tiny", d_model=16, num_heads=2, ffn_dim=24, decoder_layers=3, attention_scale=0.3)
    attention = AttentionConfig(encoder=["delta", "sigmoid"], decoder=["linear", "full", "differential"], cross="full")
    made = build_network(model, attention, source_vocab=20, target_vocab=20, shared=True)
    assert torch.isfinite(made(collate(EXAMPLES, pad_id=0, start_id=1), CrossEntropy()).objective)
    sigmoid, differential = made.encoder.layers[1].mixer, made.decoder.layers[2].mixer
    assert sigmoid.rotary.head_dim == 8 and differential.rotary.head_dim == 4
    assert sigmoid.scale == differential.scale == 0.3


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        (
            "additive",
            {"positions": "rotary"},
            "`Additive` of the encoder attention does not take `model.positions: ro",
        ),
        ("linear", {"positions": "rotary"}, "`LinearAttention` of the encoder attention does not take `model.posi"),
        ("delta", {"attention_dropout": 0.1}, "`Delta` of the encoder attention does not take `model.attention_drop"),
        ("additive", {"attention_scale": 0.5}, "does not take `model.attention_scale: 0.5`."),
        ("delta", {"attention_scale": 0.5, "attention_dropout": 0.1}, "scale: 0.5` and `model.attention_dropout: 0.1`"),
        ("sigmoid", {"positions": "rotary", "attention_scale": 0.5, "attention_dropout": 0.1}, None),
        ("differential", {"positions": "rotary", "attention_scale": 0.5, "attention_dropout": 0.1}, None),
        ("full", {"positions": "rotary", "attention_scale": 0.5, "attention_dropout": 0.1}, None),
        ("additive", {"attention_dropout": 0.1}, None),
        ("delta", {}, None),
    ],
)
def test_what_a_mixer_does_not_take_is_said(name: str, settings: dict[str, Any], words: str | None) -> None:
    model = ModelConfig(preset="tiny", **{"d_model": 16, "num_heads": 2, "positions": "none", **settings})
    attention = AttentionConfig(encoder=[name, "full", name], cross=name)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        build_network(model, attention, source_vocab=9, target_vocab=9, shared=True)
        build_network(model, attention, source_vocab=9, target_vocab=9, shared=True, warn=False)
    said = [str(each.message) for each in found]
    if words is None:
        assert said == []
        return
    # In a cross role nothing has rotary positions, so that nothing is missed there.
    roles = ["encoder"] if settings.keys() == {"positions"} else ["encoder", "cross"]
    assert len(said) == len(roles) and words in said[0] and "\n" not in said[0]
    assert all(f"of the {role} attention" in line for role, line in zip(roles, said, strict=True))


@pytest.mark.parametrize("name", ["additive", "linear", "delta", "sigmoid", "differential"])
def test_what_a_mixer_says_it_takes_changes_it_and_nothing_else_does(name: str) -> None:
    """The declaration compared with what happens."""
    kind = type(build_rule(name))
    assert issubclass(kind, Mixer)
    settings = {"attention_scale": 0.01, "attention_dropout": 0.5, "rotary": "rotary"}
    batch = collate(EXAMPLES, pad_id=0, start_id=1)

    def hidden(setting: str | None) -> torch.Tensor:
        chosen: dict[str, Any] = {"positions": "none"}
        if setting is not None:
            chosen["positions" if setting == "rotary" else setting] = settings[setting]
        model = ModelConfig(preset="tiny", **{"d_model": 16, "num_heads": 2, "dropout": 0.0, **chosen})
        made = build_network(
            model, AttentionConfig(encoder=name), source_vocab=20, target_vocab=20, shared=True, warn=False
        )
        with torch.no_grad():
            return made.train().encode(batch.source, batch.source_tokens).hidden

    plain = hidden(None)
    changed = {setting for setting in settings if not torch.equal(hidden(setting), plain)}
    assert changed == set(kind.takes) - {"num_kv_heads"}
