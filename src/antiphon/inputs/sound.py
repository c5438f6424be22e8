"""Sound: the samples of a .wav file, and their log-mel features.

    samples = read_wav(Path("hello.wav"), sampling_rate=16000)                                  # (16000,), in [-1, 1]
    log_mel(fit(samples, 480_000), bins=80, window=400, hop=160, sampling_rate=16000)           # (3000, 80)

Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision" (Whisper), section 2.2. Shapes: N
samples, F frames, M mel bands.
"""

from __future__ import annotations

import functools
import io
import math
import wave
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from antiphon.errors import DataError

HIGHEST = 8000.0  # Hz, the upper end of the last mel band, as far as the rate has it
_FLOOR, _RANGE = 1e-10, 8.0  # of the energies; and how many powers of ten below a clip's loudest one still count
# The mel scale of Slaney 1998, "Auditory Toolbox": linear up to 1,000 Hz, mel 15; then 27 mels a factor of 6.4.
_KNEE_HZ, _KNEE_MEL, _MELS_A_NEPER = 1000.0, 15.0, 27.0 / math.log(6.4)
_WIDTHS = {1: torch.uint8, 2: torch.int16, 3: torch.uint8, 4: torch.int32}  # bytes of a sample
# The head of a file whose format is named by a GUID, and that of whole numbers (Microsoft, "Multiple Channel Audio Data
# and WAVE Files", WAVE_FORMAT_EXTENSIBLE and KSDATAFORMAT_SUBTYPE_PCM).
_EXTENSIBLE, _PCM = b"\xfe\xff", bytes.fromhex("0100000000001000800000aa00389b71")


def read_wav(given: Path | bytes, *, sampling_rate: int, start: int = 0, count: int | None = None) -> Tensor:
    """The samples (N,) of a .wav file, or of its bytes, in [-1, 1], float32, its channels averaged: at most `count`
    (None: all) from number `start` on.

    DataError if it is not a file of 8, 16, 24 or 32-bit integers (PCM), or has another sampling rate.
    """
    file = "recording.wav" if isinstance(given, bytes) else given
    convert = f"Convert it: {conversion(file, sampling_rate)}."
    try:
        with _opened(given) as sound:
            channels, width, rate = sound.getnchannels(), sound.getsampwidth(), sound.getframerate()
            sound.setpos(min(start, sound.getnframes()))
            content = sound.readframes(sound.getnframes() if count is None else count)
    except FileNotFoundError as error:
        raise DataError(f"there is no file `{file}`. Check the path.") from error
    except (OSError, EOFError, wave.Error) as error:
        problem = f"`{file}` must be a .wav file of whole numbers (PCM), but cannot be read ({error})"
        raise DataError(f"{problem}. {convert}") from error
    if width not in _WIDTHS:
        raise DataError(f"`{file}` must have samples of 8, 16, 24 or 32 bits, but has {8 * width}. {convert}")
    if rate != sampling_rate:
        raise DataError(
            f"`{file}` must have {sampling_rate} samples a second, the model's rate, but has {rate}. {convert}"
        )
    whole = len(content) // (width * channels) * width * channels  # a file that was cut short ends within a sample
    if not whole:
        return torch.zeros(0)
    numbers = torch.frombuffer(bytearray(content[:whole]), dtype=_WIDTHS[width])
    if width == 3:  # as the upper bytes of four
        low, middle_byte, high = numbers.view(-1, 3).int().T
        numbers, width = low << 8 | middle_byte << 16 | high << 24, 4
    middle = 128 if width == 1 else 0  # 8 bits are stored without a sign
    return ((numbers.view(-1, channels).double() - middle) / 2.0 ** (8 * width - 1)).mean(1).float()


def wav_length(file: Path) -> int:
    """The number of samples that the head of a .wav file states; 0 if it cannot be read."""
    try:
        with _opened(file) as sound:
            return sound.getnframes()
    except (OSError, EOFError, wave.Error):
        return 0


def conversion(file: str | Path, sampling_rate: int) -> str:
    """The command that converts a file to a format that `read_wav` reads."""
    return f"ffmpeg -i {file} -ar {sampling_rate} -ac 1 out.wav"


def _opened(given: Path | bytes) -> wave.Wave_read:
    """An open .wav file, also of integers in the extensible format, which the module `wave` reads since Python 3.12."""
    with io.BytesIO(given) if isinstance(given, bytes) else given.open("rb") as stream:
        place = _format_chunk(stream)
        stream.seek(place)
        head = stream.read(48)
        if head[8:10] != _EXTENSIBLE or head[32:48] != _PCM:
            return wave.open(io.BytesIO(given) if isinstance(given, bytes) else str(given), "rb")
        stream.seek(0)
        content = bytearray(stream.read())
    content[place + 8 : place + 10] = b"\x01\x00"  # PCM, whose fields stand in the same places
    return wave.open(io.BytesIO(content), "rb")


def _format_chunk(stream: BinaryIO) -> int:
    """Where the chunk `fmt ` begins, or the end of the file."""
    stream.seek(12)
    while len(head := stream.read(8)) == 8 and head[:4] != b"fmt ":
        size = int.from_bytes(head[4:], "little")
        stream.seek(size + size % 2, io.SEEK_CUR)
    return stream.tell() - len(head)


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
