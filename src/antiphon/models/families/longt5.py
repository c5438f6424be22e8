"""LongT5 with local attention (Guo et al. 2022, section 3.1.1): a T5 whose encoder sees `local_radius` tokens on
either side.

The reference computes it in blocks of radius + 1 tokens; here it is the rules `relative` and `window` of the encoder.
Its transient global tokens (section 3.1.2) are sums over blocks of a layer's input, which a rule cannot compute; they
are an error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from antiphon.models.families.family import Family, Tables, TranslatedCheckpoint, WeightName, refuse_unless
from antiphon.models.families.t5 import IGNORED, TABLES, T5Keys, t5_ours, t5_rows, t5_theirs
from antiphon.models.folders.stored import WeightFiles
from antiphon.settings import Range, require

NAME = "longt5"


@dataclass(frozen=True, kw_only=True)
class LongT5Keys(T5Keys):
    """The keys that are read of a LongT5's config.json."""

    local_radius: Annotated[int, Range(low=0, high=2**20)] = 127
    encoder_attention_type: str = "local"

    def check(self) -> None:
        super().check()
        problem = f"must be `local`, but is `{self.encoder_attention_type:.40}`, which no attention here computes"
        require(self.encoder_attention_type == "local", "encoder_attention_type", problem, "Use a `local` checkpoint.")


def _ours(keys: LongT5Keys, stored: WeightFiles, tables: Tables) -> TranslatedCheckpoint:
    ours = t5_ours(NAME, keys, tables)
    local = {"all": [ours.attention.encoder, {"window": keys.local_radius + 1}]}
    return replace(ours, attention=replace(ours.attention, encoder=local))


def _theirs(ours: TranslatedCheckpoint) -> LongT5Keys:
    entry, window = ours.attention.encoder, None
    rules = entry.get("all") if isinstance(entry, dict) and len(entry) == 1 else None
    if isinstance(rules, list) and len(rules) == 2 and isinstance(rules[1], dict):
        entry, window = rules[0], rules[1].get("window")
    refuse_unless(isinstance(window, int), NAME, "the rules `relative` and `window`, a number, in the encoder")
    assert isinstance(window, int)
    plain = replace(ours, attention=replace(ours.attention, encoder=entry))
    return LongT5Keys(**vars(t5_theirs(NAME, plain)), local_radius=window - 1)


def _rows(ours: TranslatedCheckpoint) -> list[WeightName]:
    def named(row: WeightName) -> WeightName:
        theirs = row.theirs.replace(".SelfAttention.", ".LocalSelfAttention.")
        return replace(row, theirs=theirs, ours=row.ours.replace("rules.0.table", "rules.0.left.table"))

    return [named(row) if row.theirs.startswith("encoder.") else row for row in t5_rows(ours)]


LONGT5 = Family(
    NAME,
    "LongT5ForConditionalGeneration",
    LongT5Keys,
    ours=_ours,
    theirs=_theirs,
    rows=_rows,
    tables=TABLES,
    ignored=IGNORED,
    float16=False,
)
