"""The tokenizer engines of pretrained folders, with one interface.

* json, spm, merges: the tokenizers library, on a tokenizer.json, or on one made from a sentencepiece model, or from
  vocab.json and merges.txt (layouts.py)
* pieces: sentencepiece makes pieces, vocab.json maps them to ids (Marian, M2M-100)
* bytes: an id is a byte + 3 (ByT5, Xue et al. 2022, section 3.1)
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

import sentencepiece
import tokenizers

from antiphon.errors import ModelError
from antiphon.text.bytes import ByteTable, byte_table
from antiphon.text.decoding import complete_decoder
from antiphon.text.pretrained.files import vocabulary_of
from antiphon.text.pretrained.layouts import from_merges, from_spm
from antiphon.text.pretrained.pieces import read_spm
from antiphon.text.pretrained.record import Role, Side, TokenizerRecord
from antiphon.text.vocabulary import as_model_error, reset_training_settings, spell_out

_BYTES_FROM = 3  # the id of byte 0, after padding, end and unknown
_LANGUAGE_FIRST = re.compile(r">>.*?<<", re.DOTALL)  # Marian: the target's language, written before the source


class Engine(Protocol):
    """The interface of an engine. `special` are ids that decoding skips, beside those of the record. `text` takes ids
    without special ones."""

    size: int
    special: frozenset[int]

    @property
    def table(self) -> ByteTable | None: ...
    def ids(self, texts: Sequence[str], *, side: Side) -> list[list[int]]: ...
    def text(self, ids: Sequence[int]) -> str: ...
    def piece(self, id: int) -> str: ...
    def sided(self) -> bool: ...
    def as_json(self) -> bytes | None: ...


def open_engine(record: TokenizerRecord, files: Mapping[str, bytes], *, where: str) -> Engine:
    """The engine for a record's kind, from `files` by suffix. ModelError, which names `where`, if they do not match."""
    needed = {
        "json": (".json",), "spm": (".spm",), "merges": (".vocab.json", ".merges.txt"), "pieces": (".vocab.json",),
        "bytes": (),
    }[record.kind]  # fmt: skip
    missing = [suffix for suffix in needed if suffix not in files]
    if missing:
        raise ModelError(f"`{where}` must have a file `…{missing[0]}` beside it, but has none. Restore it.")
    if record.kind == "bytes":
        return _Bytes(record)
    if record.kind == "pieces":
        return _Pieces(record, files, where)
    with as_model_error(where, "tokenizer"):
        if record.kind == "json":
            rust = _from_json(files[".json"], record)
        elif record.kind == "spm":
            load_spm(files[".spm"], where=where)
            rust = from_spm(read_spm(files[".spm"]), record)
        else:
            rust = from_merges(
                vocabulary_of(files[".vocab.json"], where=where), files[".merges.txt"], record, where=where
            )
        return _Rust(rust, record, where)


def load_spm(content: bytes, *, where: str) -> sentencepiece.SentencePieceProcessor:
    """Load and check a sentencepiece model; ModelError if it is broken."""
    processor = sentencepiece.SentencePieceProcessor()
    with as_model_error(where, "sentencepiece model"):
        processor.LoadFromSerializedProto(content)
        if not processor.vocab_size():
            raise ModelError(f"`{where}` must be a sentencepiece model, but has no pieces. Restore the file.")
        processor.id_to_piece(list(range(processor.vocab_size())))  # raises if a piece is not UTF-8
    return processor


def _from_json(content: bytes, record: TokenizerRecord) -> tokenizers.Tokenizer:
    """The tokenizer of a tokenizer.json, with the tokens that may be written out in a text as non-special ones."""
    found = {each.text for each in record.added if each.role != "control"}
    if found:
        plain = json.loads(content)
        for token in plain.get("added_tokens") or ():
            if token["content"] in found:
                token["special"] = False
        content = json.dumps(plain, ensure_ascii=False).encode()
    return tokenizers.Tokenizer.from_buffer(content)


