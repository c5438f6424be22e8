"""Sound files: their length, from the head alone, and their samples at any rate.

    with open("hello.wav", "rb") as file:
        audio_length(file, "hello.wav", sampling_rate=16000)        # 16000, nothing is decoded
        read_audio(file, "hello.wav", sampling_rate=16000)          # (16000,), float32, channels averaged, resampled

A .wav file of whole numbers (PCM) or floats is read here; .flac, .ogg, .mp3 and all else by soundfile, and other rates
are resampled by soxr: both from the extra `[audio]`. Shapes: N samples.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, BinaryIO

import torch
from torch import Tensor

from antiphon.errors import ConfigError, DataError

LOWEST_RATE, HIGHEST_RATE = 1000, 2**20  # samples a second; others are of no sound
_MOST_CHANNELS = 64
_MOST_SAMPLES = 2**32  # days of sound; a larger number in a head is wrong
_BLOCK = 2**20  # samples that are decoded at once
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE  # WAVE_FORMAT_…
_WHOLE = {1: torch.uint8, 2: torch.int16, 3: torch.uint8, 4: torch.int32}  # types of samples by their bytes
_FLOATS = {4: torch.float32, 8: torch.float64}
# The end of the GUID of a sub-format, whose first two bytes are its number (Microsoft, "Multiple Channel Audio Data and
# WAVE Files", WAVE_FORMAT_EXTENSIBLE).
_GUID = bytes.fromhex("000000001000800000aa00389b71")
# The first bytes of the formats that soundfile reads; an .mp3 file without tags begins with the 11 bits of a frame.
_OTHERS = (b"fLaC", b"OggS", b"ID3", b"FORM", b"RIFF", b"RF64", b".snd", b"caff")


@dataclass(frozen=True)
class AudioHead:
    """What the head of a file says: samples a second, channels, and samples of each channel.

    `kind`, `width` and `start` are of a .wav file that is read here: whole numbers or floats, the bytes of a sample,
    and the place of the first one in the file; `width` 0 for other files.
    """

    rate: int
    channels: int
    samples: int
    kind: int = 0
    width: int = 0
    start: int = 0

    def resampled(self, sampling_rate: int) -> int:
        """The samples of each channel at another rate."""
        return -(-self.samples * sampling_rate // self.rate)


def audio_length(file: BinaryIO, what: str, *, sampling_rate: int) -> int:
    """The number of samples of a file at `sampling_rate`, from its head; `read_audio` returns as many.

    `what` names the file in errors. DataError if it is no sound.
    """
    return read_head(file, what).resampled(sampling_rate)


def read_audio(file: BinaryIO, what: str, *, sampling_rate: int) -> Tensor:
    """The samples (N,) of a file, float32, its channels averaged, resampled to `sampling_rate`.

    Whole numbers are scaled to [-1, 1]. DataError if it is no sound, is cut short or has numbers that are not finite,
    ConfigError if it needs a package that is not installed.
    """
    head = read_head(file, what)
    samples = _decode_wav(file, head) if head.width else _decode_other(file, head, what)
    if not bool(samples.isfinite().all()):
        raise DataError(f"{what} has samples that are infinite or not a number. Make the file again, or leave it out.")
    need = f"{what} has {head.rate} samples a second instead of {sampling_rate}"
    return resample(samples, head.rate, sampling_rate, need=need)


def resample(samples: Tensor, rate: int, sampling_rate: int, *, need: str) -> Tensor:
    """Samples (N,) at `rate` to (ceil(N · sampling_rate / rate),) at `sampling_rate`, by soxr; of any unit.

    ConfigError, which begins with `need`, if soxr is not installed.
    """
    if rate == sampling_rate or not len(samples):
        return samples
    soxr: Any = _package("soxr", need)
    found = torch.from_numpy(soxr.resample(samples.numpy(), rate, sampling_rate))
    length = AudioHead(rate, 1, len(samples)).resampled(sampling_rate)
    return torch.nn.functional.pad(found[:length], (0, max(0, length - len(found))))


def conversion(file: object, sampling_rate: int) -> str:
    """The command that converts a file to a .wav file with one channel at `sampling_rate`."""
    return f"ffmpeg -i {file} -ar {sampling_rate} -ac 1 out.wav"


def read_head(file: BinaryIO, what: str) -> AudioHead:
    """The head of a sound file; DataError, which names `what`, if it is none."""
    try:
        file.seek(0)
        start = file.read(12)
        if not start:
            raise DataError(f"{what} is empty: a file without a byte. Make the file again, or leave it out.")
        head = _wav_head(file) if start[:4] == b"RIFF" and start[8:] == b"WAVE" else None
        known = start.startswith(_OTHERS) or (start[0] == 0xFF and start[1:2] >= b"\xe0")
    except OSError as error:
        raise DataError(f"{what} cannot be read ({error.strerror or error}). Check the file.") from error
    if not known:
        convert = f"If it is sound, convert it: {conversion('FILE', 16000)}"
        raise DataError(f"{what} must be a .wav, .flac, .ogg or .mp3 file, but begins with {start!r}. {convert}.")
    head = head or _other_head(file, what)
    if not LOWEST_RATE <= head.rate <= HIGHEST_RATE:
        problem = f"from {LOWEST_RATE:,} to {HIGHEST_RATE:,} samples a second, but has {head.rate:,}"
        raise DataError(f"{what} must have {problem}. Make the file again, or leave it out.")
    if not 1 <= head.channels <= _MOST_CHANNELS:
        problem = f"from 1 to {_MOST_CHANNELS} channels, but has {head.channels}"
        raise DataError(f"{what} must have {problem}. Make the file again, or leave it out.")
    if not 0 <= head.samples <= _MOST_SAMPLES:
        problem = f"must have at most {_MOST_SAMPLES:,} samples, but its head says {head.samples:,}"
        raise DataError(f"{what} {problem}. Convert it: {conversion('FILE', head.rate)}.")
    return head


def _wav_head(file: BinaryIO) -> AudioHead | None:
    """The head of a .wav file; None if it is of a format that is not read here."""
    end = file.seek(0, io.SEEK_END)
    format, place = b"", 12
    while place + 8 <= end:
        file.seek(place)
        name, size = (head := file.read(8))[:4], int.from_bytes(head[4:], "little")
        if name == b"data":
            return _pcm_head(format, place + 8, min(size, end - place - 8))  # a stream has a size that is too large
        if name == b"fmt ":
            format = file.read(min(size, 64))
        place += 8 + size + size % 2
    return None


def _pcm_head(format: bytes, start: int, size: int) -> AudioHead | None:
    if len(format) < 16:
        return None
    kind, channels, rate = (int.from_bytes(format[at : at + n], "little") for at, n in ((0, 2), (2, 2), (4, 4)))
    width = int.from_bytes(format[12:14], "little") // max(1, channels)
    if kind == _EXTENSIBLE and format[26:40] == _GUID:
        kind = int.from_bytes(format[24:26], "little")
    if width not in {_PCM: _WHOLE, _FLOAT: _FLOATS}.get(kind, {}):
        return None
    return AudioHead(rate, channels, size // (width * max(1, channels)), kind, width, start)


def _decode_wav(file: BinaryIO, head: AudioHead) -> Tensor:
    """The samples (N,) of a .wav file."""
    file.seek(head.start)
    content = bytearray(file.read(head.samples * head.channels * head.width))
    whole = len(content) // (head.width * head.channels) * head.width * head.channels
    if not whole:
        return torch.zeros(0)
    if head.kind == _FLOAT:
        numbers = torch.frombuffer(content[:whole], dtype=_FLOATS[head.width])
        return numbers.view(-1, head.channels).double().mean(1).float()
    numbers, width = torch.frombuffer(content[:whole], dtype=_WHOLE[head.width]), head.width
    if width == 3:  # as the upper bytes of four
        low, middle_byte, high = numbers.view(-1, 3).int().T
        numbers, width = low << 8 | middle_byte << 16 | high << 24, 4
    middle = 128 if width == 1 else 0  # 8 bits are stored without a sign
    return ((numbers.view(-1, head.channels).double() - middle) / 2.0 ** (8 * width - 1)).mean(1).float()


def _other_head(file: BinaryIO, what: str) -> AudioHead:
    with _opened(file, what) as sound:
        return AudioHead(sound.samplerate, sound.channels, sound.frames)


def _decode_other(file: BinaryIO, head: AudioHead, what: str) -> Tensor:
    """The samples (N,) of a file that soundfile reads; DataError if there are fewer than its head says."""
    blocks: list[Tensor] = []
    with _opened(file, what) as sound:
        left = head.samples  # in blocks, since the head of a broken file may claim more than memory holds
        while left and len(block := sound.read(min(left, _BLOCK), dtype="float32", always_2d=True)):
            blocks.append(torch.from_numpy(block).mean(1))
            left -= len(block)
    found = torch.cat(blocks) if blocks else torch.zeros(0)
    if len(found) < head.samples:
        problem = f"is cut short: it should have {head.samples:,} samples, but has {len(found):,}"
        raise DataError(f"{what} {problem}. Make the file again, or leave it out.")
    return found


@contextlib.contextmanager
def _opened(file: BinaryIO, what: str) -> Iterator[Any]:
    """The file opened by soundfile; DataError for what it cannot read, there or inside the context."""
    soundfile: Any = _package("soundfile", f"{what} is no .wav file of numbers")
    try:
        file.seek(0)
        with soundfile.SoundFile(_Quiet(file)) as sound:
            yield sound
    except (soundfile.SoundFileError, OSError, EOFError, TypeError, ValueError) as error:
        reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
        problem = f"cannot be read as sound ({reason})"
        raise DataError(f"{what} {problem}. Make the file again, or leave it out.") from error


class _Quiet:
    """A file for soundfile, whose C code asks for places before the beginning of a broken file: -1, not an error that
    is printed with its traceback."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.tell, self.read = file, file.tell, file.read

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -1

    def write(self, content: bytes) -> int:
        raise io.UnsupportedOperation("files are only read")


def _package(name: str, need: str) -> ModuleType:
    """An installed package of the extra `[audio]`; ConfigError, which begins with `need`, if it is not installed."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: soundfile without its library
        problem = f"{need}, for which the package {name} is needed, but it cannot be imported ({error})"
        remedy = f"Install it with: pip install 'antiphon[audio]', or convert the files: {conversion('FILE', 16000)}"
        raise ConfigError(f"{problem}. {remedy}.") from error
