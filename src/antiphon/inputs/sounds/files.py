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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, BinaryIO

import torch
from torch import Tensor

from antiphon.errors import ConfigError, DataError

LOWEST_RATE, HIGHEST_RATE = 1000, 2**20  # samples a second; others are of no sound
_MOST_CHANNELS = 64
_MOST_SAMPLES = 2**32  # days of sound; a larger number in a head is wrong
_BLOCK = 2**18  # samples of all channels that are decoded at once
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
    return torch.cat([torch.zeros(0), *audio_blocks(file, what, sampling_rate=sampling_rate)])


def audio_blocks(file: BinaryIO, what: str, *, sampling_rate: int) -> Iterator[Tensor]:
    """The samples of `read_audio` in blocks (N,), of which one is in memory at a time."""
    head = read_head(file, what)
    blocks = _wav_blocks(file, head) if head.width else _other_blocks(file, head, what)
    need = f"{what} has {head.rate} samples a second instead of {sampling_rate}"
    return resampled(_finite(blocks, what), head.rate, sampling_rate, need=need)


def _finite(blocks: Iterable[Tensor], what: str) -> Iterator[Tensor]:
    for block in blocks:
        if not bool(block.isfinite().all()):
            problem = "has samples that are infinite or not a number"
            raise DataError(f"{what} {problem}. Make the file again, or leave it out.")
        yield block


def resample(samples: Tensor, rate: int, sampling_rate: int, *, need: str) -> Tensor:
    """Samples (N,) at `rate` to (ceil(N · sampling_rate / rate),) at `sampling_rate`, by soxr; of any unit.

    ConfigError, which begins with `need`, if soxr is not installed.
    """
    if rate == sampling_rate or not len(samples):
        return samples
    return torch.cat([*resampled([samples], rate, sampling_rate, need=need)])


def resampled(blocks: Iterable[Tensor], rate: int, sampling_rate: int, *, need: str) -> Iterator[Tensor]:
    """The result of `resample` for samples in blocks (N,), in blocks; how they are divided changes nothing."""
    if rate == sampling_rate:
        yield from blocks
        return
    soxr: Any = _package("soxr", need)
    stream = soxr.ResampleStream(rate, sampling_rate, 1, dtype="float32")
    read = made = 0
    for block in blocks:
        read += len(block)
        found = torch.from_numpy(stream.resample_chunk(block.numpy()))
        made += len(found)
        yield found
    found = torch.from_numpy(stream.resample_chunk(torch.zeros(0).numpy(), last=True))
    left = AudioHead(rate, 1, read).resampled(sampling_rate) - made
    # It may end a sample early or late.
    yield torch.nn.functional.pad(found[: max(0, left)], (0, max(0, left - len(found))))


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


def _wav_blocks(file: BinaryIO, head: AudioHead) -> Iterator[Tensor]:
    """The samples of a .wav file, in blocks (N,)."""
    file.seek(head.start)
    left, frame = head.samples, head.channels * head.width
    while left and (content := file.read(min(left, _BLOCK // head.channels) * frame)):
        if not (whole := len(content) // frame * frame):
            return
        yield _numbers(bytearray(content[:whole]), head)
        left -= whole // frame


def _numbers(content: bytearray, head: AudioHead) -> Tensor:
    """The bytes of samples of all channels as samples (N,)."""
    if head.kind == _FLOAT:
        numbers = torch.frombuffer(content, dtype=_FLOATS[head.width])
        return numbers.view(-1, head.channels).double().mean(1).float()
    numbers, width = torch.frombuffer(content, dtype=_WHOLE[head.width]), head.width
    if width == 3:  # as the upper bytes of four
        low, middle_byte, high = numbers.view(-1, 3).int().T
        numbers, width = low << 8 | middle_byte << 16 | high << 24, 4
    middle = 128 if width == 1 else 0  # 8 bits are stored without a sign
    return ((numbers.view(-1, head.channels).double() - middle) / 2.0 ** (8 * width - 1)).mean(1).float()


def _other_head(file: BinaryIO, what: str) -> AudioHead:
    with _opened(file, what) as sound:
        return AudioHead(sound.samplerate, sound.channels, sound.frames)


def _other_blocks(file: BinaryIO, head: AudioHead, what: str) -> Iterator[Tensor]:
    """The samples of a file that soundfile reads, in blocks (N,); DataError if there are fewer than its head says."""
    left = head.samples  # in blocks, since the head of a broken file may claim more than memory holds
    with _opened(file, what) as sound:
        while left:
            block = sound.read(min(left, _BLOCK // head.channels), dtype="float32", always_2d=True)
            if not len(block):
                break
            left -= len(block)
            yield torch.from_numpy(block).mean(1)
    if left:
        problem = f"is cut short: it should have {head.samples:,} samples, but has {head.samples - left:,}"
        raise DataError(f"{what} {problem}. Make the file again, or leave it out.")


@contextlib.contextmanager
def _opened(file: BinaryIO, what: str) -> Iterator[Any]:
    """The file opened by soundfile; DataError for what it cannot read, there or inside the context."""
    soundfile: Any = _package("soundfile", f"{what} is no .wav file of numbers")
    try:
        file.seek(0)
        with soundfile.SoundFile(_Quiet(file)) as sound:
            # Else soundfile seeks after each read to where it is, and a decoder of .mp3 forgets what went before.
            sound.seekable = lambda: False
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
