"""`repr` of a model, one line, and its HTML for notebooks, a table of its layers."""

from __future__ import annotations

from typing import Any, Protocol, cast

from antiphon.display import Markup, details, joined, note, panel, table
from antiphon.generation.ensemble import Ensemble
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.summary import attention_kinds, summary


class _ModelView(Protocol):
    """The attributes of a model that are shown."""

    network: Any
    source_tokenizer: Any
    target_tokenizer: Any

    @property
    def task(self) -> str: ...
    @property
    def labels(self) -> list[str]: ...


class ModelRepr:
    """A base of models, which gives them `repr` and HTML."""

    def __repr__(self) -> str:
        return f"Model({', '.join(_facts(cast(_ModelView, self)))})"

    def _repr_html_(self) -> str:
        """The layers with their kinds, shapes and parameters, as HTML for notebooks."""
        model = cast(_ModelView, self)
        title = f"Model: {model.task}"
        if model.labels:
            some = ", ".join(model.labels[:10]) + (", …" if len(model.labels) > 10 else "")
            title += f" ({some})"
        network, facts = model.network, note(" · ".join(_facts(model)[1:]))
        if isinstance(network, Ensemble):
            members = [
                details(f"member {number}", _kinds(part), _layers(part)) for number, part in enumerate(network.parts, 1)
            ]
            return panel(title, facts, *members)
        return panel(title, facts, _kinds(network), _layers(network))


def _facts(model: _ModelView) -> list[str]:
    """The task, the layers, the parameters and the vocabularies, each in a few words."""
    network: EncoderDecoder = model.network
    facts = [model.task]
    if isinstance(network, Ensemble):
        facts.append(f"ensemble of {len(network.parts)}")
        parts = network.parts
    else:
        facts.append(f"{len(network.encoder.layers)}+{len(network.decoder.layers)} layers")
        facts.append(f"d_model {network.output.embedding_dim}")
        parts = [network]
    total = sum(row.parameters * row.times for part in parts for row in summary(part))
    source, target = model.source_tokenizer, model.target_tokenizer
    sizes = [source.vocab_size] if source is target else [source.vocab_size, target.vocab_size]
    vocabulary = " to ".join(f"{size:,}" for size in sizes)
    where = network.device.type
    return [*facts, f"{total:,} parameters", f"vocabulary {vocabulary}", where]


def _kinds(network: EncoderDecoder) -> Markup:
    kinds = "; ".join(f"{role} {kind}" for role, kind in attention_kinds(network).items() if kind)
    return note(f"attention: {kinds}")


def _layers(network: EncoderDecoder) -> Markup:
    rows, before = [], ""
    for row in summary(network):
        numbers = f"{row.parameters:,}" if row.times == 1 else f"{row.times} × {row.parameters:,}"
        rows.append(["" if row.layers == before else row.layers, row.part, row.kind, row.shape, numbers])
        before = row.layers
    return joined(table(["layers", "part", "kind", "shape", "parameters"], rows, right={4}))
