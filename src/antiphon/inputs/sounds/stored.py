"""Recordings that stay in their files and are decoded when they are read: a window is in memory, the rest is not.

    sound = StoredSound(lambda: open("hour.flac", "rb"), "`hour.flac`", sampling_rate=16000)
    len(sound)                              # 57600000, from the head of the file
    sound.read(480_000, 960_000)            # (480000,), the second half minute

Files are decoded from their beginning on, a block at a time, since few formats have samples at known places and a
resampled one depends on those before it. Reading forwards decodes each block once. Shapes: N samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

import torch
from torch import Tensor

from antiphon.errors import DataError
from antiphon.inputs.sounds.files import audio_blocks, read_head


class StoredSound:
    """The samples of a sound file at `sampling_rate`, as `read_audio` returns them.

    `opened` opens the file, at each beginning anew; `what` names it in errors. DataError if it is no sound.
    """

    def __init__(self, opened: Callable[[], BinaryIO], what: str, *, sampling_rate: int) -> None:
        self.what, self._opened, self._sampling_rate = what, opened, sampling_rate
        with opened() as file:
            self._count = read_head(file, what).resampled(sampling_rate)
        self._blocks: Iterator[Tensor] = iter(())
        self._first, self._held = 0, torch.zeros(0)  # the number of the first sample that is held, and the samples
        self._begun = False

    def __repr__(self) -> str:
        return f"StoredSound({self.what}, {self._count:,} samples)"

    def __len__(self) -> int:
        return self._count

    def read(self, start: int, stop: int) -> Tensor:
        """The samples from `start` to before `stop`. DataError if the file is broken there."""
        if start < self._first or not self._begun:
            self._blocks, self._first, self._held, self._begun = self._decoded(), 0, torch.zeros(0), True
        pieces = [self._held]
        end = self._first + len(self._held)
        while end < stop and (block := next(self._blocks, None)) is not None:
            if end <= start:  # what is held lies before `start`
                pieces, self._first = [], end
            pieces.append(block)
            end += len(block)
        whole = torch.cat(pieces)
        rest = whole[max(0, start - self._first) :].clone()  # what is before it is freed
        self._first, self._held = min(start, end), rest
        return rest[: max(0, stop - start)]

    def _decoded(self) -> Iterator[Tensor]:
        """The blocks of the file from its beginning on."""
        try:
            with self._opened() as file:
                yield from audio_blocks(file, self.what, sampling_rate=self._sampling_rate)
        except OSError as error:
            raise DataError(f"{self.what} cannot be read ({error.strerror or error}). Check the file.") from error


Sound = Tensor | StoredSound  # the samples of a recording, in memory or in its file


def input_name(sound: Sound, row: int) -> str:
    """How errors name input `row`, counted from 0: with its file, if it is in one."""
    return f"input {row + 1}" + (f" ({sound.what})" if isinstance(sound, StoredSound) else "")


def too_long(what: str, samples: int, *, seconds: float, sampling_rate: int, remedy: str) -> DataError:
    """The error of a recording of more than `seconds`; its length has enough digits to show that it is longer."""
    found = samples / sampling_rate
    digits = next((digits for digits in range(2, 8) if round(found, digits) > seconds), 8)
    problem = f"{what} must have at most {seconds:g} seconds, the model's limit, but has {found:.{digits}f}"
    return DataError(f"{problem}. {remedy}")


def samples_of(sound: Sound, start: int = 0, stop: int | None = None) -> Tensor:
    """The samples (N,) of a recording from `start` to before `stop` (None: its end)."""
    stop = len(sound) if stop is None else min(stop, len(sound))
    return sound[start:stop] if isinstance(sound, Tensor) else sound.read(start, stop)
