"""Sound files for tests."""

from __future__ import annotations

import io

import soundfile
import torch
from torch import Tensor


def tone(samples: int, *, rate: int = 16000, hertz: float = 440.0) -> Tensor:
    """A sine (N,) of half of the full amplitude."""
    return 0.5 * (torch.arange(samples) * (2 * torch.pi * hertz / rate)).sin()


def encoded(samples: Tensor, *, rate: int = 16000, format: str = "WAV", subtype: str | None = None) -> bytes:
    """The bytes of a sound file of samples (N,) or (N, channels)."""
    content = io.BytesIO()
    soundfile.write(content, samples.numpy(), rate, format=format, subtype=subtype)
    return content.getvalue()
