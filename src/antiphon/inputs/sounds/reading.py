"""Recordings that a user gives, as samples: paths of sound files, numbers, or numbers with their rate.

read_recordings("hello.flac", "texts", sampling_rate=16000)                                 # [(N,)], float32
read_recordings([samples, {"array": samples, "sampling_rate": 8000}], "texts", sampling_rate=16000)
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from antiphon.errors import DataError
from antiphon.inputs.sounds.files import HIGHEST_RATE, LOWEST_RATE, read_audio, resample
from antiphon.settings import show
from antiphon.text.kinds import is_media_name


def read_recordings(inputs: object, what: str, *, sampling_rate: int) -> list[Tensor]:
    """The samples (N,), float32, of one recording or several, at `sampling_rate`.

    Each is the path of a sound file, the bytes of one, one row of numbers at that rate (floats from -1 to 1, or int16),
    or {"array": numbers, "sampling_rate": their rate}. `what` names the inputs in a DataError.
    """
    one = isinstance(inputs, str | Path | bytes | Tensor) or not isinstance(inputs, Sequence | Iterator)
    if isinstance(inputs, Sequence) and inputs and isinstance(inputs[0], int | float):
        one = True  # a list of numbers is one recording
    rows: Iterable[object] = [inputs] if one else inputs  # type: ignore[assignment]
    named = (f"`{what}` must be sound, but number {row + 1}" for row in range(2**62))
    return [_samples(value, name, sampling_rate) for name, value in zip(named, rows, strict=False)]


def _samples(value: object, what: str, rate: int) -> Tensor:
    """The samples (N,) of one recording; `what` begins the message of a DataError."""
    remedy = f"Give the path of a sound file, or {rate} samples a second as one row of floats from -1 to 1 or of int16."
    if isinstance(value, str | Path):
        file = _file(value, what, remedy)
        try:
            with file.open("rb") as opened:
                return read_audio(opened, f"`{file}`", sampling_rate=rate)
        except OSError as error:
            raise DataError(f"`{file}` cannot be read ({error.strerror}). Check the path.") from error
    if isinstance(value, bytes | bytearray):
        return read_audio(io.BytesIO(value), f"the recording of `{what.split('`')[1]}`", sampling_rate=rate)
    if isinstance(value, Mapping) and ({"array", "raw"} & set(value)) and "sampling_rate" in value:
        found = value["sampling_rate"]
        if not isinstance(found, int) or not LOWEST_RATE <= found <= HIGHEST_RATE:
            problem = f"must be a number from {LOWEST_RATE:,} to {HIGHEST_RATE:,}, but is {show(found)}"
            raise DataError(f"{what} has a `sampling_rate` that {problem}. Correct it.")
        samples = given_samples(value["array"] if "array" in value else value["raw"], what, remedy)
        return resample(samples, found, rate, need=f"{what} has {found} samples a second instead of {rate}")
    return given_samples(value, what, remedy)


def given_samples(value: object, what: str, remedy: str) -> Tensor:
    """Numbers, floats or int16 or int32, as samples (N,), float32; `what` begins the message of a DataError, `remedy`
    ends it."""
    try:
        samples = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise DataError(f"{what} is {show(value)}. {remedy}") from None
    if samples.dim() == 1 and samples.dtype in (torch.int16, torch.int32):
        samples = samples.double() / -float(torch.iinfo(samples.dtype).min)
    if samples.dim() != 1 or not (samples.is_floating_point() or samples.numel() == 0):
        raise DataError(f"{what} has shape {tuple(samples.shape)} and type {samples.dtype}. {remedy}")
    if not bool(samples.isfinite().all()):
        raise DataError(f"{what} has samples that are infinite or not a number. {remedy}")
    return samples.detach().to("cpu", torch.float32)


def _file(value: str | Path, what: str, remedy: str) -> Path:
    """The path of a sound file; DataError if `value` is a text, or there is no such file."""
    named = show(value) if isinstance(value, str) else f"`{value}`"
    try:
        if Path(value).is_file():
            return Path(value)
    except (OSError, ValueError):  # a text that is too long for a name, or holds a NUL
        pass
    if isinstance(value, Path) or is_media_name(value):
        raise DataError(f"{what} is {named}, but there is no file {value}. Check the path. {remedy}")
    raise DataError(f"{what} is {named}, which is no sound file: the model does not read text. {remedy}")
