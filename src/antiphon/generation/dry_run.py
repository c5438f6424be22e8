"""Checks whether a model can generate with given search settings, without computing the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from antiphon.generation.classification.classify import refuse_search
from antiphon.generation.model import Model
from antiphon.generation.prompting import special_tokens_of
from antiphon.generation.requests import read_inputs, source_inputs
from antiphon.inputs.limits import source_limit
from antiphon.search.beam_search import Search
from antiphon.search.config import search_config
from antiphon.search.requests import make_request
from antiphon.settings import override


def try_search(model: Model, texts: Sequence[str], **settings: Any) -> None:
    """Raises what `model.generate(texts, **settings)` would raise, ConfigError or DataError.

    Sources, prefixes and constraints of all texts are checked. The network computes one step of the first answer, for
    errors that occur only then, such as a coverage penalty with a mixer without attention weights.
    """
    config = override(model.generation, settings)
    model = model.speaking(config.source_language, config.target_language)
    rows, prompts = read_inputs(model, texts, "texts", config)
    if model.labels:
        refuse_search(config)
        model.input_kind.whole(rows, network=model.network, config=config)
        model.generate(texts[:1], **settings)  # every label is scored once, in place of a search
        return
    sources = source_inputs(model, rows, config, prompts=prompts)
    network, first = model.network, model.special_tokens.first
    requests = [make_request(one, config, network=network, first=(*first, *one.prompt)) for one in sources]
    if requests:
        tokens = special_tokens_of(model.input_kind, network, sources[:1], model.special_tokens)[0]
        search_settings = search_config(config, tokens, window=source_limit(network, config))
        Search(model.runtime, requests[:1], search_settings)
