"""What the sources of a model are: text, speech and further kinds of input.

    kind = input_kind(model.family, model.input_settings)   # TextInput(), SpeechInput(family.speech), ImageInput(...)
    kind.read("hello.wav", "texts")             # a user's inputs -> rows of this kind
    kind.embedding(model, ids, noise)           # the module that turns sources into the encoder's input

`InputKind` (kind.py) is the interface. Model construction, reading of published folders, generation and training call
it without checking which kind it is; all code for one kind is in its file here. Data of a kind are rows: ids (L,) or
features (F, M); `batch.pad` collates both, and the encoder reads both.

To add a kind, for example molecules:

1. Its settings: a dataclass like `config/image.py`, and a name for `model.input` in `config/inputs.py`.
2. Its file here, like `image.py`: a subclass of `InputKind` that implements its methods. Its embedding
   is a subclass of `SourceEmbedding` (embeddings.py), built from parts of `antiphon.nn`.
3. Its class in `KINDS` below.

Then `generate`, `stream`, `score`, classification, ensembles, model folders and `antiphon generate` accept its sources.
A family of published checkpoints is added like any other (`models/families/`).
"""

from __future__ import annotations

from typing import Any

from antiphon.config import FamilyConfig, InputSettings
from antiphon.inputs.audio import AudioInput
from antiphon.inputs.image import ImageInput
from antiphon.inputs.image_text import ImageTextInput
from antiphon.inputs.images.augmentations import Blur, Crop, Elastic, Erase, Shear
from antiphon.inputs.kind import InputKind
from antiphon.inputs.sounds.augmentations import AddedNoise, SpecAugment, Speed
from antiphon.inputs.speech import SpeechInput
from antiphon.inputs.text import TextInput

__all__ = [
    "KINDS",
    "AddedNoise",
    "AudioInput",
    "Blur",
    "Crop",
    "Elastic",
    "Erase",
    "ImageInput",
    "ImageTextInput",
    "InputKind",
    "Shear",
    "SpecAugment",
    "SpeechInput",
    "Speed",
    "TextInput",
    "input_kind",
]

KINDS: tuple[type[InputKind[Any]], ...] = (SpeechInput, AudioInput, ImageInput, ImageTextInput, TextInput)
"""Every kind, those of particular families first: the first one whose `of` accepts a model's family is its kind."""


def input_kind(family: FamilyConfig | None, settings: InputSettings | None) -> InputKind[Any]:
    """The input kind of a model of `family` (None: one of this toolkit) with the settings of `model.input`."""
    return next(kind for each in KINDS if (kind := each.of(family, settings)) is not None)
