"""The maximum source length of a published checkpoint whose network has no limit of its own.

    usual_length(folder, config, tokenizer, most=16384)         # 512, or None: as long as the network takes

It is `model_max_length` in tokenizer_config.json or `n_positions` in config.json; transformers saves 10**30 if it is
unknown. A T5 has no table of positions and runs with any length; if its folder has neither key, the limit is the length
of its pretraining: 512 tokens (Raffel et al. 2020, section 3.1.2), of mT5 and UMT5 1,024 (Xue et al. 2021,
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
    """The maximum number of tokens of a source, end included, of the checkpoint in `folder`; None if it is not less
    than `most`, the network's `max_length`. `tokenizer` is that of the sources."""
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
    """Set the limit in tokenizer_config.json of a saved folder, so that its `usual_length` is `limit`; without a limit
    remove it."""
    if limit is not None and usual_length(folder, config, tokenizer, most=most) != limit:
        file = folder / TOKENIZER_CONFIG
        write_json(file, (read_json(file) if file.exists() else {}) | {"model_max_length": limit})


def _count(value: object) -> int | None:
    """A number of tokens, also given as a float, as in old files; None for other values."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 2**31:
        return None
    return int(value)
