"""Recordings of any length, read in windows: a window is in memory, the recording need not be.

    recording = Recording(sound, speech)            # a StoredSound of an hour, or samples (N,)
    recording.frames, recording.window(0)           # 360000, the features (3000, 80) of the first 30 seconds

The features of a window are those of the whole recording there, whose loudest energy bounds them from below, as in
transformers' WhisperFeatureExtractor. Shapes: N samples, F frames, M mel bands.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from antiphon.config.speech import SpeechConfig
from antiphon.inputs.sound import fit, log_energies, log_mel, reflected, scaled
from antiphon.inputs.sounds.stored import Sound, samples_of


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
