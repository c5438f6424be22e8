"""Speech as input: recordings as samples, and their log-mel features.

    kind = SpeechInput(family.speech)
    clips = kind.read(["hello.wav", samples], "texts")                          # samples of each, (N,), float32
    kind.parts(clips, network=network, config=config)[0].parts                  # features (F, M) of each 30 seconds

Radford et al. 2022 (Whisper), section 2.3 and figure 1: an answer begins with tokens for the language, the task and
whether it has timestamps. If no language is given, it is the most probable one after the start token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, ClassVar, Self

from torch import Tensor

from antiphon.config import FamilyConfig, GenerationConfig, InputSettings, ModelConfig
from antiphon.config.generation import TIMED_SETTINGS
from antiphon.config.speech import STRIDE, SpeechConfig
from antiphon.errors import ConfigError, DataError
from antiphon.inputs.embeddings import FeatureEmbedding, SourceEmbedding
from antiphon.inputs.kind import InputKind, Source, SourceParts
from antiphon.inputs.limits import BoundedNetwork
from antiphon.inputs.pictures import SourcePicture, spectrogram
from antiphon.inputs.recordings import Recording
from antiphon.inputs.sound import fit, log_mel
from antiphon.inputs.sounds.files import audio_length, read_audio
from antiphon.inputs.sounds.reading import read_recordings
from antiphon.inputs.sounds.stored import Sound, input_name, samples_of, too_long
from antiphon.nn.convolutions import Convolutions
from antiphon.nn.noise import Noise
from antiphon.nn.positions import Fixed
from antiphon.settings import show


@dataclass(frozen=True)
class SpeechInput(InputKind[Sound]):
    """Recordings of speech. Rows are samples (N,), those of a long file in the file; the network reads log-mel features
    (F, M)."""

    speech: SpeechConfig
    timed: bool = False  # whether the prompt asks for timestamps

    has_tokens: ClassVar[bool] = False

    def __repr__(self) -> str:
        speech = self.speech
        return f"SpeechInput({speech.sampling_rate} Hz, {speech.seconds} s at once, {speech.mel_bins} mel bands)"

    @classmethod
    def of(cls, family: FamilyConfig | None, settings: InputSettings | None) -> Self | None:
        return None if family is None or family.speech is None else cls(family.speech)

    def embedding(self, model: ModelConfig, ids: Callable[[], SourceEmbedding], noise: Noise) -> SourceEmbedding:
        speech = self.speech
        return FeatureEmbedding(
            Convolutions(speech.mel_bins, model.d_model, strides=(1, STRIDE)),
            Fixed(model.d_model, max_length=speech.positions, layout="closed_halves"),
            most=STRIDE * speech.positions,
            dropout=model.dropout,
            noise=noise,
        )

    def check_trainable(self) -> None:
        if self.prompt_choices:
            raise ConfigError(
                "a speech model of several languages needs the language of its data, but none is given. Set "
                "`generation.source_language`."
            )

    def check_ctc(self) -> None:
        speech = self.speech
        raise ConfigError(
            f"this base reads sound in windows of {speech.seconds} seconds, and its encoder does not know where a "
            f"recording ends in the {speech.positions:,} positions of a window, so that CTC would read the silence "
            "behind it as frames. Leave it out, or take a base whose positions end with the recording (Speech2Text, "
            "Moonshine, `model.input: audio`)."
        )

    def measure(self, file: BinaryIO, what: str) -> int:
        speech = self.speech
        samples = audio_length(file, what, sampling_rate=speech.sampling_rate)
        if not samples:
            raise DataError(f"{what} must have sound, but is empty. Leave it out.")
        if samples > speech.samples:
            remedy = "Cut it, or leave it out."
            raise too_long(what, samples, seconds=speech.seconds, sampling_rate=speech.sampling_rate, remedy=remedy)
        return speech.frames

    def load(self, file: BinaryIO, what: str) -> Sound:
        """The samples (N,) in an opened sound file, float32."""
        return read_audio(file, what, sampling_rate=self.speech.sampling_rate)

    def read(self, inputs: object, what: str, *, names: bool = True, template: bool = True) -> list[Sound]:
        """The samples (N,) of one recording or several: paths of sound files, their bytes, or numbers. Files that are
        longer than the model's input are read when they are answered."""
        speech = self.speech
        return read_recordings(inputs, what, sampling_rate=speech.sampling_rate, most=speech.samples)

    def is_empty(self, row: Sound) -> bool:
        return len(row) == 0

    def parts(
        self, rows: Sequence[Sound], *, network: BoundedNetwork, config: GenerationConfig, first_row: int = 0
    ) -> list[SourceParts]:
        """Features (F, M) of the parts of each recording, none of one that `recordings` answers in windows. For one
        longer than the model's input, `config.overflow` selects its beginning, or all of it, split at fixed times."""
        if config.max_source_tokens is not None:
            raise ConfigError("`max_source_tokens` must be left out for a speech model, but is given.")
        found, most = [], self.speech.samples
        for row, sound in enumerate(rows, first_row):
            if self._has_windows(sound, config):
                found.append(SourceParts([], []))
                continue
            self._check_length(sound, config.overflow, row)
            stop = len(sound) if config.overflow == "split" else min(most, len(sound))
            parts = [self.features(samples_of(sound, first, first + most)) for first in range(0, stop, most)]
            found.append(SourceParts(parts, [" "] * len(parts)))
        return found

    def recordings(
        self, rows: Sequence[Sound], *, config: GenerationConfig, first_row: int = 0
    ) -> list[Recording | None]:
        """The recordings in windows: all if answers have timestamps, else, with `overflow` window, those longer than
        the model's input."""
        self._check_timed(config)
        found: list[Recording | None] = []
        for row, sound in enumerate(rows, first_row):
            in_windows = self._has_windows(sound, config)
            if in_windows and config.overflow != "window":
                self._check_length(sound, config.overflow, row)
                sound = samples_of(sound, 0, self.speech.samples)
            found.append(Recording(sound, self.speech) if in_windows else None)
        return found

    def whole(
        self, rows: Sequence[Sound], *, network: BoundedNetwork, config: GenerationConfig, first_row: int = 0
    ) -> list[Source]:
        found: list[Source] = []
        for row, sound in enumerate(rows, first_row):
            self._check_length(sound, "error" if config.overflow in ("split", "window") else config.overflow, row)
            found.append(self.features(samples_of(sound, 0, self.speech.samples)))
        return found

    def picture(self, row: Sound, *, positions: int) -> SourcePicture:
        speech = self.speech
        return spectrogram(self.features(row), positions, each=STRIDE, seconds=speech.hop / speech.sampling_rate)

    @property
    def position_seconds(self) -> float:
        return self.speech.step_seconds

    def longer(self, length: int, factor: float) -> int:
        return length  # always that of the model's input

    def in_languages(
        self, family: FamilyConfig | None, *, source_language: str | None, target_language: str | None
    ) -> FamilyConfig | None:
        if family is None:
            return None
        speech = self.speech.in_languages(source_language=source_language, target_language=target_language)
        return replace(family, speech=speech)

    def prompt(self, choice: int | None = None) -> tuple[int, ...]:
        given = dict(self.speech.languages).get(self.speech.language or "")
        return self.speech.prompt(given if choice is None else choice, timed=self.timed)

    @property
    def prompt_choices(self) -> tuple[int, ...]:
        """The ids of all languages; () if a language is given."""
        return () if self.speech.language is not None else tuple(dict(self.speech.languages).values())

    @property
    def never_first(self) -> tuple[int, ...]:
        return self.speech.never_first_ids

    def features(self, row: Sound) -> Tensor:
        """Samples (N,) to features (F, M), float32; truncated or padded with silence to the model's input length."""
        speech = self.speech
        return log_mel(
            fit(samples_of(row, 0, speech.samples), speech.samples),
            bins=speech.mel_bins,
            window=speech.window,
            hop=speech.hop,
            sampling_rate=speech.sampling_rate,
        )

    def _has_windows(self, sound: Sound, config: GenerationConfig) -> bool:
        """Whether a recording is answered in windows."""
        is_long = len(sound) > self.speech.samples
        return len(sound) > 0 and (config.timestamps != "none" or (is_long and config.overflow == "window"))

    def _check_timed(self, config: GenerationConfig) -> None:
        """ConfigError for settings about timestamps that the model or other settings do not allow."""
        default = GenerationConfig()
        asked = [name for name in TIMED_SETTINGS if getattr(config, name) != getattr(default, name)]
        asked += ["overflow"] if config.overflow == "window" else []
        if not asked:
            return
        if self.speech.first_timestamp is None:
            raise ConfigError(f"`{asked[0]}` needs a model with timestamps, but this one has none. Leave it out.")
        if config.timestamps == "none" and config.overflow != "window":
            raise ConfigError(f"`{asked[0]}` needs `timestamps` or `overflow` window, but neither is set. Set one.")
        if config.previous_text and self.speech.previous_id is None:
            raise ConfigError("`previous_text` needs a model that reads it, but this one does not. Leave it out.")
        if config.timestamps != "none" and config.overflow == "split":
            raise ConfigError("`overflow` must be error, truncate or window with `timestamps`, but is split.")
        for name in ("prefix", "allowed", "required", "forbidden"):
            if getattr(config, name) is not None:
                found = show(getattr(config, name))
                raise ConfigError(f"`{name}` cannot be set beside timestamps or windows, but is {found}. Drop one.")
        if config.n_best > 1:
            raise ConfigError(f"`n_best` must be 1 with timestamps or windows, but is {config.n_best}.")

    def _check_length(self, sound: Sound, overflow: str, row: int) -> None:
        """DataError if a recording is too long and `overflow` is error."""
        speech = self.speech
        if len(sound) > speech.samples and overflow == "error":
            raise too_long(
                input_name(sound, row),
                len(sound),
                seconds=speech.seconds,
                sampling_rate=speech.sampling_rate,
                remedy="Cut it, or set `overflow` to truncate, split or window.",
            )
