"""The supported families of published checkpoints, by the `model_type` of their config.json.

To add one: a module here with its `Family`, a line below, a case in tests/parity/, a row in docs/pretrained.md.
"""

from __future__ import annotations

import torch

from antiphon.errors import ModelError
from antiphon.models.families.bart import BART, BLENDERBOT, MBART
from antiphon.models.families.family import Family, Inexpressible, TranslatedCheckpoint, WeightName
from antiphon.models.families.longt5 import LONGT5
from antiphon.models.families.marian import M2M_100, MARIAN, PEGASUS
from antiphon.models.families.moonshine import MOONSHINE
from antiphon.models.families.speech2text import SPEECH2TEXT
from antiphon.models.families.t5 import MT5, T5, UMT5
from antiphon.models.families.t5gemma import T5GEMMA
from antiphon.models.families.t5gemma2 import T5GEMMA2
from antiphon.models.families.trocr import TROCR
from antiphon.models.families.whisper import WHISPER

_TEXT = (T5, MT5, UMT5, LONGT5, T5GEMMA, T5GEMMA2, BART, MBART, BLENDERBOT, MARIAN, PEGASUS, M2M_100)
_SOUND = (WHISPER, SPEECH2TEXT, MOONSHINE)
_ALL = (*_TEXT, *_SOUND, TROCR)
FAMILIES: dict[str, Family] = {family.name: family for family in _ALL}


def check_type(family: str, dtype: torch.dtype) -> None:
    """ModelError for float16 if activations of the family exceed its range."""
    if dtype == torch.float16 and family in FAMILIES and not FAMILIES[family].float16:
        raise ModelError(
            f"`dtype` must not be float16 for {family}, whose activations go beyond its largest number (65,504). "
            "Use bfloat16."
        )


__all__ = ["FAMILIES", "Family", "Inexpressible", "TranslatedCheckpoint", "WeightName", "check_type"]
