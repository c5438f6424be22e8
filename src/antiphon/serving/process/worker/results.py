"""What a model process reads and sends: inputs, scores, maps, and the field of an error."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from antiphon.config import AudioConfig, GenerationConfig
from antiphon.errors import ConfigError, DataError, UsageError
from antiphon.generation.attention.maps import MAPS
from antiphon.generation.hf.model import HFModel
from antiphon.generation.hf.readers import ImageReader, SoundReader
from antiphon.generation.model import Model
from antiphon.generation.translator import Translator
from antiphon.inputs.image import ImageInput
from antiphon.inputs.sounds.reading import read_recordings
from antiphon.inputs.sounds.stored import samples_of
from antiphon.inputs.speech import SpeechInput
from antiphon.serving.process.messages import ScorePairs, ShowAttention
from antiphon.serving.process.worker.model_info import input_of, joins_text
from antiphon.settings import hints

_DIGITS = 5  # of a weight
_SAMPLE_SIZE = (32, 64)  # rows and columns of an image
_SUBJECT = re.compile(r"^`([a-z_]+)`")


class UnreadableFile(DataError):
    """The bytes of an input are no recording, or no image, that can be read."""


def source_of(model: Translator, given: str | bytes, what: str = "inputs") -> Any:
    """An input for the model: the text, the samples of a recording, or the pixels of an image.

    DataError, which calls the inputs `what`, for a text of a model that would open the file of that name, and for a
    file of a model that reads texts. UnreadableFile for bytes that cannot be read.
    """
    reads = input_of(model)
    if isinstance(given, str):
        if reads != "text":
            raise DataError(f"`{what}` must be files, which this model reads, but one is a text.")
        return given
    if reads == "text" and not joins_text(model):
        raise DataError(f"`{what}` must be texts, which this model reads, but one is a file.")
    try:
        if isinstance(model, Model) and joins_text(model):
            return {"image": model.input_kind.load(io.BytesIO(given), f"`{what}`")}
        if isinstance(model, Model):
            return model.input_kind.read([given], what)[0]
        assert isinstance(model, HFModel)
        if isinstance(model.reader, ImageReader):
            return model.reader.kind.read([given], what)[0]
        assert isinstance(model.reader, SoundReader)
        (recording,) = read_recordings([given], what, sampling_rate=model.reader.sampling_rate)
        return samples_of(recording)
    except DataError as error:
        raise UnreadableFile(str(error)) from error


def sample_input(model: Translator) -> str | Tensor:
    """A short input of the model's kind."""
    if isinstance(model, HFModel):
        reader = model.reader
        if isinstance(reader, SoundReader):
            return torch.zeros(reader.sampling_rate)
        return torch.zeros(3, *_SAMPLE_SIZE, dtype=torch.uint8) if isinstance(reader, ImageReader) else "1"
    kind = model.input_kind if isinstance(model, Model) else None
    if isinstance(kind, SpeechInput):
        return torch.zeros(kind.speech.samples)
    if isinstance(kind, ImageInput):
        return torch.zeros(kind.settings.channels, *_SAMPLE_SIZE, dtype=torch.uint8)
    settings = model.parts.model.input_settings if isinstance(model, Model) else None
    return torch.zeros(settings.sampling_rate) if isinstance(settings, AudioConfig) else "1"


def scores_of_pairs(model: Translator, message: ScorePairs) -> list[float]:
    """The scores of some pairs."""
    sources, settings = [source_of(model, source, "sources") for source in message.sources], message.settings
    _check_lengths(model, settings)
    return model.score(sources, list(message.targets), **settings)


def maps_as_object(model: Translator, message: ShowAttention, *, max_values: int) -> dict[str, Any]:
    """The attention maps of a pair as nested lists; DataError if they have more than `max_values` numbers."""
    source = source_of(model, message.source, "source")
    _check_lengths(model, message.settings)
    maps = model.attention(source, message.target, **message.settings)
    weights = {role: getattr(maps, role) for role in MAPS}
    count = sum(found.numel() for found in weights.values() if found is not None)
    if count > max_values:
        raise DataError(
            f"`source` must give at most {max_values} attention weights, but with the target it gives {count}. "
            f"{'Shorten the texts' if isinstance(message.source, str) else 'Send a smaller file'}."
        )
    found = {role: None if each is None else _rounded(each) for role, each in weights.items()}
    tokens = ("source_tokens", "target_tokens", "source_special", "target_special", "start")
    return {**{name: getattr(maps, name) for name in tokens}, **found}


def _check_lengths(model: Translator, settings: Mapping[str, Any]) -> None:
    """ConfigError for a setting that a model which transformers computes does not have."""
    if "max_source_tokens" in settings and not isinstance(model, Model):
        raise ConfigError("`max_source_tokens` must be left out for a model that transformers computes, but is given.")


def _rounded(weights: Tensor) -> Any:
    """Nested lists of weights (L,H,Q,K); None for a head without weights."""
    layers = weights.double().round(decimals=_DIGITS)
    return [[None if bool(head.isnan().all()) else head.tolist() for head in layer] for layer in layers]


def wrong_field(error: UsageError) -> str | None:
    """The field of a request that an error is about: the setting that its message begins with, else the inputs."""
    found = _SUBJECT.match(str(error))
    if found is not None:
        known = {*hints(GenerationConfig), "inputs", "sources", "targets", "source", "target", "details"}
        return {"texts": "inputs"}.get(found[1], found[1]) if found[1] in known | {"texts"} else None
    return "inputs" if isinstance(error, DataError) else None