class _Rust:
    def __init__(self, rust: tokenizers.Tokenizer, record: TokenizerRecord, where: str) -> None:
        self._rust, self._where = rust, where
        reset_training_settings(rust)
        complete_decoder(rust)
        rust.encode_special_tokens = True
        marked = rust.get_added_tokens_decoder()
        for token in sorted(record.added, key=lambda each: each.id):
            if token.id not in marked:
                special = token.role == "control"
                rust.add_tokens(
                    [tokenizers.AddedToken(token.text, lstrip=token.strips, normalized=False, special=special)]
                )
            if rust.token_to_id(token.text) != token.id:
                raise ModelError(
                    f"`{where}` must have `{token.text:.40}` as id {token.id}, but has {rust.token_to_id(token.text)}."
                )
        self.size = 1 + max(rust.get_vocab().values(), default=-1)
        special = {id for id, token in rust.get_added_tokens_decoder().items() if token.special}
        self.special = frozenset(special | {each.id for each in record.added if each.role == "mark"})
        self.table = byte_table(rust)
        steering = {record.pad, record.start, record.end, *record.languages.values(), *special}
        self._control = frozenset(steering - {record.unk})

    def ids(self, texts: Sequence[str], *, side: Side) -> list[list[int]]:
        with as_model_error(self._where, "tokenizer"):
            rows = [each.ids for each in self._rust.encode_batch_fast(list(texts), add_special_tokens=False)]
            return [ids if self._control.isdisjoint(ids) else spell_out(self._rust, ids, self._control) for ids in rows]

    def text(self, ids: Sequence[int]) -> str:
        if self.table:
            return self.table.decode(ids)
        with as_model_error(self._where, "tokenizer"):
            return self._rust.decode(list(ids), skip_special_tokens=False)

    def piece(self, id: int) -> str:
        if self.table and id not in self.special:
            return self.table.show(id)
        return self._rust.id_to_token(id) or ""

    def sided(self) -> bool:
        return False

    def as_json(self) -> bytes:
        """A tokenizer.json as transformers writes it: added tokens whose ids follow the model's are in its
        vocabulary."""
        plain = json.loads(self._rust.to_str())
        vocab = plain["model"]["vocab"]
        for token in sorted(plain["added_tokens"], key=lambda each: each["id"]):
            token["special"] = token["id"] in self.special
            if isinstance(vocab, dict):
                vocab.setdefault(token["content"], token["id"])
            elif token["id"] == len(vocab):
                vocab.append([token["content"], 0.0])
        return json.dumps(plain, ensure_ascii=False).encode()


