"""The settings of sources that are not text: `model.input` in a recipe, and in the `config.json` of a model folder.

model: {input: audio}
model: {input: {image: {height: 48, channels: 1}}}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from antiphon.settings import Count, Range, SettingError, Settings, build, inside, require, show

ConvolutionActivation = Literal["gelu", "relu", "silu", "glu", "tanh_norm"]
_MOST_SAMPLES = 2**28  # of a clip, beyond which a setting is a mistake


@dataclass(frozen=True, kw_only=True)
class AudioConfig(Settings):
    """Sources are sound: features of frames, then convolutions over them (antiphon.inputs.audio)."""

    sampling_rate: Annotated[int, Range(low=1000, high=2**20)] = 16000
    """Samples a second; files with another rate are resampled."""
    features: Literal["log_mel", "filter_banks", "samples"] = "log_mel"
    """What a frame is: log-mel energies as Whisper's, Kaldi's log filter-bank energies as Speech2Text's, or the samples
    themselves."""
    mel_bins: Annotated[int, Range(low=1, high=1024)] = 80
    """Mel bands, the features of a frame; unused for samples."""
    window: Annotated[int, Range(low=2, high=2**16)] | None = None
    """Samples that a frame is computed from; none: 25 ms."""
    hop: Annotated[int, Range(low=1, high=2**16)] | None = None
    """Samples from one frame to the next; none: 10 ms."""
    normalize: bool = False
    """Scale each band to the mean 0 and the standard deviation 1 over a clip."""
    seconds: Annotated[float, Range(low=0, high=36000, open_low=True)] = 30.0
    """The longest clip; longer ones are errors in data, and in answers as `overflow` says."""
    kernels: tuple[Annotated[int, Range(low=1, high=1024)], ...] = (3, 3)
    """Frames that each convolution reads, in order."""
    strides: tuple[Annotated[int, Range(low=1, high=1024)], ...] = (2, 2)
    """Frames for each output of each convolution; the encoder has a position for each product of them."""
    channels: tuple[Annotated[int, Range(low=1, high=2**16)], ...] | None = None
    """Outputs of each convolution but the last one, which has `d_model`; none: `d_model` too."""
    activations: tuple[ConvolutionActivation, ...] = ("gelu",)
    """The activation after the convolutions, one for all or one for each; glu: gated linear units; tanh_norm: no bias,
    tanh, and a norm over the whole clip."""
    padding: bool = True
    """Zeros around a clip, so that a stride t maps F frames to F / t, rounded up; else only whole kernels count."""
    scale: bool = False
    """Multiply the output of the convolutions with the root of `d_model`."""

    def check(self) -> None:
        layers = len(self.kernels)
        require(layers > 0, "kernels", "must name at least one convolution, but is empty")
        problem = f"must have {layers} numbers, as `kernels`, but has {len(self.strides)}"
        require(len(self.strides) == layers, "strides", problem)
        inner = layers - 1 if self.channels is None else len(self.channels)
        require(inner == layers - 1, "channels", f"must have {layers - 1} numbers, but has {inner}")
        problem = f"must be one, or {layers}, but are {len(self.activations)}"
        require(len(self.activations) in (1, layers), "activations", problem)
        banded = not (self.normalize and self.features == "samples")
        require(banded, "normalize", "must be false for samples, which have no bands, but is true")
        odd = not self.padding or all(kernel % 2 for kernel in self.kernels)
        require(odd, "kernels", f"must be odd, but are {', '.join(map(str, self.kernels))}", "Or set `padding: false`.")
        problem = f"must be at most {_MOST_SAMPLES} samples, but is {self.most_samples}"
        require(self.most_samples <= _MOST_SAMPLES, "seconds", problem)
        problem = f"must be at least {self.least_samples / self.sampling_rate:g}, a position, but is {self.seconds:g}"
        require(self.least_samples <= self.most_samples, "seconds", problem)

    @property
    def window_samples(self) -> int:
        """Samples that a frame is computed from."""
        return self.window or self.sampling_rate * 25 // 1000

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return self.hop or self.sampling_rate * 10 // 1000

    @property
    def width(self) -> int:
        """M, the features of a frame."""
        return self.window_samples if self.features == "samples" else self.mel_bins

    @property
    def most_samples(self) -> int:
        """The samples of the longest clip."""
        return int(self.seconds * self.sampling_rate)

    @property
    def least_samples(self) -> int:
        """The samples that the encoder's first position needs; shorter clips are followed by silence."""
        frames = 1
        if not self.padding:
            for kernel, stride in zip(reversed(self.kernels), reversed(self.strides), strict=True):
                frames = (frames - 1) * stride + kernel
        if self.features == "log_mel":
            return max(self.window_samples, frames * self.hop_samples)
        return self.window_samples + (frames - 1) * self.hop_samples

    def frames(self, samples: int) -> int:
        """F, the frames of a clip of `samples`."""
        samples = max(samples, self.least_samples)
        if self.features == "log_mel":
            return samples // self.hop_samples
        return 1 + (samples - self.window_samples) // self.hop_samples

    def positions(self, frames: int) -> int:
        """The encoder's positions for `frames`."""
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            frames = (frames - 1 if self.padding else frames - kernel) // stride + 1
        return frames


@dataclass(frozen=True, kw_only=True)
class ImageConfig(Settings):
    """Sources are images: patches or convolutions (antiphon.inputs.image)."""

    channels: Annotated[int, Range(low=1, high=4)] = 1
    """1: grey, 3: colour."""
    height: Count = 48
    """Rows of pixels; an image of another height is scaled, in ratio."""


InputSettings = AudioConfig | ImageConfig
_KINDS: dict[str, type[AudioConfig] | type[ImageConfig]] = {"audio": AudioConfig, "image": ImageConfig}
TEXT = "text"


def input_settings(spec: object) -> InputSettings | None:
    """The settings that `model.input` names: `text` (None), `audio` or `image`, or one of the last two with settings.

    SettingError for anything else.
    """
    if spec == TEXT:
        return None
    if isinstance(spec, Mapping) and len(spec) == 1:
        ((name, given),) = spec.items()
    else:
        name, given = spec, {}
    if not isinstance(name, str) or name not in _KINDS:
        example = "For example audio, or {image: {height: 48}}."
        known = ", ".join((TEXT, *_KINDS))
        raise SettingError((), f"must be one of {known}, but is {show(spec)}", remedy=example)
    with inside(name):
        return build(_KINDS[name], given or {})
