"""Features of sound besides Whisper's log-mel energies: Kaldi's filter banks, and frames of samples.

    filter_banks(samples, bins=80, window=400, hop=160, sampling_rate=16000)        # (N,) -> (F, 80)
    normalized(features)                                                            # mean 0, deviation 1 in each band

Shapes: N samples, F frames, M bands.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

_PRE_EMPHASIS, _POVEY = 0.97, 0.85  # Kaldi's, feat/feature-window.cc
_FLOOR = 1.192092955078125e-07  # Kaldi's, float32's epsilon


def filter_banks(samples: Tensor, *, bins: int, window: int, hop: int, sampling_rate: int) -> Tensor:
    """Samples (N,) to the log filter-bank energies (1 + (N - window) // hop, M) of Kaldi (Povey et al. 2011), float32.

    A frame is `window` samples without their mean, with pre-emphasis, under Povey's window; its power spectrum, of the
    next power of two of points, is summed into `bins` bands, even in mel from 20 Hz to half of the rate; natural
    logarithms. Samples are scaled to 16 bits. Computed in float64, without dither.
    """
    frames = framed(samples.double() * 2**15, window=window, hop=hop)  # (F, window)
    frames = frames - frames.mean(1, keepdim=True)
    before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    shape = torch.hann_window(window, periodic=False, dtype=torch.float64) ** _POVEY
    points = 1 << (window - 1).bit_length()
    power = torch.fft.rfft((frames - _PRE_EMPHASIS * before) * shape, n=points).abs().square()  # (F, points // 2 + 1)
    energies = power @ _bands(bins, points=points, sampling_rate=sampling_rate).T
    return energies.clamp(min=_FLOOR).log().float()


def framed(samples: Tensor, *, window: int, hop: int) -> Tensor:
    """Samples (N,) as frames (1 + (N - window) // hop, window), each `hop` samples after the one before it.

    A rest that fills no frame is left out; N must be at least `window`.
    """
    return samples.unfold(0, window, hop)


def normalized(features: Tensor) -> Tensor:
    """Features (F, M) with the mean 0 and the standard deviation 1 over the frames; 0 in a band that is constant."""
    apart = features - features.mean(0)
    deviation = features.std(0, correction=0)
    return torch.where(deviation > 0, apart / deviation.clamp(min=torch.finfo(features.dtype).tiny), 0.0)


@functools.cache
def _bands(bins: int, *, points: int, sampling_rate: int) -> Tensor:
    """Weights (M, points // 2 + 1), float64: triangles in mel, each with the height 1."""
    frequencies = torch.arange(points // 2 + 1, dtype=torch.float64) * sampling_rate / points
    low, high = (_mel(torch.tensor(hertz, dtype=torch.float64)) for hertz in (20.0, sampling_rate // 2))
    corners = torch.linspace(float(low), float(high), bins + 2, dtype=torch.float64)
    left, middle, right = (corners[i : bins + i, None] for i in range(3))
    return _triangles(_mel(frequencies), left, middle, right)


def _mel(hertz: Tensor) -> Tensor:
    return 1127.0 * (1.0 + hertz / 700.0).log()


def _triangles(places: Tensor, left: Tensor, middle: Tensor, right: Tensor) -> Tensor:
    """(M, K): 1 at `middle`, falling to 0 at `left` and `right`."""
    return ((places - left) / (middle - left)).minimum((right - places) / (right - middle)).clamp(min=0)
