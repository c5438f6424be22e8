"""A pretrained tokenizer as the rest of Antiphon sees one: engine, record, and the side whose texts it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from antiphon.errors import ModelError
from antiphon.text.pretrained.engines import open_engine
from antiphon.text.pretrained.record import KIND, Side, TokenizerRecord
from antiphon.text.vocabulary import TRIAL, Specials, enclose


class PretrainedVocabulary:
    """`files`: suffix to content. One for the source's texts; `speaking` and `of_side` give its siblings."""

    def __init__(self, record: TokenizerRecord, files: Mapping[str, bytes], *, where: str) -> None:
        self._engine = open_engine(record, files, where=where)
        if self._engine.size > record.size:
            raise ModelError(
                f"the tokenizer of `{where}` must have at most {record.size} ids, the rows of the model's table, "
                f"but has {self._engine.size}. Use the tokenizer that belongs to the model."
            )
        self.side: Side = "source"
        self.kept: Mapping[str, bytes] = dict(files)
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
        """What a model folder keeps: the record, and the tokenizer's own files byte for byte."""
        return {KIND: self.record.write(), **self.kept}

    def encode(self, texts: Sequence[str], *, ends: bool) -> list[list[int]]:
        rows = self._engine.ids(texts, side=self.side)
        return enclose(rows, self.frame) if ends else rows

    def decode(self, ids: Sequence[int]) -> str:
        return self._engine.text(ids)

    def piece(self, id: int) -> str:
        return self._engine.piece(id)

    def as_json(self) -> bytes | None:
        """A tokenizer.json that says what other files said; None where there was one, or where none can say it."""
        return None if self.record.kind == "json" else self._engine.as_json()

    def special_id(self, name: str) -> int | None:
        return next((id for id in self._engine.special if self._engine.piece(id) == name), None)

    def of_side(self, side: Side) -> PretrainedVocabulary:
        """The same for the texts of a side; itself where the sides do not differ."""
        same = self.record.frame("source") == self.record.frame("target") and not self.record.languages
        return self if same and not self._engine.sided() else self._sibling(self.record, side)

    def speaking(self, code: str) -> PretrainedVocabulary:
        """The same for texts in another language; ConfigError for one that the model lacks."""
        return self._sibling(self.record.speaking(self.side, code), self.side)

    def with_target(self, other: PretrainedVocabulary) -> PretrainedVocabulary:
        """The same, its record saying the target's language as `other` has it."""
        return self._sibling(replace(self.record, target_language=other.record.target_language), self.side)

    def shares(self, other: object) -> bool:
        """Whether both give equal ids to equal pieces, whatever stands around a text."""
        return isinstance(other, PretrainedVocabulary) and other._engine is self._engine

    def _sibling(self, record: TokenizerRecord, side: Side) -> PretrainedVocabulary:
        made = object.__new__(PretrainedVocabulary)
        made._engine, made.kept, made.side, made.table = self._engine, self.kept, side, self.table
        made._set(record)
        return made
