"""What a model process reads and sends: inputs, scores, maps, and the field of an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from antiphon.config import AudioConfig, GenerationConfig
from antiphon.errors import ConfigError, DataError, UsageError
from antiphon.generation.attention.maps import MAPS
from antiphon.generation.model import Model
from antiphon.generation.translator import Translator
from antiphon.inputs.speech import SpeechInput
from antiphon.serving.process.messages import ScorePairs, ShowAttention
from antiphon.settings import hints

_DIGITS = 5  # of a weight
_SUBJECT = re.compile(r"^`([a-z_]+)`")


def source_of(model: Translator, given: str | bytes) -> Any:
    """An input for the model: the text, or the samples of a recording."""
    if isinstance(given, str):
        return given
    kind = model.input_kind if isinstance(model, Model) else None
    if kind is None or kind.has_tokens:
        raise DataError("`inputs` must be texts, which this model reads, but one is a recording.")
    return kind.read([given], "inputs")[0]


def sample_input(model: Translator) -> str | Tensor:
    """A short input of the model's kind."""
    kind = model.input_kind if isinstance(model, Model) else None
    if isinstance(kind, SpeechInput):
        return torch.zeros(kind.speech.samples)
    settings = model.parts.model.input_settings if isinstance(model, Model) else None
    return torch.zeros(settings.sampling_rate) if isinstance(settings, AudioConfig) else "1"


def scores_of_pairs(model: Translator, message: ScorePairs) -> list[float]:
    """The scores of some pairs."""
    sources, settings = [source_of(model, source) for source in message.sources], message.settings
    _check_lengths(model, settings)
    return model.score(sources, list(message.targets), **settings)


def maps_as_object(model: Translator, message: ShowAttention, *, max_values: int) -> dict[str, Any]:
    """The attention maps of a pair as nested lists; DataError if they have more than `max_values` numbers."""
    if isinstance(model, Model) and not model.input_kind.has_tokens:  # its source would be the name of a file
        raise DataError("attention maps need a model that reads text, but this one reads recordings. Use another.")
    _check_lengths(model, message.settings)
    maps = model.attention(message.source, message.target, **message.settings)
    weights = {role: getattr(maps, role) for role in MAPS}
    count = sum(found.numel() for found in weights.values() if found is not None)
    if count > max_values:
        raise DataError(
            f"`source` must give at most {max_values} attention weights, but with the target it gives {count}. "
            "Shorten the texts."
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
