"""Details of an answer that a call asks for: the alignment of its words, the probability of each token, and the length
of a recording.

Where a model has none (transformers computes it, its cross-attention has no weights), the list is empty, or has None
for each token, and a warning says so: the answer is right without it.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

from antiphon.generation.answering import AnswerCall
from antiphon.generation.answers import Generation
from antiphon.generation.attention.alignment import align
from antiphon.generation.languages import answer_ids
from antiphon.generation.model import Model
from antiphon.generation.requests import read_inputs
from antiphon.generation.token_confidence import AnsweredPart, token_confidence
from antiphon.generation.translator import Translator
from antiphon.inputs.limits import source_limit
from antiphon.inputs.sounds.files import read_head
from antiphon.serving.process.messages import SubmitInput
from antiphon.settings import override


def details_of(model: Translator, message: SubmitInput, answer: Generation, handle: object) -> dict[str, Any]:
    """The details of an answer, by name; `handle` is the engine's."""
    found: dict[str, Any] = {}
    if "alignment" in message.details:
        found["alignment"] = _alignment(model, message, answer)
    if "token_confidence" in message.details:
        found["token_confidence"] = _confidence(model, message, answer, handle)
    if "seconds" in message.details and isinstance(message.input, bytes):
        head = read_head(io.BytesIO(message.input), "a recording of `inputs`")
        found["seconds"] = round(head.samples / head.rate, 3)
    return found


def _alignment(model: Translator, message: SubmitInput, answer: Generation) -> list[dict[str, Any]]:
    if isinstance(model, Model):
        model = model.in_languages_of(override(model.generation, message.settings))
    spans = align(model, message.input, answer.text) if isinstance(message.input, str) else None
    if spans is None:
        has_words = isinstance(message.input, str)
        reason = "this model has no weights of cross-attention" if has_words else "the source is no text"
        warnings.warn(f"the alignment is empty, since {reason}.", stacklevel=2)
    return [span.as_json() for span in spans or []]


def _confidence(model: Translator, message: SubmitInput, answer: Generation, handle: object) -> Sequence[float | None]:
    if not isinstance(model, Model):
        warnings.warn("the confidence of tokens is unknown, since transformers computes this model.", stacklevel=2)
        return [None] * len(answer.tokens)
    config = override(model.generation, message.settings)
    window = source_limit(model.network, config)
    if isinstance(handle, AnswerCall):
        return token_confidence(handle.model, answered_parts(handle), window=window)
    # A label, which was scored for its source.
    rows, _ = read_inputs(model, [message.input], "inputs", config)
    (source,) = model.input_kind.whole(rows, network=model.network, config=config, first_row=message.row)
    (ids,) = answer_ids([answer.text], model.target_tokenizer, model.special_tokens)
    return token_confidence(model, [AnsweredPart(source, ids, model.special_tokens)], window=window)


def answered_parts(call: AnswerCall) -> list[AnsweredPart]:
    """The parts of the only input of a call, with their answers."""
    (row,) = call.rows
    return [
        AnsweredPart(job.request.source, job.hypotheses[0].ids, job.special_tokens)
        for job in row.parts
        if job.hypotheses
    ]