class _Pieces:
    """One sentencepiece model, or one for each side; a piece that is not in vocab.json is unknown."""

    table: ByteTable | None = None

    def __init__(self, record: TokenizerRecord, files: Mapping[str, bytes], where: str) -> None:
        self._where = where
        vocab = vocabulary_of(files[".vocab.json"], where=where)
        sides: tuple[Side, Side] = ("source", "target")
        own = {side: files.get(f".{side}.spm", files.get(".spm")) for side in sides}
        self._models = {side: load_spm(content, where=where) for side, content in own.items() if content is not None}
        if len(self._models) < 2 or record.unk is None:
            raise ModelError(
                f"`{where}` must have a sentencepiece model and an unknown token, but lacks one. Restore it."
            )
        self._unk, self._two = record.unk, ".source.spm" in files
        self._texts = {id: token for token, id in vocab.items()} | {each.id: each.text for each in record.added}
        self._marked = record.layout == "marian"
        self._added, self._cut = _cutter(record, ("text",))
        self.special = frozenset(each.id for each in record.added if each.role != "text")
        self.size = 1 + max(self._texts)
        closed = {record.pad, record.start, record.end, *self.special} - {record.unk}
        self._ids = {token: id for token, id in vocab.items() if id not in closed}
        self._tables = {
            side: [self._ids.get(piece, self._unk) for piece in model.id_to_piece(list(range(model.vocab_size())))]
            for side, model in self._models.items()
        }

    def ids(self, texts: Sequence[str], *, side: Side) -> list[list[int]]:
        if self._cut is None:
            return self._plain_ids(texts, side=side)
        rows = [[part for part in self._cut.split(text) if part] for text in texts]
        plain = iter(self._plain_ids([part for row in rows for part in row if part not in self._added], side=side))
        return [
            [id for part in row for id in ([self._added[part]] if part in self._added else next(plain))] for row in rows
        ]

    def _plain_ids(self, texts: Sequence[str], *, side: Side) -> list[list[int]]:
        """The ids of texts without added words."""
        heads = [_LANGUAGE_FIRST.match(text) if self._marked else None for text in texts]
        tails = [text[head.end() :] if head else text for head, text in zip(heads, texts, strict=True)]
        model, table, unknown = self._models[side], self._tables[side], self._models[side].unk_id()
        with as_model_error(self._where, "sentencepiece model"):
            rows: list[list[int]] = model.encode(tails)
            # A piece unknown to the model may be a token of vocab.json, which has those of both sides.
            made = [
                self._looked_up(model.encode(tail, out_type=str)) if unknown in ids else [table[id] for id in ids]
                for ids, tail in zip(rows, tails, strict=True)
            ]
        return [
            [self._ids.get(head[0], self._unk), *ids] if head else ids for head, ids in zip(heads, made, strict=True)
        ]

    def text(self, ids: Sequence[int]) -> str:
        with as_model_error(self._where, "sentencepiece model"):
            text: str = self._models["source"].decode_pieces([self.piece(id) for id in ids]) if ids else ""
        return (text.replace("▁", " ") if self._marked else text).strip()

    def piece(self, id: int) -> str:
        return self._texts.get(id, "")

    def sided(self) -> bool:
        return self._two

    def as_json(self) -> None:
        return None

    def _looked_up(self, pieces: Iterable[str]) -> list[int]:
        return [self._ids.get(piece, self._unk) for piece in pieces]


def _cutter(record: TokenizerRecord, roles: Collection[Role]) -> tuple[dict[str, int], re.Pattern[str] | None]:
    """The ids of the added tokens with these roles, and a pattern that matches them, longest first; None for none."""
    added = {each.text: each.id for each in record.added if each.role in roles}
    names = sorted(map(re.escape, added), key=len, reverse=True)
    return added, re.compile(f"({'|'.join(names)})") if names else None


class _Bytes:
    def __init__(self, record: TokenizerRecord) -> None:
        self._added, self._cut = _cutter(record, ("mark", "text"))
        added = {each.id: each.text for each in record.added}
        self._names = {
            record.pad: "<pad>",
            record.end: "</s>",
            **({record.unk: "<unk>"} if record.unk else {}),
            **added,
        }
        self.special = frozenset(each.id for each in record.added if each.role != "text")
        self.size = max([_BYTES_FROM + 255, *self._names]) + 1
        words = {id: text.encode() for id, text in added.items() if id not in self.special}
        self.table = ByteTable({byte + _BYTES_FROM: bytes([byte]) for byte in range(256)} | words, strips=False)

    def ids(self, texts: Sequence[str], *, side: Side) -> list[list[int]]:
        return [
            [id for part in (self._cut.split(text) if self._cut else [text]) for id in self._part(part)]
            for text in texts
        ]

    def text(self, ids: Sequence[int]) -> str:
        return self.table.decode(ids)

    def piece(self, id: int) -> str:
        return self._names.get(id) or self.table.show(id)

    def sided(self) -> bool:
        return False

    def as_json(self) -> None:
        return None

    def _part(self, text: str) -> list[int]:
        return [self._added[text]] if text in self._added else [byte + _BYTES_FROM for byte in text.encode()]
