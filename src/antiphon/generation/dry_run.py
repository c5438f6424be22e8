"""Whether a model can be asked with some search settings, found without computing answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from antiphon.generation.classification import refuse_search
from antiphon.generation.model import Model
from antiphon.search import engine
from antiphon.search.limits import source_limit
from antiphon.search.search import Search
from antiphon.settings import override


def try_search(model: Model, texts: Sequence[str], **settings: Any) -> None:
    """Raises what `model.generate(texts, **settings)` would raise, ConfigError or DataError.

    Sources, prefixes and restrictions of all texts are checked; the network computes one step of the first answer, for
    what shows only then, such as a coverage penalty beside a mixer without weights. The texts are those of a model that
    reads.
    """
    config = override(model.generation, settings)
    model = model.speaking(config.source_language, config.target_language)
    if model.labels:
        refuse_search(config)
        how = "error" if config.overflow == "split" else config.overflow  # as `label_scores` has it
        model._parts(model._inputs(texts, "texts", config), override(config, {"overflow": how}), 0)
        model.generate(texts[:1], **settings)  # every label is scored once, in place of a search
        return
    sources = model._sources(model._inputs(texts, "texts", config), config, 0)
    network, first = model.network, model.marks.first
    requests = [engine.request_of(source, config, network=network, first=first) for source in sources]
    if requests:
        plan = engine.plan_of(config, model.marks, window=source_limit(network, config))
        Search(model.runtime, requests[:1], plan)
