"""The vocabulary of a pretrained tokenizer: engine, record, and the side (source or target) that it encodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from antiphon.errors import ModelError
from antiphon.text.pretrained.engines import open_engine
from antiphon.text.pretrained.record import KIND, Side, TokenizerRecord
from antiphon.text.vocabulary import TRIAL, Specials, enclose


class PretrainedVocabulary:
    """The vocabulary for source texts, from `files` by suffix. `with_language` and `of_side` return its variants."""

    def __init__(self, record: TokenizerRecord, files: Mapping[str, bytes], *, where: str) -> None:
        self._engine = open_engine(record, files, where=where)
        if self._engine.size > record.size:
            raise ModelError(
                f"the tokenizer of `{where}` must have at most {record.size} ids, the rows of the model's table, "
                f"but has {self._engine.size}. Use the tokenizer that belongs to the model."
            )
        self.side: Side = "source"
        self.raw_files: Mapping[str, bytes] = dict(files)
        self.table = self._engine.table
        self._set(record)
        for side in ("source", "target"):
            sibling = self.of_side(side)
            sibling.decode(sibling.encode([TRIAL], ends=False)[0])

    def _set(self, record: TokenizerRecord) -> None:
        self.record = record
        self.size = max(self._engine.size, 1 + max(record.pad, record.start, record.end))
        self.frame = record.frame(self.side)
        code = record.target_language if record.starts_with_language else None
        start = record.start if code is None else record.languages[code]
        control = {record.pad, start, record.end, *record.languages.values(), *self._engine.special}
        control |= {record.unk} if record.unk is not None else set()
        self.specials = Specials(record.pad, start, record.end, record.unk, frozenset(control))

    @property
    def files(self) -> Mapping[str, bytes]:
        """The files for a model folder: the record, and the tokenizer's original files byte for byte."""
        return {KIND: self.record.write(), **self.raw_files}

    def encode(self, texts: Sequence[str], *, ends: bool) -> list[list[int]]:
        rows = self._engine.ids(texts, side=self.side)
        return enclose(rows, self.frame) if ends else rows

    def decode(self, ids: Sequence[int]) -> str:
        return self._engine.text(ids)

    def piece(self, id: int) -> str:
        return self._engine.piece(id)

    def as_json(self) -> bytes | None:
        """A tokenizer.json equivalent to files of other formats; None if there was one, or there is no such form."""
        return None if self.record.kind == "json" else self._engine.as_json()

    def special_id(self, name: str) -> int | None:
        return next((id for id in self._engine.special if self._engine.piece(id) == name), None)

    def of_side(self, side: Side) -> PretrainedVocabulary:
        """The variant for the texts of a side; itself if the sides do not differ."""
        same = self.record.frame("source") == self.record.frame("target") and not self.record.languages
        return self if same and not self._engine.sided() else self._sibling(self.record, side)

    def with_language(self, code: str) -> PretrainedVocabulary:
        """The variant for texts in another language; ConfigError for one that the model does not know."""
        return self._sibling(self.record.with_language(self.side, code), self.side)

    def with_target(self, other: PretrainedVocabulary) -> PretrainedVocabulary:
        """The same with the target language of `other` in its record."""
        return self._sibling(replace(self.record, target_language=other.record.target_language), self.side)

    def shares(self, other: object) -> bool:
        """Whether both have equal ids for equal pieces, ignoring the special ids around a text."""
        return isinstance(other, PretrainedVocabulary) and other._engine is self._engine

    def _sibling(self, record: TokenizerRecord, side: Side) -> PretrainedVocabulary:
        made = object.__new__(PretrainedVocabulary)
        made._engine, made.raw_files, made.side, made.table = self._engine, self.raw_files, side, self.table
        made._set(record)
        return made
