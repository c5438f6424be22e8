"""`Model.attention`: the attention maps of one pair of texts; and the ids of such a pair."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from torch import Tensor

from antiphon.config import GenerationConfig
from antiphon.data.media.references import Reference
from antiphon.errors import ConfigError, DataError, ModelError
from antiphon.generation.answers import Answers
from antiphon.generation.attention.maps import AttentionMaps, attention_maps, maps_of_features
from antiphon.generation.ensemble import Ensemble
from antiphon.generation.languages import answer_ids
from antiphon.generation.prompting import special_tokens_of
from antiphon.generation.protocols import AnsweringModel
from antiphon.generation.requests import read_inputs, source_inputs, with_limits
from antiphon.inputs.limits import check_source, source_limit
from antiphon.search import engine
from antiphon.search.length_checks import check_length
from antiphon.settings import override, show
from antiphon.text import clean_text


class TextModel(AnsweringModel, Protocol):
    """The further attributes of a model that are needed here."""

    @property
    def labels(self) -> list[str]: ...
    @property
    def generation(self) -> GenerationConfig: ...
    def generate(self, texts: Any, **settings: Any) -> Answers: ...


class PairIds(NamedTuple):
    """A source and a target as ids, each with its end token, and the largest number of source tokens that are encoded
    at once."""

    source: list[int]
    target: list[int]
    window: int


def maps_of_pair(
    model: TextModel,
    source: object,
    target: object,
    *,
    overflow: str | None,
    max_source_tokens: int | None,
    prompt: str | None = None,
) -> AttentionMaps:
    """The maps of a source and a target, see `Model.attention`; for the target None, of the model's own answer."""
    limits, kind = with_limits(model.generation, overflow, max_source_tokens), model.input_kind
    if kind.joins_text and isinstance(source, list | tuple) and len(source) == 1:
        source = source[0]
    if not kind.has_tokens or (kind.joins_text and (isinstance(source, Reference) or not isinstance(source, str))):
        return _maps_of_media(model, source, target, limits if prompt is None else override(limits, {"prompt": prompt}))
    if prompt:
        raise ConfigError("`prompt` must be left out for the maps of a model that reads text, but is given. Remove it.")
    ids = ids_of_pair(model, source, target, limits, what="attention maps need")
    return attention_maps(model, ids.source, ids.target, window=ids.window)


def _maps_of_media(model: TextModel, source: object, target: object, config: GenerationConfig) -> AttentionMaps:
    """The maps of an image or a recording, or of a text with images, and a target."""
    if isinstance(model.network, Ensemble):
        raise ModelError("attention maps need a single model, but this is an ensemble. Load one of its members.")
    kind = model.input_kind
    found, prompts = read_inputs(model, source, "source", config)
    if len(found) != 1 or kind.is_empty(found[0]):
        raise DataError(f"`source` must be one image or recording that is not empty, but is {len(found)}. Give one.")
    features = kind.whole(found, network=model.network, config=config)[0]
    if not isinstance(features, Tensor):
        raise DataError(f"`source` must be one text, or an image, but is {show(source)}.")
    if target is None and model.labels:
        target = model.generate(found, overflow=config.overflow)[0].text
    asked = [engine.SourceInput(features, 0, prompt=prompts[0], text_tokens=kind.text_tokens(features))]
    (special_tokens,) = special_tokens_of(kind, model.network, asked, model.special_tokens)
    if target is None:
        answer = engine.answer(model.runtime, asked, config, special_tokens)[0][0].ids
    else:
        answer = answer_ids([clean_text(str(target))], model.target_tokenizer, special_tokens)[0]
        check_length(answer, model.network.max_length, what="the target")
    if not answer:
        raise DataError(f"`target` must have at least one token, but {show(target)} has none.")
    return maps_of_features(
        model,
        features,
        list(answer),
        special_tokens=special_tokens,
        picture=lambda positions: kind.picture(found[0], positions=positions),
    )


def ids_of_pair(model: TextModel, source: object, target: object, config: GenerationConfig, *, what: str) -> PairIds:
    """The ids of a source and a target; for the target None, those of the model's own answer.

    Of `config`, `overflow` and `max_source_tokens` are those of `Model.attention`; the other settings are those of the
    search for the answer. `what`, for example "attention maps need", begins the ModelError for an ensemble. DataError
    for an empty source or target, and one that is too long.
    """
    if not model.input_kind.has_tokens:
        raise ModelError(f"{what} a model that reads text, but this one reads images or sound. Load another.")
    for name, text in (("source", source), ("target", "" if target is None else target)):
        if not isinstance(text, str):
            raise DataError(f"`{name}` must be one text, but is {show(text)}.")
    if isinstance(model.network, Ensemble):
        raise ModelError(f"{what} a single model, but this is an ensemble. Load one of its members.")
    most = model.network.max_length
    text = model.input_kind.read(source, "source", template=config.template)[0]
    if config.overflow not in ("truncate", "window"):
        config = override(config, {"overflow": "error"})
        remedy, ids = "Shorten it, or ask for `overflow` truncate or window", model.source_tokenizer.encode(text)
        limit = source_limit(model.network, config)
        check_source(ids, limit, most=most, row=0, what="the source", remedy=remedy)
    asked = source_inputs(model, [text], config)
    if not asked:
        raise DataError(f"`source` must have at least one token, but {show(text)} has none.")
    if target is None and model.labels:
        limits = {"overflow": config.overflow, "max_source_tokens": config.max_source_tokens}
        target = model.generate(text, **limits)[0].text
    if target is None:
        answer = engine.answer(model.runtime, asked, config, model.special_tokens)[0][0].ids
    else:
        answer = answer_ids([clean_text(str(target))], model.target_tokenizer, model.special_tokens)[0]
        check_length(answer, most, what="the target")
    if not answer:
        raise DataError(f"`target` must have at least one token, but {show(target)} has none.")
    return PairIds([int(id) for id in asked[0].ids], list(answer), source_limit(model.network, config))
