"""The record of a pretrained tokenizer: its kind, special ids, languages, and the special ids around a text.

Model folders of Antiphon store it as `tokenizer.kind.json`, next to the original files, byte for byte, under the same
stem (`tokenizer.spm`, `tokenizer.vocab.json`, …). Example, for an mBART-50:

    {"kind": "spm", "layout": "fairseq", "size": 250054, "pad": 1, "start": 2, "end": 2, "unk": 3,
     "before": ["language"], "after": [2], "languages": {"ar_AR": 250001, ...}, "source_language": "en_XX", ...}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from antiphon.errors import ConfigError, ModelError
from antiphon.registry import nearest
from antiphon.text.pretrained.files import json_mapping
from antiphon.text.vocabulary import MAX_IDS

KIND = ".kind.json"  # the suffix of a record
LANGUAGE = "language"  # placeholder in a frame for the id of the text's language

Kind = Literal["json", "spm", "pieces", "merges", "bytes"]
Layout = Literal["plain", "t5", "pegasus", "mbart", "mbart50", "nllb", "marian"]
Side = Literal["source", "target"]
Role = Literal["control", "mark", "text"]
Frame = tuple[int | str, ...]


@dataclass(frozen=True)
class AddedToken:
    """A token added to those of the tokenizer file, or a special one among them.

    role: `control` (the end, a language) never results from encoding a text. `mark` (a mask, a sentinel) may be written
    out in a text, and is skipped by decoding. `text` may be written out and is decoded.
    """

    id: int
    text: str
    role: Role = "control"
    strips: bool = False  # consumes the space before it


@dataclass(frozen=True)
class TokenizerRecord:
    """Everything about a pretrained tokenizer that is not in its files.

    kind: the engine (engines.py). layout: the mapping from sentencepiece pieces to ids (layouts.py). size: rows of the
    embedding table. before, after: the ids around a text; LANGUAGE is replaced by the language of the source or target.
    starts_with_language: the decoder's first input is the target's language (mBART of 2020).
    """

    kind: Kind
    size: int
    pad: int
    start: int
    end: int
    unk: int | None = None
    before: Frame = ()
    after: Frame = ()
    layout: Layout = "plain"
    spaced: bool = False  # a space is put before the text (Blenderbot)
    added: tuple[AddedToken, ...] = ()
    languages: Mapping[str, int] = field(default_factory=dict)
    source_language: str | None = None
    target_language: str | None = None
    starts_with_language: bool = False

    def language(self, side: Side) -> str | None:
        """The language of the source or target texts."""
        return self.source_language if side == "source" else self.target_language

    def with_language(self, side: Side, code: str) -> TokenizerRecord:
        """The record with another language for the texts of a side; ConfigError for an unknown one."""
        name = f"{side}_language"
        if not self.languages:
            raise ConfigError(f"`{name}` needs a model that knows languages, but this one's tokenizer has none.")
        if code not in self.languages:
            codes = list(self.languages)
            known = ", ".join(codes[:8]) + (f" and {len(codes) - 8} more" if len(codes) > 8 else "")
            raise ConfigError(
                f"`{name}` must be a language of the model ({known}), but is `{code:.40}`{nearest(code, codes) or '.'}"
            )
        return replace(self, source_language=code) if side == "source" else replace(self, target_language=code)

    def frame(self, side: Side) -> tuple[list[int], list[int]]:
        """The ids before and after each text of a side. A target always has an end, so that it can be learned."""
        code = self.language(side) or self.source_language  # as in transformers
        known = {} if code is None else {LANGUAGE: self.languages[code]}
        before, after = ([known[id] if isinstance(id, str) else id for id in ids] for ids in (self.before, self.after))
        return before, after if side == "source" or self.end in after else [*after, self.end]

    def write(self) -> bytes:
        """The content of `tokenizer.kind.json`; fields with default values are omitted."""
        plain = asdict(self)
        plain["added"] = [[each.id, each.text, each.role, each.strips] for each in self.added]
        defaults = asdict(TokenizerRecord(kind=self.kind, size=0, pad=0, start=0, end=0))
        kept = {key: value for key, value in plain.items() if key in _NEEDED or value != defaults[key]}
        return (json.dumps(kept, ensure_ascii=False, indent=1) + "\n").encode()


_NEEDED = ("kind", "size", "pad", "start", "end")


def read_kind(content: bytes, *, where: str) -> TokenizerRecord:
    """The record in a `tokenizer.kind.json`; ModelError, which names `where`, if it is broken."""
    found = json_mapping(content, where=where)
    unknown = [key for key in found if key not in {each.name for each in fields(TokenizerRecord)}]
    if unknown:
        raise ModelError(f"`{where}` must have known keys, but has `{unknown[0]:.40}`. Use the Antiphon that wrote it.")
    _check(found, where)
    values = {**found}
    for name in ("before", "after"):
        values[name] = tuple(found.get(name, ()))
    values["added"] = tuple(AddedToken(*entry) for entry in found.get("added", ()))
    return check_record(TokenizerRecord(**values), where=where)


def check_record(record: TokenizerRecord, *, where: str) -> TokenizerRecord:
    """Check `record` and return it. ModelError for an id outside its vocabulary, or a language that is missing."""
    frame = [*record.before, *record.after]
    ids = [record.pad, record.start, record.end, *record.languages.values(), *(each.id for each in record.added)]
    ids += [id for id in (*frame, record.unk) if isinstance(id, int)]
    if not 0 < record.size <= MAX_IDS or not all(0 <= id < record.size for id in ids):
        raise ModelError(f"`{where}` must have ids from 0 to its size {record.size}, but has {min(ids)} to {max(ids)}.")
    for code in (record.source_language, record.target_language):
        if code is not None and code not in record.languages:
            raise ModelError(
                f"`{where}` must have the language of its texts among its tokens, but lacks `{code:.40}`. Correct what "
                "it names as `src_lang` or `tgt_lang`."
            )
    if any(isinstance(id, str) for id in frame) and record.source_language is None:
        raise ModelError(f"`{where}` must say the source's language, which its texts begin or end with, but has none.")
    return record


def _check(found: Mapping[str, Any], where: str) -> None:
    """Check the types in a record file."""

    def number(value: object) -> bool:
        return type(value) is int

    def added(value: object) -> bool:
        return (
            isinstance(value, list) and list(map(type, value)) == [int, str, str, bool] and value[2] in get_args(Role)
        )

    def frame(value: object) -> bool:
        return isinstance(value, list) and all(number(id) or id == LANGUAGE for id in value)

    tests = {
        **dict.fromkeys(_NEEDED[1:], number),
        "kind": lambda value: value in get_args(Kind),
        "layout": lambda value: value in get_args(Layout),
        "unk": number,
        "before": frame,
        "after": frame,
        "spaced": lambda value: isinstance(value, bool),
        "starts_with_language": lambda value: isinstance(value, bool),
        "added": lambda value: isinstance(value, list) and all(map(added, value)),
        "languages": lambda value: isinstance(value, dict) and all(map(number, value.values())),
        "source_language": lambda value: isinstance(value, str),
        "target_language": lambda value: isinstance(value, str),
    }
    for key in dict.fromkeys((*_NEEDED, *found)):
        if key not in found or not tests[key](found[key]):
            raise ModelError(
                f"`{where}` must be a tokenizer's record, but its `{key}` is {found.get(key)!r:.60}. Restore the file."
            )
