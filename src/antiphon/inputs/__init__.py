"""What the sources of a model are: text, speech and further kinds of input.

    kind = input_kind(model.family)             # TextInput() or SpeechInput(family.speech)
    kind.read("hello.wav", "texts")             # what a user gives -> the rows of this kind
    kind.embedding(model, ids, noise)           # the module that turns sources into what the encoder reads

`InputKind` (kind.py) is the interface. Building a network, reading published folders, generation and training ask it
and never which kind it is, so that all that knows about one kind is in its file here. Data of one kind are rows: ids
(L,) or features (F, M); `batch.pad` collates both, and the encoder reads both.

To add a kind, for example images:

1. Its settings: a dataclass like `config/speech.py`, and a field of `FamilyConfig` (`config.json` holds both).
2. Its file here, `image.py`, like `speech.py`: a subclass of `InputKind` with all that is asked of a kind. Its
   embedding is a subclass of `SourceEmbedding` (embeddings.py), made of parts of `antiphon.nn`.
3. Its class in `KINDS` below.

Then `generate`, `stream`, `score`, classification, ensembles, the folders of models and `antiphon generate` take its
sources. A family of published checkpoints is added as every other (`models/families/`).
"""

from __future__ import annotations

from typing import Any

from antiphon.config import FamilyConfig
from antiphon.inputs.kind import InputKind
from antiphon.inputs.speech import SpeechInput
from antiphon.inputs.text import TextInput

__all__ = ["KINDS", "InputKind", "SpeechInput", "TextInput", "input_kind"]

KINDS: tuple[type[InputKind[Any]], ...] = (SpeechInput, TextInput)
"""Every kind, those of particular families first: the first one whose `of` accepts a model's family is its kind."""


def input_kind(family: FamilyConfig | None) -> InputKind[Any]:
    """The kind of the sources of a model of `family`; None is a model of this toolkit's own."""
    return next(kind for each in KINDS if (kind := each.of(family)) is not None)
