"""Sound: .wav files as samples, and samples as log-mel features. That these are transformers' is tests/parity/."""

from __future__ import annotations

import array
import math
import struct
import wave
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from antiphon.errors import DataError
from antiphon.inputs.sound import fit, log_mel, mel_bands
from antiphon.inputs.sounds.files import read_audio

CODES = {1: "B", 2: "h", 4: "i"}  # of the samples, by their bytes


def write_wav(file: Path, numbers: Sequence[int], *, width: int = 2, channels: int = 1, rate: int = 16000) -> Path:
    """A .wav file of whole numbers, channels in turn."""
    with wave.open(str(file), "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(width)
        sound.setframerate(rate)
        sound.writeframes(array.array(CODES[width], numbers).tobytes())
    return file


def read_wav(file: Path, *, sampling_rate: int) -> torch.Tensor:
    """The samples of a file."""
    with file.open("rb") as opened:
        return read_audio(opened, f"`{file}`", sampling_rate=sampling_rate)


@pytest.mark.parametrize(
    ("width", "numbers"),
    [(1, [128, 192, 0, 255]), (2, [0, 2**14, -(2**15), 2**15 - 1]), (4, [0, 2**30, -(2**31), 2**31 - 1])],
)
def test_samples_of_each_width_are_between_minus_one_and_one(width: int, numbers: list[int], tmp_path: Path) -> None:
    found = read_wav(write_wav(tmp_path / "a.wav", numbers, width=width), sampling_rate=16000)
    assert found[:3].tolist() == [0.0, 0.5, -1.0] and 0.99 < float(found[3]) <= 1.0


def test_channels_are_averaged(tmp_path: Path) -> None:
    file = write_wav(tmp_path / "a.wav", [2**14, -(2**14), 2**14, 2**14], channels=2)
    assert read_wav(file, sampling_rate=16000).tolist() == [0.0, 0.5]


def test_an_empty_file_and_one_cut_short(tmp_path: Path) -> None:
    file = write_wav(tmp_path / "a.wav", [])
    assert read_wav(file, sampling_rate=16000).shape == (0,)
    file = write_wav(tmp_path / "b.wav", range(100), width=4)
    file.write_bytes(file.read_bytes()[:-2])
    assert read_wav(file, sampling_rate=16000).shape == (99,)


def test_samples_of_24_bits(tmp_path: Path) -> None:
    numbers = [0, 2**22, -(2**23), 2**23 - 1, -1, 12345]
    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setnchannels(2)
        sound.setsampwidth(3)
        sound.setframerate(16000)
        sound.writeframes(b"".join(number.to_bytes(3, "little", signed=True) for number in numbers))
    found = read_wav(tmp_path / "a.wav", sampling_rate=16000)
    scaled = torch.tensor(numbers, dtype=torch.float64) / 2**23
    assert torch.equal(found, scaled.view(-1, 2).mean(1).float())


PCM, FLOAT = (bytes.fromhex(f"{kind:02x}00000000001000800000aa00389b71") for kind in (1, 3))


def write_extensible(
    file: Path, numbers: Sequence[int], *, width: int = 2, channels: int = 1, kind: bytes = PCM, before: bytes = b""
) -> Path:
    """A .wav file whose head is that of WAVE_FORMAT_EXTENSIBLE, with other chunks before it."""
    signed = width > 1
    data = b"".join(number.to_bytes(width, "little", signed=signed) for number in numbers)
    each, bits = width * channels, 8 * width
    head = struct.pack("<HHIIHHHHI", 0xFFFE, channels, 16000, 16000 * each, each, bits, 22, bits, 4) + kind
    body = b"WAVE" + before + b"fmt " + struct.pack("<I", len(head)) + head
    body += b"data" + struct.pack("<I", len(data)) + data
    file.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return file


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("before", [b"", b"LIST" + struct.pack("<I", 3) + b"abc\0"])
def test_whole_numbers_in_the_extensible_format(width: int, before: bytes, tmp_path: Path) -> None:
    # F16: recorders and ffmpeg write it, and Python's own library reads it from 3.12 on.
    top = 1 << 8 * width - 1
    numbers = [top, 0, 255, 1] if width == 1 else [0, -top, top - 1, top // 2]
    found = read_wav(write_extensible(tmp_path / "a.wav", numbers, width=width, before=before), sampling_rate=16000)
    wanted = [(number - (128 if width == 1 else 0)) / top for number in numbers]
    assert found.tolist() == torch.tensor(wanted, dtype=torch.float64).float().tolist()
    two = read_wav(write_extensible(tmp_path / "b.wav", numbers, width=width, channels=2), sampling_rate=16000)
    assert two.shape == (2,)


def test_numbers_of_40_bits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"b\.wav` cannot be read as sound"):
        read_wav(write_extensible(tmp_path / "b.wav", [1, 2], width=5), sampling_rate=16000)


@pytest.mark.parametrize("size", [0, 4, 11, 12, 19, 20, 40, 60])
def test_a_head_that_is_cut_short_is_one_line(size: int, tmp_path: Path) -> None:
    file = write_extensible(tmp_path / "a.wav", [1, 2])
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(DataError, match=r"^`[^`]*a\.wav` (is empty|must be a \.wav|cannot be read as sound).*\.$"):
        read_wav(file, sampling_rate=16000)


def test_a_clip_is_cut_or_followed_by_silence() -> None:
    samples = torch.arange(1.0, 4.0)
    assert fit(samples, 2).tolist() == [1, 2] and fit(samples, 5).tolist() == [1, 2, 3, 0, 0]


def test_a_tone_is_loudest_in_its_own_band() -> None:
    """Bands are evenly spaced in mel: the middle of band i stands at (i + 1) / (bins + 1) of the highest mel."""
    highest = 15 + math.log(8) * 27 / math.log(6.4)
    for hertz, mel in ((440.0, 6.6), (1000.0, 15.0), (6400.0, 42.0)):
        tone = (torch.arange(16000) * (2 * math.pi * hertz / 16000)).sin()
        loudest = log_mel(tone, bins=80, window=400, hop=160, sampling_rate=16000)[50].argmax()
        assert abs(float(loudest + 1) - mel * 81 / highest) <= 1, hertz


def test_features_have_a_known_range_and_silence_is_flat() -> None:
    quiet = log_mel(torch.zeros(1600), bins=80, window=400, hop=160, sampling_rate=16000)
    assert quiet.shape == (10, 80) and quiet.unique().tolist() == [-1.5]
    loud = log_mel(torch.randn(1600), bins=128, window=400, hop=160, sampling_rate=16000)
    assert loud.max() - loud.min() <= 2 and loud.isfinite().all()


def test_each_band_has_an_area_of_one() -> None:
    """Over frequencies of 1 Hz, which are much closer than the corners of the triangles."""
    bands = mel_bands(40, window=16000, sampling_rate=16000)
    assert torch.allclose(bands.sum(1), torch.ones(40), atol=1e-3)
