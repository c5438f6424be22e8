"""Dropout whose bits are a function of (seed, step, micro-batch, site)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from antiphon.batch import Tokens
from antiphon.config import AttentionConfig, ModelConfig
from antiphon.errors import ConfigError
from antiphon.models.build import build_network
from antiphon.nn.noise import Dropout, LayerDrop, Noise, WordDropout, number_sites


def pair(p: float = 0.3) -> tuple[nn.ModuleList, Noise]:
    noise = Noise()
    layers = nn.ModuleList([Dropout(p, noise), Dropout(p, noise), LayerDrop(p, noise)])
    number_sites(layers)
    return layers, noise


@pytest.mark.parametrize("p", [0.05, 0.1, 0.3, 0.5, 0.9])
def test_share_and_mean(p: float) -> None:
    layers, _ = pair(p)
    x = torch.ones(500, 801)  # not a multiple of eight elements
    y = layers[0](x)
    assert abs(float((y == 0).float().mean()) - p) < 0.005
    assert abs(float(y.mean()) - 1) < 0.01
    assert len(y.unique()) == 2


def test_bits_are_a_function_of_the_key_alone() -> None:
    layers, noise = pair()
    x = torch.ones(64, 64)
    seen = set()
    for key in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]:
        noise.set(seed=key[0], step=key[1], micro_batch=key[2])
        for layer in layers[:2]:
            y = layer(x)
            torch.rand(3)  # what the global generator does is of no matter
            assert torch.equal(y, layer(x))
            seen.add(y.numpy().tobytes())
    assert len(seen) == 8


def test_evaluation_changes_nothing() -> None:
    layers, _ = pair()
    layers.eval()
    x = torch.randn(5, 5)
    assert layers[0](x) is x
    assert not layers[2].dropped()


def test_gradient_is_the_factor() -> None:
    layers, _ = pair()
    x = torch.randn(20, 20, requires_grad=True)
    y = layers[0](x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient * x, y)


def test_layer_drop_has_its_share() -> None:
    layers, noise = pair(0.25)
    dropped = 0
    for step in range(4000):
        noise.set(seed=0, step=step, micro_batch=0)
        dropped += layers[2].dropped()
    assert abs(dropped / 4000 - 0.25) < 0.03


def test_word_dropout_takes_whole_vectors_and_keeps_the_mean() -> None:
    noise = Noise()
    words = WordDropout(0.25, noise)
    number_sites(words)
    x = torch.rand(50, 80, 16) + 1
    y = words(x)
    gone = (y == 0).all(-1)
    assert torch.equal(gone, (y == 0).any(-1))
    assert abs(float(gone.float().mean()) - 0.25) < 0.03
    torch.testing.assert_close(y[~gone], x[~gone] / 0.75)
    assert words.eval()(x) is x


@pytest.mark.parametrize("side", ["source", "target"])
def test_word_dropout_reaches_both_sides_in_training_alone(side: str) -> None:
    plain, dropping = (
        build_network(
            ModelConfig(preset="tiny", dropout=0.0, word_dropout=p, positions="learned"),
            AttentionConfig(), source_vocab=9, target_vocab=9, shared=True,
        )
        for p in (0.0, 0.5)
    )  # fmt: skip
    ids = torch.randint(4, 9, (3, 40))
    tokens = Tokens(torch.arange(40)[None])
    one, other = getattr(plain, side), getattr(dropping, side)
    same = (one(ids, tokens)[0] == other(ids, tokens)[0]).all(-1)
    assert not same.any()  # kept ones are scaled, dropped ones are only their position
    assert float((other(ids, tokens)[0] == other.positions.table.weight[:40]).all(-1).float().mean()) > 0.3
    assert torch.equal(one.eval()(ids, tokens)[0], other.eval()(ids, tokens)[0])


def test_bits_of_an_earlier_forward_are_held() -> None:
    layers, noise = pair()
    x = torch.ones(64, 64)
    noise.set(seed=1, step=2, micro_batch=3)
    key, first = noise.key, layers[0](x)
    noise.set(seed=1, step=2, micro_batch=4)
    with noise.held(key):
        assert torch.equal(layers[0](x), first)
    assert noise.key == (1, 2, 4) and not torch.equal(layers[0](x), first)


@pytest.mark.parametrize("p", [0.995, 0.999, 0.9999])
def test_a_probability_that_is_nearly_one_keeps_the_mean(p: float) -> None:
    layers, _ = pair(p)
    y = layers[0](torch.ones(2000, 256))
    assert y.isfinite().all() and float(y.mean()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("p", [1.0, -0.1, 2, float("nan"), "0.1", True, None])
@pytest.mark.parametrize("kind", [Dropout, WordDropout, LayerDrop])
def test_what_is_no_probability_below_one_is_refused(kind: type, p: object) -> None:
    with pytest.raises(ConfigError, match="at least 0 and below 1, but is"):
        kind(p, Noise())


def forwards(noise: Noise, layer: nn.Module, count: int) -> list[torch.Tensor]:
    found = []
    for _ in range(count):
        noise.advance()
        found.append(layer(torch.ones(32, 32)))
    return found


def test_a_forward_for_which_nobody_chose_bits_draws_new_ones() -> None:
    layers, noise = pair()
    torch.manual_seed(5)
    first = forwards(noise, layers[0], 3)
    assert not any(torch.equal(first[i], first[j]) for i, j in [(0, 1), (0, 2), (1, 2)])
    torch.manual_seed(5)
    assert all(torch.equal(one, other) for one, other in zip(first, forwards(noise, layers[0], 3), strict=True))


def test_chosen_bits_hold_for_one_forward_and_draw_nothing() -> None:
    layers, noise = pair()
    torch.manual_seed(5)
    after = torch.rand(())
    torch.manual_seed(5)
    noise.set(seed=1, step=2, micro_batch=0)
    (chosen,) = forwards(noise, layers[0], 1)
    assert torch.equal(torch.rand(()), after), "a chosen forward leaves the global generator alone"
    assert noise.key == (1, 2, 0)
    (drawn,) = forwards(noise, layers[0], 1)
    assert noise.key != (1, 2, 0) and not torch.equal(drawn, chosen)
    noise.set(seed=1, step=2, micro_batch=0)
    assert torch.equal(forwards(noise, layers[0], 1)[0], chosen)


def test_dropout_outside_of_a_network_says_what_is_missing() -> None:
    with pytest.raises(ConfigError, match="part of an EncoderDecoder"):
        Dropout(0.1, Noise())(torch.ones(3))
