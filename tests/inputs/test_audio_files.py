"""Sound files: every format and rate, lengths from the head, and files that are broken or no sound."""

from __future__ import annotations

import io
import random
import struct
import sys
import time
from typing import BinaryIO, cast

import pytest
import torch
from counts import count
from inputs.sounds import encoded, tone

from antiphon.errors import ConfigError, DataError
from antiphon.inputs.sounds.files import audio_length, read_audio, read_head, resample
from antiphon.inputs.sounds.stored import StoredSound

FORMATS = [
    ("WAV", "PCM_U8", 0.01),
    ("WAV", "PCM_16", 1e-4),
    ("WAV", "PCM_24", 1e-6),
    ("WAV", "PCM_32", 1e-6),
    ("WAV", "FLOAT", 1e-6),
    ("WAV", "DOUBLE", 1e-6),
    ("WAV", "ULAW", 0.02),
    ("WAVEX", "PCM_16", 1e-4),
    ("WAVEX", "FLOAT", 1e-6),
    ("FLAC", "PCM_16", 1e-4),
    ("OGG", "VORBIS", 0.05),
    ("MP3", "MPEG_LAYER_III", 0.1),
]


class Counting(io.BytesIO):
    """A file that counts the bytes that are read of it."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(size)
        self.count += len(found)
        return found


def read(content: bytes, rate: int = 16000) -> torch.Tensor:
    return read_audio(io.BytesIO(content), "`a`", sampling_rate=rate)


@pytest.mark.parametrize(("format", "subtype", "most"), FORMATS)
def test_every_format_is_read_and_its_channels_are_averaged(format: str, subtype: str, most: float) -> None:
    sound = tone(4001)
    content = encoded(torch.stack([sound, sound * 0.5], 1), format=format, subtype=subtype)
    found = read(content)
    assert found.shape == (4001,) and found.dtype == torch.float32
    assert float((found - 0.75 * sound).abs().max()) < most
    for rate in (8000, 16000, 44100):
        assert len(read(content, rate)) == audio_length(io.BytesIO(content), "`a`", sampling_rate=rate)


def test_the_length_is_known_from_the_head() -> None:
    file = Counting(encoded(tone(80000)))
    assert audio_length(cast(BinaryIO, file), "`a`", sampling_rate=16000) == 80000 and file.count < 100


def test_other_rates_are_resampled() -> None:
    found = read(encoded(tone(8000, rate=8000), rate=8000))
    assert len(found) == 16000
    assert float((found - tone(16000))[500:-500].abs().max()) < 1e-3
    assert [len(resample(torch.zeros(n), 44100, 16000, need="")) for n in (0, 1, 3, 441)] == [0, 1, 2, 160]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: a file without a byte"),
        (b"hello, this is a text", r"must be a \.wav, \.flac, \.ogg or \.mp3 file, but begins with b'hello, this"),
        (b"RIFF\x10\0\0\0WAVE" + b"\0" * 40, "cannot be read as sound"),
        (encoded(tone(9000), format="FLAC")[:-3000], "cannot be read as sound"),
        (encoded(tone(9000), format="OGG")[:400], "cannot be read as sound"),
        (encoded(tone(30000), format="MP3")[:-2000], r"is cut short: it should have 30,000 samples, but has"),
        (encoded(torch.tensor([0.0, torch.inf]), subtype="FLOAT"), "samples that are infinite or not a number"),
        (encoded(tone(10), rate=30), "must have from 1,000 to 1,048,576 samples a second, but has 30"),
        (encoded(torch.zeros(2, 80)), "must have from 1 to 64 channels, but has 80"),
    ],
)
def test_what_is_no_sound_is_one_clear_line(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"^`a` .*{message}") as caught:
        read(content)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_a_compressed_file_that_claims_days_is_refused_without_their_memory() -> None:
    content = bytearray(encoded(tone(9000), format="FLAC"))
    content[21:26] = bytes([content[21] | 0x0F, 0xFF, 0xFF, 0xFF, 0xFF])  # 2^36 - 1 samples
    with pytest.raises(DataError, match=r"must have at most 4,294,967,296 samples, but its head says 68,719,476,735"):
        read(bytes(content))
    content[21:26] = bytes([content[21] & 0xF0, 0xFF, 0xFF, 0xFF, 0xFF])  # 2^32 - 1
    with pytest.raises(DataError, match=r"is cut short: it should have 4,294,967,295 samples, but has 9,000|as sound"):
        read(bytes(content))


def test_a_head_that_lies_is_bounded_by_the_file() -> None:
    content = bytearray(encoded(tone(100)))
    content[40:44] = struct.pack("<I", 2**32 - 1)  # as a stream has it, or a bomb
    begun = time.perf_counter()
    assert audio_length(io.BytesIO(content), "`a`", sampling_rate=16000) == len(read(bytes(content))) == 100
    assert time.perf_counter() - begun < 1.0
    assert len(read(encoded(tone(100))[:-50])) == 75
    zero = bytes(content[:22]) + b"\0\0" + bytes(content[24:])  # no channels
    with pytest.raises(DataError):
        read(zero)


@pytest.mark.parametrize("format", ["WAV", "WAVEX", "FLAC", "OGG", "MP3"])
def test_files_with_wrong_bytes_are_read_or_refused(format: str) -> None:
    """Each of some changed files has as many samples as its head says, or is one line."""
    whole, dice = encoded(torch.stack([tone(3000)] * 2, 1), format=format), random.Random(format)
    for _ in range(count("hostile_files") // 5):
        content = bytearray(whole)
        for _ in range(dice.choice([1, 3, 20])):
            content[int(dice.random() ** 3 * len(content))] = dice.randrange(256)  # more often near the head
        changed = bytes(content[: dice.choice([len(content), dice.randrange(1, len(content))])])
        try:
            length = audio_length(io.BytesIO(changed), "`a`", sampling_rate=8000)
            assert len(read(changed, 8000)) == length
        except DataError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(("format", "subtype"), [("WAV", "PCM_24"), ("FLAC", None), ("OGG", "VORBIS"), ("MP3", None)])
@pytest.mark.parametrize("rate", [16000, 11025])
def test_a_sound_in_its_file_has_the_samples_of_the_whole(
    format: str, subtype: str | None, rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encoded(torch.stack([tone(12_345)] * 3, 1)[:, :2], rate=rate, format=format, subtype=subtype)
    whole, opens = read(content), []

    def opened() -> BinaryIO:
        opens.append(1)
        return io.BytesIO(content)

    monkeypatch.setattr("antiphon.inputs.sounds.files._BLOCK", 777)
    assert torch.equal(read(content), whole)
    stored = StoredSound(opened, "`a`", sampling_rate=16000)
    assert len(stored) == len(whole) and len(opens) == 1
    for start in range(0, len(whole), 900):  # forwards, with an overlap
        assert torch.equal(stored.read(start, start + 1000), whole[start : start + 1000])
    assert len(opens) == 2 and stored._held.numel() <= 1000
    for start, stop in ((50, 60), (10, 5000), (10, 20), (9000, 9001), (0, len(whole) + 9), (len(whole) + 5, 10**6)):
        assert torch.equal(stored.read(start, stop), whole[start:stop])


def test_a_sound_that_is_broken_further_on_is_named_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.inputs.sounds.files._BLOCK", 777)
    broken = encoded(torch.cat([tone(5000), torch.tensor([torch.nan]), tone(5000)]), subtype="FLOAT")
    stored = StoredSound(lambda: io.BytesIO(broken), "`a`", sampling_rate=16000)
    assert len(stored.read(0, 1000)) == 1000
    with pytest.raises(DataError, match=r"^`a` has samples that are infinite or not a number"):
        stored.read(4900, 6000)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    flac, slow = encoded(tone(100), format="FLAC"), encoded(tone(100), rate=8000)
    for name in ("soundfile", "soxr"):
        monkeypatch.setitem(sys.modules, name, None)
    assert len(read(encoded(tone(100)))) == 100  # .wav needs nothing
    with pytest.raises(ConfigError, match=r"the package soundfile is needed.*pip install 'antiphon\[audio\]'"):
        read(flac)
    with pytest.raises(ConfigError, match=r"`a` has 8000 samples a second instead of 16000, for .* soxr is needed"):
        read(slow)


def test_the_head_of_a_file() -> None:
    head = read_head(io.BytesIO(encoded(torch.zeros(7, 2), rate=22050)), "`a`")
    assert (head.rate, head.channels, head.samples) == (22050, 2, 7)
