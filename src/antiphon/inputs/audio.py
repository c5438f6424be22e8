"""Sound as input of any model: `model.input: audio` in a recipe, and the families Speech2Text and Moonshine.

    kind = AudioInput(AudioConfig(sampling_rate=8000))
    with open("seven.wav", "rb") as file:
        kind.measure(file, "seven.wav")             # 43 frames, from the head of the file
        row = kind.load(file, "seven.wav")          # samples (N,) at 8,000 a second
    kind.features(row)                              # (43, 80)

Features are computed by frames of 25 ms, each 10 ms after the one before it; convolutions with strides make of them the
encoder's positions. Whisper's sound, always of 30 seconds, is speech.py. Shapes: N samples, F frames, M features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, ClassVar, Self

import torch
from torch import Tensor

from antiphon.config import AudioConfig, FamilyConfig, GenerationConfig, InputSettings, ModelConfig
from antiphon.errors import ConfigError, DataError
from antiphon.inputs.embeddings import FeatureEmbedding, SourceEmbedding, absolute_positions
from antiphon.inputs.kind import InputKind, Source, SourceParts
from antiphon.inputs.limits import BoundedNetwork
from antiphon.inputs.pictures import SourcePicture, spectrogram
from antiphon.inputs.sound import log_mel
from antiphon.inputs.sounds.files import audio_length, read_audio
from antiphon.inputs.sounds.filter_banks import filter_banks, framed, normalized
from antiphon.inputs.sounds.reading import read_recordings
from antiphon.inputs.sounds.stored import Sound, input_name, samples_of, too_long
from antiphon.nn.convolutions import Convolutions
from antiphon.nn.noise import Noise

_DRAWN_FRAMES = 8  # of a position, in the spectrogram of samples


@dataclass(frozen=True)
class AudioInput(InputKind[Sound]):
    """Recordings of any length up to a limit. Rows are samples (N,), those of a long file in the file; the network
    reads features (F, M)."""

    audio: AudioConfig

    has_tokens: ClassVar[bool] = False

    def __repr__(self) -> str:
        audio = self.audio
        return f"AudioInput({audio.sampling_rate} Hz, {audio.features}, {audio.seconds:g} s at most)"

    @classmethod
    def of(cls, family: FamilyConfig | None, settings: InputSettings | None) -> Self | None:
        return cls(settings) if isinstance(settings, AudioConfig) else None

    def embedding(self, model: ModelConfig, ids: Callable[[], SourceEmbedding], noise: Noise) -> SourceEmbedding:
        audio = self.audio
        frames = audio.frames(audio.most_samples)
        return FeatureEmbedding(
            Convolutions(
                audio.width,
                model.d_model,
                strides=audio.strides,
                kernels=audio.kernels,
                channels=audio.channels,
                activations=audio.activations,
                padding=audio.padding,
            ),
            absolute_positions(model, model.d_model, max_length=audio.positions(frames)),
            most=frames,
            scale=model.d_model**0.5 if audio.scale else 1.0,
            dropout=model.dropout,
            noise=noise,
        )

    def measure(self, file: BinaryIO, what: str) -> int:
        audio = self.audio
        samples = audio_length(file, what, sampling_rate=audio.sampling_rate)
        if not samples:
            raise DataError(f"{what} must have sound, but is empty. Leave it out.")
        if samples > audio.most_samples:
            raise too_long(
                what,
                samples,
                seconds=audio.seconds,
                sampling_rate=audio.sampling_rate,
                remedy="Cut it, leave it out, or raise `seconds` of `model.input`.",
            )
        return audio.frames(samples)

    def load(self, file: BinaryIO, what: str) -> Sound:
        """The samples (N,) in an opened sound file, float32."""
        return read_audio(file, what, sampling_rate=self.audio.sampling_rate)

    def features(self, row: Sound) -> Tensor:
        """Samples (N,) to features (F, M), float32. A clip that is too short for a position is followed by silence; of
        one that is too long (an augmentation may make it longer), the beginning is read."""
        audio = self.audio
        row = samples_of(row, 0, audio.most_samples)
        row = torch.nn.functional.pad(row, (0, max(0, audio.least_samples - len(row))))
        window, hop, rate = audio.window_samples, audio.hop_samples, audio.sampling_rate
        if audio.features == "samples":
            return framed(row, window=window, hop=hop).clone()
        if audio.features == "log_mel":
            found = log_mel(row, bins=audio.mel_bins, window=window, hop=hop, sampling_rate=rate)
        else:
            found = filter_banks(row, bins=audio.mel_bins, window=window, hop=hop, sampling_rate=rate)
        return normalized(found) if audio.normalize else found

    def read(self, inputs: object, what: str, *, names: bool = True, template: bool = True) -> list[Sound]:
        """The samples (N,) of one recording or several: paths of sound files, their bytes, or numbers. Files that are
        longer than `seconds` are read when they are answered."""
        audio = self.audio
        return read_recordings(inputs, what, sampling_rate=audio.sampling_rate, most=audio.most_samples)

    def is_empty(self, row: Sound) -> bool:
        return len(row) == 0

    def parts(
        self, rows: Sequence[Sound], *, network: BoundedNetwork, config: GenerationConfig, first_row: int = 0
    ) -> list[SourceParts]:
        """Features (F, M) of the parts of each recording. For one longer than the model's input, `config.overflow`
        selects its beginning, or all of it, split at fixed times."""
        if config.max_source_tokens is not None:
            raise ConfigError("`max_source_tokens` must be left out for a model of sound, but is given.")
        found = []
        most = self.audio.most_samples
        for row, sound in enumerate(rows, first_row):
            self._check_length(sound, config.overflow, row)
            stop = len(sound) if config.overflow == "split" else min(most, len(sound))
            parts = [self.features(samples_of(sound, first, first + most)) for first in range(0, stop, most)]
            found.append(SourceParts(parts, [" "] * len(parts)))
        return found

    def whole(
        self, rows: Sequence[Sound], *, network: BoundedNetwork, config: GenerationConfig, first_row: int = 0
    ) -> list[Source]:
        found: list[Source] = []
        for row, sound in enumerate(rows, first_row):
            self._check_length(sound, "error" if config.overflow == "split" else config.overflow, row)
            found.append(self.features(sound))
        return found

    @property
    def position_seconds(self) -> float:
        return math.prod(self.audio.strides) * self.audio.hop_samples / self.audio.sampling_rate

    def longer(self, length: int, factor: float) -> int:
        audio = self.audio
        rest = audio.hop_samples if audio.features == "log_mel" else audio.window_samples
        most = length * audio.hop_samples + rest  # the fewest samples with a frame more
        return audio.frames(min(math.ceil(most * factor), audio.most_samples)) if factor > 1 else length

    def picture(self, row: Sound, *, positions: int) -> SourcePicture:
        audio = self.audio
        each, hop, window = math.prod(audio.strides), audio.hop_samples, audio.window_samples
        if audio.features == "samples":  # which are no spectrum
            each, hop = _DRAWN_FRAMES, max(each * hop // _DRAWN_FRAMES, 1)
            window = max(window, 2 * hop)
        row = samples_of(row, 0, audio.most_samples)
        row = torch.nn.functional.pad(row, (0, max(0, audio.least_samples - len(row), window - len(row))))
        drawn = log_mel(row, bins=audio.mel_bins, window=window, hop=hop, sampling_rate=audio.sampling_rate)
        return spectrogram(drawn, positions, each=each, seconds=hop / audio.sampling_rate)

    def _check_length(self, sound: Sound, overflow: str, row: int) -> None:
        """DataError if a recording is too long and `overflow` is error, ConfigError if it is window."""
        if overflow == "window":
            raise ConfigError("`overflow` must be error, truncate or split for a model of sound, but is window.")
        if len(sound) > self.audio.most_samples and overflow == "error":
            raise too_long(
                input_name(sound, row),
                len(sound),
                seconds=self.audio.seconds,
                sampling_rate=self.audio.sampling_rate,
                remedy="Cut it, or set `overflow` to truncate or split.",
            )
