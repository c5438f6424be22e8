"""Log-mel features of sound.

    log_mel(fit(samples, 480_000), bins=80, window=400, hop=160, sampling_rate=16000)           # (3000, 80)

Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision" (Whisper), section 2.2. Shapes: N
samples, F frames, M mel bands.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

HIGHEST = 8000.0  # Hz, the upper end of the last mel band, as far as the rate has it
_FLOOR, _RANGE = 1e-10, 8.0  # of the energies; and how many powers of ten below a clip's loudest one still count
# The mel scale of Slaney 1998, "Auditory Toolbox": linear up to 1,000 Hz, mel 15; then 27 mels a factor of 6.4.
_KNEE_HZ, _KNEE_MEL, _MELS_A_NEPER = 1000.0, 15.0, 27.0 / math.log(6.4)


def fit(samples: Tensor, length: int) -> Tensor:
    """`samples` (N,), truncated or padded with silence to (length,)."""
    return torch.nn.functional.pad(samples[:length], (0, max(0, length - samples.shape[0])))


def log_mel(samples: Tensor, *, bins: int, window: int, hop: int, sampling_rate: int) -> Tensor:
    """Samples (N,) to log-mel energies (N // hop, M), float32.

    A frame is the power spectrum of `window` samples around its middle under a Hann window, summed into `bins` mel
    bands. The decadic logarithms are clamped to at most 8 below the clip's largest and scaled to about [-1, 1].
    """
    padded = reflected(samples.float(), window // 2, window // 2)
    logs = log_energies(padded, bins=bins, window=window, hop=hop, sampling_rate=sampling_rate)[:, :-1]
    return scaled(logs, logs.max())


def reflected(samples: Tensor, left: int, right: int) -> Tensor:
    """`samples` (N,) with `left` and `right` further ones, which mirror those beside the first and the last one."""
    return torch.nn.functional.pad(samples[None, None], (left, right), mode="reflect")[0, 0]


def log_energies(samples: Tensor, *, bins: int, window: int, hop: int, sampling_rate: int) -> Tensor:
    """The decadic logarithms (M, F) of the mel energies of the frames that lie in `samples` (N,), float32."""
    hann = torch.hann_window(window)
    spectrum = torch.stft(samples, window, hop, window=hann, center=False, return_complex=True)
    power = spectrum.abs().square()  # (window // 2 + 1, F)
    return (mel_bands(bins, window=window, sampling_rate=sampling_rate) @ power).clamp(min=_FLOOR).log10()


def scaled(logs: Tensor, loudest: Tensor) -> Tensor:
    """Logarithms (M, F) of energies to features (F, M); `loudest` is the largest one of the clip."""
    return ((logs.maximum(loudest - _RANGE) + 4) / 4).T.contiguous()


@functools.cache
def mel_bands(bins: int, *, window: int, sampling_rate: int) -> Tensor:
    """Weights (M, window // 2 + 1) of the frequencies in `bins` triangular bands, evenly spaced in mel from 0 to 8,000
    Hz or half of the rate, each scaled to an area of one (Slaney 1998); float32, computed in float64."""
    hertz = min(HIGHEST, sampling_rate / 2)
    above_knee = _KNEE_MEL + math.log(hertz / _KNEE_HZ) * _MELS_A_NEPER
    highest = above_knee if hertz > _KNEE_HZ else hertz * _KNEE_MEL / _KNEE_HZ
    mels = torch.linspace(0, highest, bins + 2, dtype=torch.float64)
    above = _KNEE_HZ * ((mels - _KNEE_MEL) / _MELS_A_NEPER).exp()
    corners = torch.where(mels < _KNEE_MEL, mels * _KNEE_HZ / _KNEE_MEL, above)  # Hz, (M + 2,)
    last = window // 2 * sampling_rate / window  # half of the rate if the window is even
    frequencies = torch.linspace(0, last, window // 2 + 1, dtype=torch.float64)
    left, middle, right = (corners[i : bins + i, None] for i in range(3))
    rising, falling = (frequencies - left) / (middle - left), (right - frequencies) / (right - middle)
    return (rising.minimum(falling).clamp(min=0) * 2 / (right - left)).float()
