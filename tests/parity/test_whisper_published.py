"""Whisper's log-mel features against its authors' own: numbers of the package openai-whisper 20250625 (MIT licence,
https://github.com/openai/whisper).

FILTERS are weights of whisper/assets/mel_filters.npz; FEATURES are what `log_mel_spectrogram` of whisper/audio.py
returns for `chirp()`.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from antiphon.inputs.sound import log_mel, mel_bands

# (bands, number of the band): the first frequency with a weight, and the weights from there on
FILTERS = {
    (80, 0): (1, [0.024862595]),
    (80, 30): (29, [0.015856037, 0.0089627709]),
    (80, 60): (90, [0.0014345343, 0.003441219, 0.0054479041, 0.0065910928, 0.0046600117, 0.0027289304, 0.00079784915]),
    (80, 79): (
        186,
        [0.00036674167, 0.00083307002, 0.0012993984, 0.0017657268, 0.0022320549, 0.0026983833, 0.0031647119,
         0.0031413133, 0.0026925541, 0.0022437952, 0.001795036, 0.0013462771, 0.00089751801, 0.000448759],
    ),
    (128, 0): (1, [0.012373987]),
    (128, 64): (42, [0.0067496826, 0.018091518]),
    (128, 127): (
        191,
        [0.00047569509, 0.0016171717, 0.0027586485, 0.0039001252, 0.0050416016, 0.0044571208, 0.0033428406,
         0.0022285604, 0.001114280],
    ),
}  # fmt: skip
SUMS = {80: (1.999024092387117, 391), 128: (3.1909855409403463, 394)}  # of all weights, and how many are not 0
FRAMES = [0, 25, 50, 99]
FEATURES = {
    80: ([0, 10, 30, 50, 79], [[1.165937, 0.908052, 0.390717, 0.055606, -0.076369],
         [-0.553048, -0.553048, 0.089804, -0.553048, -0.553048],
         [-0.553048, -0.553048, -0.465733, -0.553048, -0.553048],
         [-0.240231, -0.236229, -0.204787, -0.0009, -0.410772]]),
    128: ([0, 20, 50, 90, 127], [[1.090178, 0.804924, 0.359604, -0.04883, -0.078588],
          [-0.503978, -0.481912, -0.068528, -0.503978, -0.503978],
          [-0.503978, -0.503978, -0.419285, -0.503978, -0.503978],
          [-0.31599, -0.244972, -0.216077, 1.365709, -0.411026]]),
}  # fmt: skip


def chirp() -> Tensor:
    """A second of a rising tone, and a faint one of 6,000 Hz."""
    t = torch.arange(16000, dtype=torch.float64) / 16000
    rising = 0.5 * (2 * math.pi * (200 * t + 1500 * t * t)).sin()
    return (rising + 0.01 * (2 * math.pi * 6000 * t).sin()).float()


@pytest.mark.parametrize(("bins", "band"), FILTERS)
def test_the_filters_are_theirs(bins: int, band: int) -> None:
    first, weights = FILTERS[bins, band]
    wanted = torch.zeros(201)
    wanted[first : first + len(weights)] = torch.tensor(weights)
    found = mel_bands(bins, window=400, sampling_rate=16000)
    assert found.shape == (bins, 201) and torch.allclose(found[band], wanted, rtol=1e-6, atol=1e-8)
    total, count = SUMS[bins]
    assert float(found.double().sum()) == pytest.approx(total, abs=1e-6) and int((found > 0).sum()) == count


@pytest.mark.parametrize("bins", FEATURES)
def test_the_features_are_theirs(bins: int) -> None:
    bands, values = FEATURES[bins]
    found = log_mel(chirp(), bins=bins, window=400, hop=160, sampling_rate=16000)
    assert found.shape == (100, bins)
    assert torch.allclose(found[FRAMES][:, bands], torch.tensor(values), atol=2e-5)
