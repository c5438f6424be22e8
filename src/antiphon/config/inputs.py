"""The settings of sources that are not text: `model.input` in a recipe, and in the `config.json` of a model folder.

model: {input: audio}
model: {input: {image: {height: 48, channels: 1}}}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from antiphon.config.image import ImageConfig
from antiphon.settings import Range, SettingError, Settings, build, inside, show


@dataclass(frozen=True, kw_only=True)
class AudioConfig(Settings):
    """Sources are sound: log-mel features, then convolutions (antiphon.inputs.audio)."""

    sampling_rate: Annotated[int, Range(low=1000, high=2**20)] = 16000
    """Samples a second; files with another rate are resampled."""
    mel_bins: Annotated[int, Range(low=1, high=1024)] = 80
    """Mel bands, the features of a frame."""


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
