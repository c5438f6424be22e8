"""Marian (Junczys-Dowmunt et al. 2018), Pegasus (Zhang et al. 2020), M2M-100 (Fan et al. 2021) and NLLB (2022).

Sinusoids, sines before cosines; in M2M-100 the first position is number 2, and the lowest frequency 1/10000. Marian is
post-norm, the others are pre-norm. Marian may have two vocabularies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from antiphon.models.families.fairseq import BartKeys, line
from antiphon.models.families.family import TranslatedCheckpoint, Vocabulary
from antiphon.settings import require


@dataclass(frozen=True, kw_only=True)
class MarianKeys(BartKeys):
    """The keys that are read of a Marian's config.json."""

    decoder_vocab_size: Vocabulary | None = None
    share_encoder_decoder_embeddings: bool = True

    @property
    def one_table(self) -> bool:
        return self.share_encoder_decoder_embeddings

    @property
    def target_vocab(self) -> int:
        own = None if self.share_encoder_decoder_embeddings else self.decoder_vocab_size
        return own or self.vocab_size

    @classmethod
    def of(cls, ours: TranslatedCheckpoint, values: dict[str, Any]) -> Self:
        return cls(**values, decoder_vocab_size=ours.target_vocab, share_encoder_decoder_embeddings=ours.tables.shared)


@dataclass(frozen=True, kw_only=True)
class M2M100Keys(BartKeys):
    """The keys that are read of an M2M-100's config.json."""

    def check(self) -> None:
        super().check()
        problem = f"must be 1, behind which the library counts positions, but is {self.pad_token_id}"
        require(self.pad_token_id in (None, 1), "pad_token_id", problem)


MARIAN = line(
    "marian",
    "MarianMTModel",
    {"positions": "sinusoidal", "norm_placement": "post"},
    {"sinusoids": "halves"},
    keys=MarianKeys,
)
PEGASUS = line(
    "pegasus",
    "PegasusForConditionalGeneration",
    {"positions": "sinusoidal", "norm_placement": "pre"},
    {"sinusoids": "halves"},
)
M2M_100 = line(
    "m2m_100",
    "M2M100ForConditionalGeneration",
    {"positions": "sinusoidal", "norm_placement": "pre"},
    {"sinusoids": "closed_halves", "position_offset": 2},
    keys=M2M100Keys,
)
