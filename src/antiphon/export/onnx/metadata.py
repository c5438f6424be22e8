"""`onnx.json`, what a program must know to use the files of an export, and the tokenizers beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from antiphon.errors import ModelError
from antiphon.models.folders.files import read_json
from antiphon.text import Tokenizer, load_pretrained_tokenizers

FILE, FORMAT, VERSION = "onnx.json", "antiphon-onnx", 1


@dataclass(frozen=True, slots=True)
class TokenIds:
    """The ids of a target: it begins with `start` and `first`, and ends with `end`. `suppressed` are never generated,
    `suppressed_first` not as the first id. `force_end`: an answer that reaches its limit ends with `end`."""

    start: int
    end: int
    pad: int
    first: list[int]
    suppressed: list[int]
    suppressed_first: list[int]
    force_end: bool


@dataclass(frozen=True, slots=True)
class OnnxMetadata:
    """The content of `onnx.json`.

    `files`: the file of each role, `encoder` and `decoder`, or `encoder`, `first_step` and `next_step`.
    `external_data`: the files of weights that belong to them, for models of more than 1.8 GB. `past_shapes`: the
    shapes of the cache's tensors, 0 for a size that varies. A source is `source_frame[0]`, the text's ids,
    `source_frame[1]`. `labels`: the ids,
    end included, of each label of a classification. `tokenizers`: `antiphon` (tokenizer.json, or source.… and
    target.…) or `huggingface`. `difference`: the largest between model and files, measured on export.
    """

    weights: str
    files: dict[str, str]
    ids: TokenIds
    max_source_tokens: int
    max_target_tokens: int
    source_frame: list[list[int]]
    template: str
    tokenizers: str
    labels: dict[str, list[int]] = field(default_factory=dict)
    external_data: dict[str, str] = field(default_factory=dict)
    past_shapes: dict[str, list[int]] = field(default_factory=dict)
    source_language: str | None = None
    target_language: str | None = None
    difference: float | None = None

    def content(self) -> dict[str, Any]:
        """The JSON object."""
        return {"format": FORMAT, "format_version": VERSION, **asdict(self)}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> OnnxMetadata:
        """From the JSON object; ModelError for another format."""
        if content.get("format") != FORMAT or content.get("format_version") != VERSION:
            raise ModelError(f"{FILE} must have `format` {FORMAT} and `format_version` {VERSION}. Export it again.")
        missing = [each.name for each in fields(cls) if each.name not in content]
        if missing:
            raise ModelError(f"{FILE} must have the key `{missing[0]}`, but has not. Export the model again.")
        found = {each.name: content[each.name] for each in fields(cls)}
        return cls(**{**found, "ids": TokenIds(**found["ids"])})


def load_tokenizers(folder: Path, metadata: OnnxMetadata) -> tuple[Tokenizer, Tokenizer] | None:
    """The tokenizers of source and target, in the languages of the export; None for a model that reads sound."""
    if metadata.tokenizers == "none":
        return None
    if metadata.tokenizers == "huggingface":
        source, target = load_pretrained_tokenizers(folder, read_json(folder / "config.json"))
    else:
        shared = next(folder.glob("tokenizer.*"), None)
        source = _load(folder, "source" if shared is None else "tokenizer")
        target = (source if shared is not None else _load(folder, "target")).as_target()
    return source.in_language(metadata.source_language), target.in_language(metadata.target_language)


def _load(folder: Path, name: str) -> Tokenizer:
    for suffix in (".kind.json", ".json", ".spm"):
        if (folder / f"{name}{suffix}").is_file():
            return Tokenizer.load(folder / f"{name}{suffix}")
    raise ModelError(f"`{folder}` must hold {name}.json or {name}.spm, but has neither. Export the model again.")
