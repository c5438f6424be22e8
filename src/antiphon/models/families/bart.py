"""BART (Lewis et al. 2020), mBART and mBART-50 (Liu et al. 2020; Tang et al. 2020), BlenderBot (Roller et al. 2021).

Learned positions, in BART and mBART with the first one in row 2 of the table; a norm after the embeddings, except in
BlenderBot; post-norm in BART, pre-norm in the others.
"""

from __future__ import annotations

from dataclasses import replace

from antiphon.models.families.fairseq import TABLES, line

BART = line(
    "bart",
    "BartForConditionalGeneration",
    {"positions": "learned", "norm_placement": "post"},
    {"position_offset": 2, "embedding_norm": True},
)
MBART = line(
    "mbart",
    "MBartForConditionalGeneration",
    {"positions": "learned", "norm_placement": "pre"},
    {"position_offset": 2, "embedding_norm": True},
)
BLENDERBOT = replace(
    line("blenderbot", "BlenderbotForConditionalGeneration", {"positions": "learned", "norm_placement": "pre"}, {}),
    tables=replace(TABLES, ties=True),
)
