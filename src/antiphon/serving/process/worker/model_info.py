"""The facts about a loaded model that clients may ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from antiphon.generation.ensemble import Ensemble
from antiphon.generation.hf.model import HFModel
from antiphon.generation.model import Model
from antiphon.generation.translator import Translator
from antiphon.inputs.image import ImageInput
from antiphon.inputs.limits import source_limit
from antiphon.inputs.speech import SpeechInput
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.summary import attention_kinds, summary
from antiphon.reports.card_facts import card_facts
from antiphon.serving.process.messages import StartModel
from antiphon.serving.service import InputName
from antiphon.settings import plain
from antiphon.text.tokenizer_repr import kind_of

_HF_INPUTS: dict[str, InputName] = {"text": "text", "sound": "speech", "images": "image"}


def info_of(model: Translator, start: StartModel) -> dict[str, Any]:
    """The fields of a `ModelInfo`."""
    kind = model.input_kind if isinstance(model, Model) else None
    speech = kind.speech if isinstance(kind, SpeechInput) else None
    source, target = _languages(model)
    return {
        "task": model.task,
        "input": input_of(model),
        "images": joins_text(model),
        "timestamps": speech is not None
        and isinstance(model, Model)
        and speech.has_timestamps(model.network.vocab_size),
        "labels": list(model.labels),
        "source_languages": source,
        "target_languages": target,
        "generation": plain(model.generation),
        "limits": _limits(model) | ({} if speech is None else {"max_source_seconds": speech.seconds}),
        "card": _card(model, start),
    }


def input_of(model: Translator) -> InputName:
    """What a model takes: texts, or the bytes of sound files or of images.

    A text for one of the other two would be the name of a file, which no client may choose.
    """
    if isinstance(model, HFModel):
        return _HF_INPUTS[model.reader.reads]
    if not isinstance(model, Model) or model.input_kind.has_tokens:
        return "text"
    return "image" if isinstance(model.input_kind, ImageInput) else "speech"


def joins_text(model: Translator) -> bool:
    """Whether a model takes texts, and images beside them."""
    return isinstance(model, Model) and model.input_kind.joins_text


def _languages(model: Translator) -> tuple[list[str], list[str]]:
    """The codes of the languages of sources and of answers; empty where the model names none."""
    if not isinstance(model, Model):
        return [], []
    if isinstance(model.input_kind, SpeechInput):
        speech = model.input_kind.speech
        spoken = [code for code, _ in speech.languages]
        return spoken, spoken
    return list(model.source_tokenizer.languages), list(model.target_tokenizer.languages)


def _limits(model: Translator) -> dict[str, int]:
    if not isinstance(model, Model):
        return {}
    return {
        "max_source_tokens": source_limit(model.network, model.generation),
        "max_new_tokens": model.network.max_length,
    }


def _card(model: Translator, start: StartModel) -> dict[str, Any]:
    """Facts for a page about the model: its sizes, attention, tokenizers, data and metrics."""
    card: dict[str, Any] = {"quantize": start.quantize, "dtype": start.dtype or "float32"}
    if isinstance(model, Model):
        members = model.network.parts if isinstance(model.network, Ensemble) else [model.network]
        card |= {"members": len(members), **_network(members[0], model)}
        card["tokenizers"] = {
            side: {"kind": kind_of(tokenizer.vocabulary), "vocab_size": tokenizer.vocab_size}
            for side, tokenizer in (("source", model.source_tokenizer), ("target", model.target_tokenizer))
        }
    return card | card_facts(Path(start.paths[0]))


def _network(network: EncoderDecoder, model: Model) -> dict[str, Any]:
    settings = model.parts.model
    return {
        "parameters": sum(row.parameters * row.times for row in summary(network)),
        "encoder_layers": len(network.encoder.layers),
        "decoder_layers": len(network.decoder.layers),
        "d_model": settings.d_model,
        "num_heads": settings.num_heads,
        "max_length": network.max_length,
        "family": None if settings.family is None else settings.family.name,
        "attention": attention_kinds(network),
    }
