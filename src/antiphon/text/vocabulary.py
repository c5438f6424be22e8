"""Tokenizer files: their vocabulary, special ids, encoding and decoding.

Two formats with one interface: `tokenizer.json` (the tokenizers library) and `.spm` (sentencepiece, saved unchanged).
Sentencepiece: Kudo and Richardson 2018.

Missing special ids: a file without padding or end gets a new id after its last one; a file without a start token starts
from padding, as T5 and Marian do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import sentencepiece
import tokenizers
from tokenizers import models

from antiphon.errors import ModelError, one_line
from antiphon.text.bytes import ByteTable, byte_table
from antiphon.text.decoding import complete_decoder

PAD, START, END, UNK = "<pad>", "<s>", "</s>", "<unk>"

_NAMES = {
    "pad": (PAD, "[PAD]", "<|pad|>", "<PAD>"),
    "start": (START, "[CLS]", "<bos>", "<BOS>", "[BOS]", "<|startoftext|>"),
    "end": (END, "[SEP]", "<eos>", "<EOS>", "[EOS]", "<|endoftext|>"),
    "unk": (UNK, "[UNK]", "<UNK>"),
}

# A file with a larger id is broken or hostile: it would need a table of that size.
MAX_IDS = 2**24
# A text that a file must encode and decode without error when it is loaded.
TRIAL = "in 3 hours: é 日 </s>"


@dataclass(frozen=True)
class Specials:
    """The special ids of a vocabulary; `control` are all ids that never result from encoding a text, and `unk`."""

    pad: int
    start: int
    end: int
    unk: int | None
    control: frozenset[int]


class Vocabulary(Protocol):
    """The interface of a tokenizer's vocabulary.

    `files` are its files by suffix, `frame` the ids before and after each text, `table` the bytes of each id if the
    decoder only concatenates bytes. `decode` takes ids without special ones. `special_id` looks up a special token.
    """

    size: int
    specials: Specials
    table: ByteTable | None

    @property
    def files(self) -> Mapping[str, bytes]: ...
    @property
    def frame(self) -> tuple[list[int], list[int]]: ...

    def encode(self, texts: Sequence[str], *, ends: bool) -> list[list[int]]: ...
    def decode(self, ids: Sequence[int]) -> str: ...
    def piece(self, id: int) -> str: ...
    def special_id(self, name: str) -> int | None: ...


MAX_LETTERS = 2_000_000  # about 250,000 words, 60 MB; then the store begins anew


@contextmanager
def as_model_error(where: str, form: str) -> Iterator[None]:
    """Convert any exception of the libraries about a broken file to a ModelError."""
    try:
        yield
    except (ModelError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the Rust library is not an Exception
        reason = one_line(error)
        raise ModelError(f"`{where}` must be a working {form}, but fails ({reason:.200}). Restore the file.") from error


class WordIds:
    """Encodes texts with `rust` by their words, about five times as fast; `checked` is applied to the ids of `rust`.

    The pre-tokenizer of the kinds bpe and unigram (GPT-2's expression, after single digits) begins a new part at every
    space that has no white space beside it. So a text whose words are separated by single spaces, without other white
    space and without an added token inside, has the ids of its words, each with a space before it, one after the other.
    Every other text is encoded as a whole. The ids of known words are stored, of MAX_LETTERS letters together at most.
    """

    def __init__(
        self, rust: tokenizers.Tokenizer, checked: Callable[[list[list[int]]], list[list[int]]] = lambda rows: rows
    ) -> None:
        self._rust, self._checked = rust, checked
        added = [token.content for token in rust.get_added_tokens_decoder().values() if token.content]
        pattern = "|".join(re.escape(content) for content in sorted(added, key=len, reverse=True))
        self._added = re.compile(pattern).search if pattern else lambda text: None
        starts = {content[0] for content in added}
        self._start = starts.pop() if len(starts) == 1 else ""  # every added token begins with it
        self._known: dict[str, list[int]] = {}
        self._letters = 0  # of all known words

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without special ones around it."""
        split = [self._words(text) for text in texts]
        known = self._known = self._with(split)
        ids_of, joined = known.__getitem__, chain.from_iterable
        whole = iter(self._encoded([text for text, words in zip(texts, split, strict=True) if words is None]))
        return [next(whole) if words is None else list(joined(map(ids_of, words))) for words in split]

    def _with(self, split: Sequence[list[str] | None]) -> dict[str, list[int]]:
        """The ids of words, with those of all words of some texts."""
        known = self._known
        words = set[str]().union(*(words for words in split if words is not None))
        missing = words.difference(known)
        if missing:
            self._letters += sum(map(len, missing))
            if self._letters > MAX_LETTERS:
                missing, known = words, {}  # another thread may still use the old one
                self._letters = sum(map(len, missing))
            order = list(missing)
            known.update(zip(order, self._encoded(order), strict=True))
        return known

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        found = self._rust.encode_batch_fast(list(texts), add_special_tokens=False)
        return self._checked([encoding.ids for encoding in found])

    def _words(self, text: str) -> list[str] | None:
        """The words of a text; None if its ids are not those of its words."""
        words = text.split()
        if " ".join(words) != text or not words or ((self._start in text) and self._added(text) is not None):
            return None
        return words


def is_by_words(content: bytes) -> bool:
    """Whether a tokenizer.json splits texts before spaces as the kinds bpe and unigram do that are trained here."""
    try:
        found: dict[str, Any] = json.loads(content)
    except ValueError:
        return False
    digits = {"type": "Digits", "individual_digits": True}
    parts = found.get("pre_tokenizer") or {}
    pieces = parts.get("pretokenizers") or []
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    return (
        found.get("normalizer") == {"type": "Prepend", "prepend": " "}
        and parts.get("type") == "Sequence"
        and len(pieces) == 2
        and pieces[0] == digits
        and {key: pieces[1].get(key) for key in byte_level} == byte_level
        and found.get("post_processor") is None
        and (found.get("model") or {}).get("type") in ("BPE", "Unigram")
    )


class JsonVocabulary:
    """The vocabulary of a `tokenizer.json`. `where` names it in errors."""

    suffix = ".json"

    def __init__(self, content: bytes, *, where: str) -> None:
        self.content = content
        self._where = where
        with as_model_error(where, "tokenizer.json"):
            self._rust = rust = tokenizers.Tokenizer.from_buffer(content)
            reset_training_settings(rust)
            complete_decoder(rust)
            rust.encode_special_tokens = True
            added = {id for id, token in rust.get_added_tokens_decoder().items() if token.special}
            found = {key: _first(rust.token_to_id(name) for name in names) for key, names in _NAMES.items()}
            size = 1 + max(rust.get_vocab().values(), default=-1)
            if not 0 < size <= MAX_IDS:
                raise ModelError(f"`{where}` must have 1 to {MAX_IDS} ids, but has {size}. Restore the file.")
            self.specials, self.size = _complete(found, size=size, control=added)
            self.table = byte_table(rust)
            before, after = template(rust)
            self._words = WordIds(rust, self._without_control) if is_by_words(content) else None
            self.frame = (before, after if after[-1:] == [self.specials.end] else [*after, self.specials.end])
            self.decode(self.encode([TRIAL], ends=True)[0])

    def encode(self, texts: Sequence[str], *, ends: bool) -> list[list[int]]:
        with as_model_error(self._where, "tokenizer.json"):
            if self._words is not None:
                rows = self._words.encode(texts)
            else:
                found = self._rust.encode_batch_fast(list(texts), add_special_tokens=False)
                rows = self._without_control([encoding.ids for encoding in found])
        return enclose(rows, self.frame) if ends else rows

    def _without_control(self, rows: list[list[int]]) -> list[list[int]]:
        control = self.specials.control - {self.specials.unk}
        return [ids if control.isdisjoint(ids) else spell_out(self._rust, ids, control) for ids in rows]

    @property
    def files(self) -> Mapping[str, bytes]:
        return {self.suffix: self.content}

    def decode(self, ids: Sequence[int]) -> str:
        if self.table:
            return self.table.decode(ids)
        with as_model_error(self._where, "tokenizer.json"):
            return self._rust.decode(list(ids), skip_special_tokens=False)

    def piece(self, id: int) -> str:
        if self.table and id not in self.specials.control:
            return self.table.show(id)
        return self._rust.id_to_token(id) or _added_name(self.specials, id)

    def special_id(self, name: str) -> int | None:
        id = self._rust.token_to_id(name)
        return id if id in self.specials.control else None


class SpmVocabulary:
    """The vocabulary of a sentencepiece model, with the ids of the file."""

    suffix = ".spm"
    table: ByteTable | None = None

    def __init__(self, content: bytes, *, where: str) -> None:
        self.content = content
        self._where = where
        self._processor = processor = sentencepiece.SentencePieceProcessor()
        with as_model_error(where, "sentencepiece model"):
            processor.LoadFromSerializedProto(content)
            size = processor.vocab_size()
            if not 0 < size <= MAX_IDS:
                raise ModelError(f"`{where}` must have 1 to {MAX_IDS} pieces, but has {size}. Restore the file.")
            processor.id_to_piece(list(range(size)))  # raises if a piece is no UTF-8
            processor.decode(processor.encode(TRIAL))
        found = {
            "pad": processor.pad_id(),
            "start": processor.bos_id(),
            "end": processor.eos_id(),
            "unk": processor.unk_id(),
        }
        control = {id for id in range(size) if processor.is_control(id)}
        self.specials, self.size = _complete(
            {k: id if id >= 0 else None for k, id in found.items()}, size=size, control=control
        )
        self.frame: tuple[list[int], list[int]] = ([], [self.specials.end])

    @property
    def files(self) -> Mapping[str, bytes]:
        return {self.suffix: self.content}

    def encode(self, texts: Sequence[str], *, ends: bool) -> list[list[int]]:
        with as_model_error(self._where, "sentencepiece model"):
            rows: list[list[int]] = self._processor.encode(list(texts))
        return enclose(rows, self.frame) if ends else rows

    def decode(self, ids: Sequence[int]) -> str:
        with as_model_error(self._where, "sentencepiece model"):
            return self._processor.decode(list(ids)) if ids else ""

    def piece(self, id: int) -> str:
        known = id < self._processor.vocab_size()
        return self._processor.id_to_piece(id) if known else _added_name(self.specials, id)

    def special_id(self, name: str) -> int | None:
        id: int = self._processor.piece_to_id(name)  # returns the unknown id for unknown names
        return id if id in self.specials.control and self._processor.id_to_piece(id) == name else None


def reset_training_settings(rust: tokenizers.Tokenizer) -> None:
    """Turn off settings of training and batching that a file may contain: padding, truncation, and BPE-dropout
    (Provilkov et al. 2020, section 3: inference is without it)."""
    rust.no_truncation()
    rust.no_padding()
    if isinstance(rust.model, models.BPE):
        rust.model.dropout = None


def enclose(rows: Sequence[list[int]], frame: tuple[list[int], list[int]]) -> list[list[int]]:
    """Each row between the ids of `frame` (before, after)."""
    return [[*frame[0], *ids, *frame[1]] for ids in rows]


def spell_out(rust: tokenizers.Tokenizer, ids: Sequence[int], control: frozenset[int]) -> list[int]:
    """Replace control tokens by the tokens of their letters: some models have "</s>" as a word and match it in
    texts."""
    model = rust.model
    spelled = {
        id: [part.id for letter in rust.id_to_token(id) or "" for part in model.tokenize(letter)]
        for id in control.intersection(ids)
    }
    return [part for id in ids for part in spelled.get(id, [id])]


def _added_name(specials: Specials, id: int) -> str:
    """The name of a special id that is not in the file."""
    return {specials.end: END, specials.pad: PAD}.get(id, "")


def _first(ids: Iterable[int | None]) -> int | None:
    return next((id for id in ids if id is not None), None)


def _complete(found: dict[str, int | None], *, size: int, control: set[int]) -> tuple[Specials, int]:
    """Assign ids to missing special tokens. Returns the specials and the resulting size."""
    pad, start, end, unk = found["pad"], found["start"], found["end"], found["unk"]
    if pad is None:
        pad, size = size, size + 1
    if end is None:
        end, size = size, size + 1
    start = pad if start is None else start
    return Specials(pad, start, end, unk, frozenset({*control, pad, start, end, *([] if unk is None else [unk])})), size


def template(rust: tokenizers.Tokenizer) -> tuple[list[int], list[int]]:
    """The ids that the post-processor of the file puts before and after a text."""
    bare, whole = (rust.encode("a", add_special_tokens=flag).ids for flag in (False, True))
    starts = [i for i in range(len(whole) - len(bare) + 1) if whole[i : i + len(bare)] == bare]
    return (whole[: starts[0]], whole[starts[0] + len(bare) :]) if bare and starts else ([], [])
