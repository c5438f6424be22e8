"""Convolutions over features: padding does not reach a row, positions are counted anew, gradients flow."""

from __future__ import annotations

import pytest
import torch

from antiphon.batch import Example, Tokens, collate, pad
from antiphon.config import AttentionConfig, FamilyConfig, ModelConfig
from antiphon.config.speech import SpeechConfig
from antiphon.errors import DataError
from antiphon.models.build import build_network
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn import Convolutions, Fixed
from antiphon.nn.convolutions import ClipNorm

LENGTHS = (1, 2, 7, 8, 5)


def features() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(length, 3, generator=generator) for length in LENGTHS]


@pytest.mark.parametrize("strides", [(1,), (1, 2), (2, 2), (3, 1, 2)])
def test_a_padded_row_gives_what_it_gives_alone(strides: tuple[int, ...]) -> None:
    convolutions = Convolutions(3, 6, strides=strides)
    batch, tokens = pad(features(), pad_id=0)
    batch[~tokens.valid] = 1e30  # whatever stands there
    x, places = convolutions(batch, tokens)
    for row, own in enumerate(features()):
        alone, own_places = convolutions(own[None], Tokens(torch.arange(len(own))[None]))
        length = alone.shape[1]
        for stride in strides:
            own = own[::stride]
        assert length == len(own) and own_places.pos.tolist() == [list(range(length))]
        assert places.pos[row, :length].tolist() == list(range(length)) and not places.valid[row, length:].any()
        assert torch.allclose(x[row, :length], alone[0], atol=1e-6)


def test_fixed_positions_are_saved_and_not_trained() -> None:
    fixed = Fixed(6, max_length=9, layout="closed_halves")
    assert not list(fixed.parameters()) and list(fixed.state_dict()) == ["table"]
    x = torch.zeros(1, 9, 6)
    found = fixed(x, torch.arange(9)[None])[0]
    angle = torch.tensor([1.0, 0.01, 1e-4])
    assert torch.allclose(found[1], torch.cat([angle.sin(), angle.cos()]))


def network() -> EncoderDecoder:
    speech = SpeechConfig(mel_bins=3, positions=4, sampling_rate=1000, hop=125, window=100, seconds=1)
    family = FamilyConfig(name="whisper", pad_id=0, start_id=1, end_id=2, key_bias=False, speech=speech)
    model = ModelConfig(preset="tiny", d_model=16, num_heads=2, ffn_dim=20, bias=True, dropout=0.0, family=family)
    return build_network(model, AttentionConfig(), source_vocab=9, target_vocab=9, shared=True)


def test_a_network_learns_from_features() -> None:
    ears = network()
    batch = collate([Example(row, [5, 6, 2], i) for i, row in enumerate(features())], pad_id=0, start_id=1)
    loss = ears(batch, torch.nn.functional.cross_entropy)
    loss.backward()
    for name, parameter in ears.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert float(ears.source.convolutions.layers[0].weight.grad.abs().max()) > 0


def test_a_clip_of_too_many_frames_is_refused() -> None:
    frames = torch.zeros(1, 9, 3)
    with pytest.raises(DataError, match="a clip must have at most 8 frames, but has 9"):
        network().encode(frames, Tokens(torch.arange(9)[None]))


def test_without_padding_only_whole_kernels_count_and_rows_stay_apart() -> None:
    convolutions = Convolutions(
        3, 6, strides=(1, 3, 2), kernels=(1, 4, 2), channels=(5, 4), activations=("tanh_norm", "glu", "relu"),
        padding=False,
    )  # fmt: skip
    rows = [torch.randn(length, 3, generator=torch.Generator().manual_seed(length)) for length in (7, 30, 2, 9)]
    batch, tokens = pad(rows, pad_id=0)
    batch[~tokens.valid] = 1e30
    x, places = convolutions(batch, tokens)
    for row, own in enumerate(rows):
        alone, own_places = convolutions(own[None], Tokens(torch.arange(len(own))[None]))
        length = max(0, ((len(own) - 4) // 3 + 1 - 2) // 2 + 1)
        assert int(own_places.valid.sum()) == int(places.valid[row].sum()) == length
        assert places.pos[row, :length].tolist() == list(range(length))
        assert torch.allclose(x[row, :length], alone[0, :length], atol=1e-6)


def test_a_norm_of_clips_is_a_group_norm_of_what_is_no_padding() -> None:
    norm, x = ClipNorm(4), torch.randn(2, 5, 4)
    torch.nn.init.normal_(norm.weight), torch.nn.init.normal_(norm.bias)
    reference = torch.nn.GroupNorm(1, 4)
    reference.load_state_dict(norm.state_dict())
    found = norm(x, torch.tensor([[True] * 5, [True] * 3 + [False] * 2]))
    assert torch.allclose(found[0], reference(x[:1].mT)[0].T, atol=1e-6)
    assert torch.allclose(found[1, :3], reference(x[1:, :3].mT)[0].T, atol=1e-6)
