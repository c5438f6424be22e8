"""Augmentations of sound: masks of frames and bands, speed, noise.

    data:
      augment: [{speed: {low: 0.9, high: 1.1}}, {noise: {low: 10, high: 40}}, spec_augment]

Shapes: N samples, F frames, M bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from antiphon.inputs.augmentation import Augmentation, generator
from antiphon.inputs.sounds.files import resample
from antiphon.registry import register
from antiphon.settings import CountOrZero, Range, Settings, Share, require

_STEPS = 1000  # of the factor of `speed`: a rate for each thousandth, so that it is a whole number


@register("augmentation", "spec_augment")
@dataclass(frozen=True)
class SpecAugment(Settings, Augmentation):
    """Replaces bands and stretches of frames by the mean of the features (Park et al. 2019, SpecAugment, section 2).

    Time warping, which the paper finds to contribute least, is left out.
    """

    inputs: ClassVar[str] = "audio"

    frequency_masks: CountOrZero = 2
    """Stretches of bands that are masked."""
    frequency_width: CountOrZero = 27
    """Each has from none to as many bands."""
    time_masks: CountOrZero = 2
    """Stretches of frames that are masked."""
    time_width: CountOrZero = 100
    """Each has from none to as many frames."""
    time_share: Share = 0.2
    """Each has at most this share of the frames of a clip."""

    def of_features(self, features: Tensor, draw: Random) -> Tensor:
        frames, bands = features.shape
        masked = torch.zeros(frames, bands, dtype=torch.bool)
        for _ in range(self.frequency_masks):
            first, end = _stretch(bands, min(self.frequency_width, bands), draw)
            masked[:, first:end] = True
        longest = min(self.time_width, int(frames * self.time_share))
        for _ in range(self.time_masks):
            first, end = _stretch(frames, longest, draw)
            masked[first:end] = True
        return torch.where(masked, features.mean(), features)


def _stretch(length: int, longest: int, draw: Random) -> tuple[int, int]:
    """The first place of a stretch of 0 to `longest` of `length` places, and the place after it."""
    width = draw.randint(0, longest)
    first = draw.randint(0, length - width)
    return first, first + width


@register("augmentation", "speed")
@dataclass(frozen=True)
class Speed(Settings, Augmentation):
    """Plays a recording faster or slower, and so higher or lower, by a factor from `low` to `high` (Ko et al. 2015,
    "Audio Augmentation for Speech Recognition"). Needs soxr."""

    inputs: ClassVar[str] = "audio"

    low: Annotated[float, Range(low=0.25, high=4)] = 0.9
    high: Annotated[float, Range(low=0.25, high=4)] = 1.1

    def check(self) -> None:
        require(self.low <= self.high, "low", f"must be at most `high` ({self.high:g}), but is {self.low:g}")

    @property
    def longest(self) -> float:
        return max(1.0, _STEPS / round(self.low * _STEPS))

    def of_row(self, row: Tensor, draw: Random) -> Tensor:
        factor = round(draw.uniform(self.low, self.high) * _STEPS)
        return resample(row, factor, _STEPS, need="the augmentation `speed` changes rates")


@register("augmentation", "noise")
@dataclass(frozen=True)
class AddedNoise(Settings, Augmentation):
    """Adds white noise to a recording, which is from `low` to `high` decibels louder than the noise."""

    inputs: ClassVar[str] = "audio"

    low: Annotated[float, Range(low=-100, high=200)] = 10.0
    high: Annotated[float, Range(low=-100, high=200)] = 40.0
    share: Share = 1.0
    """The share of recordings that get noise."""

    def check(self) -> None:
        require(self.low <= self.high, "low", f"must be at most `high` ({self.high:g}), but is {self.low:g}")

    def of_row(self, row: Tensor, draw: Random) -> Tensor:
        if draw.random() >= self.share or not len(row):
            return row
        loudness = row.double().square().mean().sqrt()  # 0 for silence, which gets no noise
        ratio = 10 ** (draw.uniform(self.low, self.high) / 20)
        noise = torch.randn(len(row), generator=generator(draw), dtype=row.dtype)
        return row + noise * (loudness / ratio).to(row.dtype)
