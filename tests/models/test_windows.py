"""A source read in windows: every token once, alone as in a batch, and as read at once where no token looks far."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from antiphon.batch import Tokens, pad
from antiphon.config import AttentionConfig, ModelConfig
from antiphon.models.build import build_network
from antiphon.models.windows import CONTEXT, windows_of

LONGEST = 32


def network(encoder="full", positions="none", max_length=LONGEST):
    model = ModelConfig(
        preset="tiny", d_model=32, num_heads=2, ffn_dim=32, positions=positions, max_length=max_length, dropout=0.0
    )
    made = build_network(model, AttentionConfig(encoder=encoder), source_vocab=50, target_vocab=50, shared=True)
    return made.double().eval()


def rows(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(4, 50, (length,), generator=generator).tolist() for length in lengths]


@pytest.mark.parametrize("longest", [1, 2, 7, 8, 9, 32])
def test_windows_keep_every_token_once_and_fit(longest):
    lengths = [1, longest, longest + 1, 2 * longest, 5 * longest + 3, 200]
    kept = [[] for _ in lengths]
    for window in windows_of(lengths, longest):
        assert 0 <= window.start <= window.first <= window.last <= window.stop <= lengths[window.row]
        assert window.stop - window.start <= longest
        inside = window.first > window.start or window.start == 0
        assert inside or longest < CONTEXT, "a window begins with context"
        kept[window.row] += range(window.first, window.last)
    assert kept == [list(range(length)) for length in lengths]


@pytest.mark.parametrize("positions", ["none", "sinusoidal", "rotary", "learned", "alibi"])
def test_a_row_alone_is_the_row_in_a_batch(positions):
    net = network(positions=positions)
    sources = rows(5, 100, 32, 33, 64)
    together = net.encode(*pad(sources, pad_id=0))
    for row, source in enumerate(sources):
        alone = net.encode(*pad([source], pad_id=0))
        assert torch.allclose(together.hidden[row, : len(source)], alone.hidden[0], atol=1e-12)
        assert (together.hidden[row, len(source) :] == 0).all()
        assert together.tokens.pos[row, : len(source)].tolist() == list(range(len(source)))


@pytest.mark.parametrize("positions", ["none", "rotary", "alibi"])
def test_windows_equal_the_whole_where_no_token_looks_beyond_its_context(positions):
    """Two layers that look one token to each side: the context of four covers them."""
    near = {"window": 1}
    cut, whole = network(near, positions), network(near, positions, max_length=500)
    whole.load_state_dict(cut.state_dict())
    source, tokens = pad(rows(150, 77), pad_id=0)
    assert torch.allclose(cut.encode(source, tokens).hidden, whole.encode(source, tokens).hidden, atol=1e-10)


def test_far_looking_attention_differs():
    """The law above has teeth: with full attention a window is not the whole."""
    cut, whole = network(), network(max_length=500)
    whole.load_state_dict(cut.state_dict())
    source, tokens = pad(rows(150), pad_id=0)
    assert not torch.allclose(cut.encode(source, tokens).hidden, whole.encode(source, tokens).hidden, atol=1e-3)


def test_the_gradient_reaches_every_token():
    net = network(positions="sinusoidal").train()
    source, tokens = pad(rows(100), pad_id=0)
    net.encode(source, Tokens(tokens.pos)).hidden.square().sum().backward()
    touched = net.source.table.weight.grad.abs().sum(1) > 0
    assert all(touched[id] for id in source[0].tolist())


def test_the_maps_of_a_source_in_windows_are_those_of_each_token_in_its_window():
    net, lengths = network(), (100, 20)
    source, tokens = pad(rows(*lengths), pad_id=0)
    looked = replace(tokens, maps={})
    memory = net.encode(source, looked)
    assert torch.equal(memory.hidden, net.encode(source, tokens).hidden)
    assert looked.maps is not None
    for layer, mixer in enumerate(each.mixer for each in net.encoder.layers):
        (found,) = looked.maps[mixer]
        assert found.shape == (2, 2, 100, 100)
        torch.testing.assert_close(found.sum(-1), tokens.valid[:, None].expand(2, 2, 100).double(), rtol=0, atol=1e-12)
        for row, start, stop, first, last in windows_of(lengths, LONGEST):
            alone = replace(Tokens(torch.arange(stop - start)[None]), maps={})
            net.encode(source[row : row + 1, start:stop], alone)
            assert alone.maps is not None
            inside = alone.maps[net.encoder.layers[layer].mixer][0][0]
            part = found[row, :, first:last]
            torch.testing.assert_close(part[..., start:stop], inside[:, first - start : last - start])
            assert not part[..., :start].any() and not part[..., stop:].any()
