"""A small kind of sound for tests, and clips that a tiny model learns in seconds: each is one level, which is a word.

monkeypatch.setattr(antiphon.inputs, "KINDS", (ClipInput, *KINDS))
write_clips(folder)                     # folder/0.wav, ..., folder/train.tsv: audio, text
"""

from __future__ import annotations

import io
import struct
import tarfile
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self

import torch
from torch import Tensor, nn

from antiphon.batch import Tokens
from antiphon.config import AudioConfig, FamilyConfig, GenerationConfig, InputSettings, ModelConfig
from antiphon.errors import DataError
from antiphon.inputs import InputKind
from antiphon.inputs.embeddings import SourceEmbedding
from antiphon.inputs.kind import Source, SourceParts
from antiphon.inputs.limits import BoundedNetwork
from antiphon.nn.noise import Noise
from antiphon.nn.positions import Sinusoidal

BANDS = 4  # samples of a frame
WORDS = ["zero", "one", "two", "three"]


class FrameEmbedding(SourceEmbedding):
    """Frames (B, F, M) to vectors (B, F, D)."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.project, self.positions = nn.Linear(BANDS, d_model), Sinusoidal(d_model)

    @property
    def d_model(self) -> int:
        return self.project.out_features

    def forward(self, frames: Tensor, tokens: Tokens) -> tuple[Tensor, Tokens]:
        x = self.positions(self.project(frames.to(self.project.weight.dtype)), tokens.pos)
        return x * tokens.valid[..., None], tokens


@dataclass(frozen=True)
class ClipInput(InputKind[Tensor]):
    """Sound of 16 bits: rows are samples (N,), the network reads frames (N // BANDS, BANDS)."""

    has_tokens: ClassVar[bool] = False
    loaded: ClassVar[list[str]] = []  # what was decoded, for tests

    @classmethod
    def of(cls, family: FamilyConfig | None, settings: InputSettings | None) -> Self | None:
        return cls() if isinstance(settings, AudioConfig) else None

    def embedding(self, model: ModelConfig, ids: Callable[[], SourceEmbedding], noise: Noise) -> SourceEmbedding:
        return FrameEmbedding(model.d_model)

    def measure(self, file: BinaryIO, what: str) -> int:
        with _opened(file, what) as sound:
            return sound.getnframes() // BANDS

    def load(self, file: BinaryIO, what: str) -> Tensor:
        self.loaded.append(what)
        with _opened(file, what) as sound:
            content = sound.readframes(sound.getnframes())
            if len(content) != 2 * sound.getnframes():
                raise DataError(f"{what} must be whole, but ends early. Fetch it again.")
        return torch.frombuffer(bytearray(content), dtype=torch.int16).float() / 2**15

    def features(self, row: Tensor) -> Tensor:
        return row[: len(row) // BANDS * BANDS].view(-1, BANDS) * 8

    def read(self, inputs: object, what: str, *, names: bool = True, template: bool = True) -> list[Tensor]:
        rows: Any = inputs if isinstance(inputs, list | tuple) else [inputs]
        found = []
        for row, value in enumerate(rows, 1):
            if isinstance(value, Tensor):
                found.append(value)
                continue
            if isinstance(value, bytes):
                found.append(self.load(io.BytesIO(value), f"a recording of `{what}`"))
                continue
            try:
                with open(value, "rb") as file:
                    found.append(self.load(file, f"`{value}`"))
            except OSError as error:
                raise DataError(f"input {row} must be a clip, but `{value}` cannot be read. Check it.") from error
        return found

    def is_empty(self, row: Tensor) -> bool:
        return len(row) == 0

    def parts(
        self, rows: Sequence[Tensor], *, network: BoundedNetwork, config: GenerationConfig, first_row: int = 0
    ) -> list[SourceParts]:
        return [SourceParts([self.features(row)], [""]) if len(row) else SourceParts([], []) for row in rows]

    def whole(
        self, rows: Sequence[Tensor], *, network: BoundedNetwork, config: GenerationConfig, first_row: int = 0
    ) -> list[Source]:
        return [self.features(row) for row in rows]


def _opened(file: BinaryIO, what: str) -> wave.Wave_read:
    try:
        return wave.open(file, "rb")
    except (wave.Error, EOFError) as error:
        raise DataError(f"{what} must be sound, but is not ({error or 'it is empty'}). Convert it.") from error


def clip(word: int, frames: int = 6) -> bytes:
    """The bytes of a .wav file of one level."""
    made = io.BytesIO()
    with wave.open(made, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(1000)
        samples = [word * 6000 - 9000 + 100 * (place % 3) for place in range(frames * BANDS)]
        sound.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return made.getvalue()


def write_clips(folder: Path, count: int = 24) -> Path:
    """A table of clips (`audio`, `text`) with its files in a folder below; returns the table."""
    (folder / "clips").mkdir(parents=True)
    rows = ["audio\tspeaker\ttext"]
    for number in range(count):
        name = f"clips/{number}.wav"
        (folder / name).write_bytes(clip(number % len(WORDS), frames=4 + number % 5))
        rows.append(f"{name}\tx\t{WORDS[number % len(WORDS)]}")
    table = folder / "train.tsv"
    table.write_text("\n".join(rows) + "\n")
    return table


def write_tar(file: Path, members: dict[str, bytes]) -> Path:
    """A tar archive with these members."""
    with tarfile.open(file, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file
