"""Conversion of a tokenizer to one tokenizer.json and a record of ids, which can be edited, and back.

    content, record = to_json_form(tokenizer)       # parsed JSON; the record is None for a tokenizer trained here
    tokenizer = from_json_form(content, record, like=tokenizer)

A sentencepiece model, or vocab.json with merges.txt, of a published folder is converted to a tokenizer.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Rust

from antiphon.errors import ConfigError
from antiphon.text.pretrained.record import Frame, TokenizerRecord
from antiphon.text.pretrained.vocabulary import PretrainedVocabulary
from antiphon.text.tokenizer import Tokenizer
from antiphon.text.vocabulary import JsonVocabulary

_CONFIG = ".tokenizer_config.json"


def to_json_form(tokenizer: Tokenizer) -> tuple[dict[str, Any], TokenizerRecord | None]:
    """`tokenizer` as the content of a tokenizer.json, and its record; ConfigError if it has no such form."""
    known = tokenizer.vocabulary
    if isinstance(known, JsonVocabulary):
        return json.loads(Rust.from_buffer(known.content).to_str()), None
    if isinstance(known, PretrainedVocabulary):
        content = known.raw_files[".json"] if known.record.kind == "json" else known.as_json()
        assert content is not None, "tokenizers of pieces and of bytes are changed in id_tables.py"
        rust = Rust.from_buffer(content)
        _add(rust, known.record)
        added = () if known.record.kind != "json" else known.record.added
        record = replace(known.record, kind="json", layout="plain", added=added)
        return json.loads(rust.to_str()), record
    raise ConfigError("only a tokenizer.json can change, but the base has a sentencepiece file.")


def _add(rust: Rust, record: TokenizerRecord) -> None:
    """Add the tokens that only the record has to the tokenizer.json."""
    for token in sorted(record.added, key=lambda each: each.id):
        if rust.token_to_id(token.text) is None:
            special = token.role == "control"
            rust.add_tokens([AddedToken(token.text, lstrip=token.strips, normalized=False, special=special)])


def from_json_form(content: dict[str, Any], record: TokenizerRecord | None, *, like: Tokenizer) -> Tokenizer:
    """The tokenizer of a changed `content` and `record`. Entries of the config files that name ids are dropped."""
    written = json.dumps(content, ensure_ascii=False).encode()
    if record is None:
        return Tokenizer(JsonVocabulary(written, where="the changed tokenizer"), ends=like.ends)
    assert isinstance(like.vocabulary, PretrainedVocabulary)
    files = {".json": written}
    if (small := like.vocabulary.raw_files.get(_CONFIG)) is not None:
        kept = {key: value for key, value in json.loads(small).items() if key != "added_tokens_decoder"}
        files[_CONFIG] = json.dumps(kept, ensure_ascii=False).encode()
    return Tokenizer(PretrainedVocabulary(record, files, where="the changed tokenizer"), ends=like.ends)


def ids_of(record: TokenizerRecord) -> set[int]:
    """All ids in a record."""
    found = {record.pad, record.start, record.end, *record.languages.values(), *(each.id for each in record.added)}
    found |= {id for id in (*record.before, *record.after) if isinstance(id, int)}
    return found if record.unk is None else found | {record.unk}


def remap_ids(record: TokenizerRecord, new: Callable[[int], int], *, size: int) -> TokenizerRecord:
    """The record with its ids mapped by `new`."""

    def frame(ids: Iterable[int | str]) -> Frame:
        return tuple(new(id) if isinstance(id, int) else id for id in ids)

    return replace(
        record,
        size=size,
        pad=new(record.pad),
        start=new(record.start),
        end=new(record.end),
        unk=None if record.unk is None else new(record.unk),
        before=frame(record.before),
        after=frame(record.after),
        added=tuple(replace(each, id=new(each.id)) for each in record.added),
        languages={code: new(id) for code, id in record.languages.items()},
    )
