"""Augmentations of sound: what they change, within which bounds, and that they are functions of their draw."""

from __future__ import annotations

from random import Random

import pytest
import torch
from inputs.sounds import tone

from antiphon.errors import ConfigError
from antiphon.inputs import AddedNoise, SpecAugment, Speed
from antiphon.inputs.augmentation import Augmentation, draws
from antiphon.registry import lookup

ALL = (SpecAugment(), Speed(), AddedNoise())


@pytest.mark.parametrize("each", ALL)
def test_an_augmentation_is_a_function_of_its_draw_and_changes_nothing_in_place(each: Augmentation) -> None:
    row, features = tone(4000), torch.randn(200, 80, generator=torch.Generator().manual_seed(1))
    before = row.clone(), features.clone()
    state = torch.get_rng_state()
    found = [(each.of_row(row, Random(seed)), each.of_features(features, Random(seed))) for seed in (1, 1, 2)]
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    same = [found[0][i].shape == found[2][i].shape and torch.equal(found[0][i], found[2][i]) for i in (0, 1)]
    assert not all(same)
    assert torch.equal(row, before[0]) and torch.equal(features, before[1])
    assert torch.equal(torch.get_rng_state(), state)


def test_spec_augment_masks_bands_and_frames_with_the_mean() -> None:
    features = torch.arange(1.0, 100 * 40 + 1).view(100, 40)
    widths, heights = set(), set()
    for seed in range(200):
        found = SpecAugment(frequency_masks=1, frequency_width=5, time_masks=1, time_width=30).of_features(
            features, Random(seed)
        )
        masked = found != features
        assert bool((found[masked] == features.mean()).all())
        bands, frames = masked.all(0), masked.all(1)
        assert torch.equal(masked, bands | frames[:, None])
        heights.add(int(bands.sum()))
        widths.add(int(frames.sum()))
    assert heights == set(range(6)) and widths == set(range(21))  # a fifth of the frames at most
    one = torch.ones(1, 3)
    assert torch.equal(SpecAugment().of_features(one, Random(0)), one)


def test_speed_changes_length_and_pitch_within_its_bounds() -> None:
    sound, speed = tone(16000), Speed(low=0.8, high=1.25)
    assert speed.longest == 1.25 and Speed(low=1.0).longest == 1.0
    lengths = [len(speed.of_row(sound, Random(seed))) for seed in range(50)]
    assert 12800 <= min(lengths) < 14000 and 18000 < max(lengths) <= 20000
    faster = Speed(low=1.25, high=1.25).of_row(sound, Random(0))
    assert float((faster - tone(12800, hertz=550))[300:-300].abs().max()) < 1e-3


def test_noise_has_the_ratio_that_was_drawn() -> None:
    sound = tone(16000)
    for decibels in (0.0, 20.0):
        noise = AddedNoise(low=decibels, high=decibels).of_row(sound, Random(3)) - sound
        found = 10 * float((sound.square().mean() / noise.square().mean()).log10())
        assert found == pytest.approx(decibels, abs=0.2)
    changed = sum(not torch.equal(AddedNoise(share=0.3).of_row(sound, Random(seed)), sound) for seed in range(200))
    assert 40 < changed < 80
    silence = torch.zeros(100)
    assert torch.equal(AddedNoise().of_row(silence, Random(0)), silence)


def test_draws_depend_on_seed_epoch_row_and_place() -> None:
    found = {
        each.random()
        for seed in (1, 2)
        for epoch in (0, 1)
        for number in (0, 1)
        for each in draws(ALL, seed=seed, epoch=epoch, number=number)
    }
    assert len(found) == 24
    again = [each.random() for each in draws(ALL, seed=1, epoch=1, number=0)]
    assert [each.random() for each in draws(ALL[:2], seed=1, epoch=1, number=0)] == again[:2]


def test_augmentations_are_registered_and_their_settings_checked() -> None:
    assert [lookup("augmentation", name) for name in ("spec_augment", "speed", "noise")] == [
        SpecAugment,
        Speed,
        AddedNoise,
    ]
    with pytest.raises(ConfigError, match=r"`low` must be at most `high` \(0.9\), but is 1.1"):
        Speed(low=1.1, high=0.9)
    with pytest.raises(ConfigError, match=r"`low` must be at most `high` \(5\), but is 6"):
        AddedNoise(low=6, high=5)
