"""Recordings that a user gives, as samples: paths of sound files, their bytes, numbers, or numbers with their rate.

read_recordings("hello.flac", "texts", sampling_rate=16000)                                 # [(N,)], float32
read_recordings([samples, {"array": samples, "sampling_rate": 8000}], "texts", sampling_rate=16000)
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from antiphon.errors import DataError
from antiphon.inputs.paths import file_of
from antiphon.inputs.sounds.files import HIGHEST_RATE, LOWEST_RATE, resample
from antiphon.inputs.sounds.stored import Sound, StoredSound, samples_of
from antiphon.settings import show


def read_recordings(inputs: object, what: str, *, sampling_rate: int, most: int | None = None) -> list[Sound]:
    """The samples (N,), float32, of one recording or several, at `sampling_rate`.

    Each is the path of a sound file, the bytes of one, one row of numbers at that rate (floats from -1 to 1, or int16),
    or {"array": numbers, "sampling_rate": their rate}. Files of more than `most` samples (None: none) stay unread, as
    a StoredSound. `what` names the inputs in a DataError.
    """
    one = isinstance(inputs, str | Path | bytes | Tensor) or not isinstance(inputs, Sequence | Iterator)
    if isinstance(inputs, Sequence) and inputs and isinstance(inputs[0], int | float):
        one = True  # a list of numbers is one recording
    rows: Iterable[object] = [inputs] if one else inputs  # type: ignore[assignment]
    return [_sound(value, what, row + 1, sampling_rate, most) for row, value in enumerate(rows)]


def _sound(value: object, name: str, number: int, rate: int, most: int | None) -> Sound:
    """The samples of one recording, `number` of the input `name`."""
    what = f"`{name}` must be sound, but number {number}"
    remedy = f"Give the path of a sound file, or {rate} samples a second as one row of floats from -1 to 1 or of int16."
    if isinstance(value, StoredSound):
        return value
    if isinstance(value, str | Path):
        file = file_of(value, "sound", what=what, remedy=remedy, example="a.wav")
        return _stored(lambda: file.open("rb"), f"`{file}`", rate, most)
    if isinstance(value, bytes | bytearray):
        return _stored(lambda: io.BytesIO(value), f"recording {number} of `{name}`", rate, most)
    if isinstance(value, Mapping) and ({"array", "raw"} & set(value)) and "sampling_rate" in value:
        found = value["sampling_rate"]
        if not isinstance(found, int) or not LOWEST_RATE <= found <= HIGHEST_RATE:
            problem = f"must be a number from {LOWEST_RATE:,} to {HIGHEST_RATE:,}, but is {show(found)}"
            raise DataError(f"{what} has a `sampling_rate` that {problem}. Correct it.")
        samples = given_samples(value["array"] if "array" in value else value["raw"], what, remedy)
        return resample(samples, found, rate, need=f"{what} has {found} samples a second instead of {rate}")
    return given_samples(value, what, remedy)


def _stored(opened: Callable[[], BinaryIO], what: str, rate: int, most: int | None) -> Sound:
    """The samples of a file; of one with more than `most`, the StoredSound."""
    try:
        sound = StoredSound(opened, what, sampling_rate=rate)
    except OSError as error:
        raise DataError(f"{what} cannot be read ({error.strerror or error}). Check the path.") from error
    return sound if most is not None and len(sound) > most else samples_of(sound)


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
