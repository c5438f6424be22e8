"""Recordings of any length, read in windows: a window is in memory, the recording need not be.

    recording = Recording(StoredSound.of(Path("hour.wav"), 16000), speech)
    recording.frames, recording.window(0)           # 360000, the features (3000, 80) of the first 30 seconds

The features of a window are those of the whole recording there, whose loudest energy bounds them from below, as in
transformers' WhisperFeatureExtractor. Shapes: N samples, F frames, M mel bands.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from antiphon.config.speech import SpeechConfig
from antiphon.inputs.sound import fit, log_energies, log_mel, read_wav, reflected, scaled, wav_length


@dataclass(frozen=True)
class StoredSound:
    """The `count` samples of a .wav file, which are read when they are asked for."""

    file: Path
    sampling_rate: int
    count: int

    @classmethod
    def of(cls, file: Path, sampling_rate: int) -> StoredSound | None:
        """The samples of `file`; None if it is cut short, or is no file of the rate, as `read_wav` then says."""
        count = wav_length(file)
        whole = count > 0 and len(read_wav(file, sampling_rate=sampling_rate, start=count - 1, count=1)) == 1
        return cls(file, sampling_rate, count) if whole else None

    def __len__(self) -> int:
        return self.count

    def read(self, start: int, stop: int) -> Tensor:
        """The samples from `start` to before `stop`."""
        return read_wav(self.file, sampling_rate=self.sampling_rate, start=start, count=stop - start)


Sound = Tensor | StoredSound  # the samples of a recording, in memory or in its file


def samples_of(sound: Sound, start: int = 0, stop: int | None = None) -> Tensor:
    """The samples (N,) of a recording from `start` to before `stop` (None: its end)."""
    stop = len(sound) if stop is None else min(stop, len(sound))
    return sound[start:stop] if isinstance(sound, Tensor) else sound.read(start, stop)


class Recording:
    """A recording as the windows that a model reads.

    `frames` are those of its features, `real_frames` those with sound: a recording shorter than the model's input is
    followed by silence up to it.
    """

    def __init__(self, sound: Sound, speech: SpeechConfig) -> None:
        self.sound, self.speech = sound, speech
        self.real_frames = len(sound) // speech.hop
        self.is_long = len(sound) > speech.samples
        self.frames = self.real_frames if self.is_long else speech.frames

    def window(self, first: int) -> Tensor:
        """The features (F, M) of one input of the model from frame `first` on, zero behind the last frame."""
        stop = min(first + self.speech.frames, self.frames)
        found = scaled(self._logs(first, stop), self._loudest) if self.is_long else self._short[first:stop]
        return torch.nn.functional.pad(found, (0, 0, 0, self.speech.frames - len(found)))

    @functools.cached_property
    def _short(self) -> Tensor:
        return log_mel(fit(samples_of(self.sound), self.speech.samples), **self._settings)

    @functools.cached_property
    def _loudest(self) -> Tensor:
        """The largest logarithm of an energy of the recording."""
        step = self.speech.frames
        blocks = ((first, min(first + step, self.frames)) for first in range(0, self.frames, step))
        return torch.stack([self._logs(*block).max() for block in blocks]).max()

    @property
    def _settings(self) -> dict[str, int]:
        speech = self.speech
        names = {"bins": speech.mel_bins, "window": speech.window, "hop": speech.hop}
        return names | {"sampling_rate": speech.sampling_rate}

    def _logs(self, first: int, stop: int) -> Tensor:
        """The logarithms (M, F) of the energies of the frames from `first` to before `stop`."""
        hop, window = self.speech.hop, self.speech.window
        start = first * hop - window // 2
        end = (stop - 1) * hop - window // 2 + window
        before, behind = max(0, -start), max(0, end - len(self.sound))
        found = samples_of(self.sound, max(0, start), end)
        return log_energies(reflected(found, before, behind), **self._settings)
