"""The families of published checkpoints that are read and written, by the `model_type` of their config.json.

To add one: a module here with its `Family`, a line below, a case in tests/parity/, a row in docs/pretrained.md.
"""

from __future__ import annotations

from antiphon.models.families.bart import BART, MARIAN
from antiphon.models.families.family import Family, Inexpressible, Ours, Row
from antiphon.models.families.t5 import MT5, T5, UMT5

FAMILIES: dict[str, Family] = {family.name: family for family in (T5, MT5, UMT5, BART, MARIAN)}

__all__ = ["FAMILIES", "Family", "Inexpressible", "Ours", "Row"]
