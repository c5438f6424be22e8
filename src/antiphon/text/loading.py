"""The tokenizers of a Hugging Face folder.

    source, target = load_pretrained_tokenizers(Path("opus-mt-en-de"), config)     # config: its parsed config.json

Encoding and decoding equal transformers', with four differences. A control token (`</s>`, a language) that is written
out in a text is plain text. The normalization of a sentencepiece model is always applied. Decoded text is never
"cleaned up" (transformers may remove spaces before punctuation, which changes the output of a model). Invalid UTF-8
becomes U+FFFD; ByT5's tokenizer drops it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antiphon.errors import ModelError
from antiphon.text.pretrained.families import read_pretrained
from antiphon.text.pretrained.files import TokenizerFolder
from antiphon.text.pretrained.published import CONFIG, enclosed, published
from antiphon.text.pretrained.vocabulary import PretrainedVocabulary
from antiphon.text.tokenizer import Tokenizer


def load_pretrained_tokenizers(folder: Path, config: Mapping[str, Any]) -> tuple[Tokenizer, Tokenizer]:
    """The source and the target tokenizer; the same object if the sides do not differ.

    They differ in the language (mBART, NLLB, M2M-100), in the sentencepiece model (Marian), or if only targets have an
    end token. ModelError, which names the file, for what cannot be read.
    """
    made = [
        Tokenizer(PretrainedVocabulary(record, files, where=str(folder)))
        for record, files in read_pretrained(folder, config)
    ]
    return made[0], made[-1].as_target()


def pretrained_config(folder: Path) -> dict[str, Any] | None:
    """The parsed config.json of a Hugging Face folder; None for other folders, including Antiphon's own."""
    config = TokenizerFolder(folder).mapping("config.json") if folder.is_dir() else None
    return None if config is None or "format" in config or "model_type" not in config else config


def pretrained_files(source: Tokenizer, target: Tokenizer) -> dict[str, bytes]:
    """The inverse of `load_pretrained_tokenizers`: file names and contents, from which transformers reads equal ids.

    For a tokenizer trained here: tokenizer.json and the names of its special tokens. ModelError for two different ones,
    and for a sentencepiece model.
    """
    own, other = source.vocabulary, target.vocabulary
    if isinstance(own, PretrainedVocabulary) and isinstance(other, PretrainedVocabulary):
        files = published(own, other)
        return files if CONFIG in files or ".json" not in own.raw_files else {**files, CONFIG: _named(source)}
    content = own.files.get(".json")
    if content is None or not source.shares(target):
        raise ModelError(
            "a model to be written for transformers must have one tokenizer.json for both sides, or the tokenizers of "
            "a published folder, but has neither."
        )
    return {"tokenizer.json": enclosed(content, source.vocabulary), CONFIG: _named(source)}


def _named(tokenizer: Tokenizer) -> bytes:
    """A tokenizer_config.json with the special tokens, for a folder with only a tokenizer.json."""
    specials = {"pad_token": tokenizer.pad_id, "eos_token": tokenizer.end_id, "unk_token": tokenizer.unk_id}
    names = {name: tokenizer.pieces([id], specials=True)[0] for name, id in specials.items() if id is not None}
    return (json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **names}, ensure_ascii=False) + "\n").encode()
