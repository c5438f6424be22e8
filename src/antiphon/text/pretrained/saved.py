"""Loads a pretrained tokenizer that `Tokenizer.save` wrote: `NAME.kind.json` and its files."""

from __future__ import annotations

from pathlib import Path

from antiphon.errors import ModelError
from antiphon.text.pretrained.files import TokenizerFolder
from antiphon.text.pretrained.record import KIND, read_kind
from antiphon.text.pretrained.vocabulary import PretrainedVocabulary

SUFFIXES = (
    ".json", ".spm", ".source.spm", ".target.spm", ".vocab.json", ".merges.txt", ".tokenizer_config.json",
    ".special_tokens_map.json", ".added_tokens.json",
)  # fmt: skip


def load_saved(path: Path, name: str) -> PretrainedVocabulary:
    """The vocabulary saved as `name` in the folder `path`; ModelError if a file is missing or broken."""
    folder = TokenizerFolder(path)
    content = folder.read(f"{name}{KIND}")
    if content is None:
        raise ModelError(f"`{path}` must hold {name}{KIND}, but does not.")
    record = read_kind(content, where=str(path / f"{name}{KIND}"))
    files = {suffix: found for suffix in SUFFIXES if (found := folder.read(f"{name}{suffix}")) is not None}
    return PretrainedVocabulary(record, files, where=str(path / f"{name}{KIND}"))
