"""Protocols of a model, for modules that the module of `Model` imports."""

from __future__ import annotations

from typing import Any, Protocol

from antiphon.generation.restricting import ConstraintBuilder
from antiphon.inputs import InputKind
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.runtime.runtime import Runtime
from antiphon.search.special_tokens import SpecialTokens
from antiphon.text import Tokenizer


class AnsweringModel(Protocol):
    """A network and its runtime, the kind of its sources, its tokenizers, special tokens and constraints."""

    network: EncoderDecoder
    runtime: Runtime
    input_kind: InputKind[Any]
    source_tokenizer: Tokenizer
    target_tokenizer: Tokenizer
    special_tokens: SpecialTokens
    restrictor: ConstraintBuilder
