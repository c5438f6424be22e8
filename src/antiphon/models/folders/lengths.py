"""How long the sources of a published checkpoint may be, where its network has no bound of its own.

    usual_length(folder, config, tokenizer, most=16384)         # 512, or None: as long as the network takes

`model_max_length` in tokenizer_config.json and `n_positions` in config.json say it; transformers writes 10**30 where
nothing is known. A T5 has no table of positions, so that any length runs; where its folder says nothing, it is the
length of its pretraining: 512 tokens (Raffel et al. 2020, section 3.1.2), of mT5 and UMT5 1,024 (Xue et al. 2021,
section 3.2; Chung et al. 2023), of ByT5 1,024 bytes (Xue et al. 2022, section 3.1), of LongT5 4,096 tokens (Guo et al.
2022, section 4.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antiphon.models.folders.files import read_json, within, write_json
from antiphon.text import Tokenizer
from antiphon.text.pretrained.vocabulary import PretrainedVocabulary

TOKENIZER_CONFIG = "tokenizer_config.json"
PRETRAINING_LENGTHS = {"t5": 512, "mt5": 1024, "umt5": 1024, "longt5": 4096}
BYTE_LEVEL_LENGTH = 1024


def usual_length(folder: Path, config: Mapping[str, Any], tokenizer: Tokenizer, *, most: int) -> int | None:
    """The tokens of a source, end included, that the checkpoint in `folder` is meant for; None where those are not
    fewer than `most`, the network's `max_length`. `tokenizer` is that of the sources."""
    there = (folder / TOKENIZER_CONFIG).exists()
    said = [
        read_json(within(folder, TOKENIZER_CONFIG)).get("model_max_length") if there else None,
        config.get("n_positions"),
    ]
    found = [value for value in map(_count, said) if value is not None]
    if not found and (usual := PRETRAINING_LENGTHS.get(str(config.get("model_type")))):
        vocabulary = tokenizer.vocabulary
        of_bytes = isinstance(vocabulary, PretrainedVocabulary) and vocabulary.record.kind == "bytes"
        found = [BYTE_LEVEL_LENGTH if of_bytes else usual]
    least = min(found, default=most)
    return least if least < most else None


def keep_usual_length(
    folder: Path, config: Mapping[str, Any], tokenizer: Tokenizer, limit: int | None, *, most: int
) -> None:
    """See to it that `usual_length` of the folder that was written is `limit`, by its tokenizer_config.json; without a
    limit the folder says nothing of it."""
    if limit is not None and usual_length(folder, config, tokenizer, most=most) != limit:
        file = folder / TOKENIZER_CONFIG
        write_json(file, (read_json(file) if file.exists() else {}) | {"model_max_length": limit})


def _count(value: object) -> int | None:
    """A number of tokens, also as the float that old files have; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 2**31:
        return None
    return int(value)
