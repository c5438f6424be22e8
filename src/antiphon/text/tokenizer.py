"""Tokenizers: from text to ids and back.

`Tokenizer.encode` returns a list of ids, with the end id last if the tokenizer `ends`; `decode` is its inverse. For the
five kinds that Antiphon trains (training.py) `decode(encode(text))` is `text` for every string; tokenizers from
elsewhere may normalize. Example:

>>> from antiphon.text import train_tokenizer
>>> tokenizer = train_tokenizer(["in 3 hours"], kind="bytes", vocab_size=260)
>>> tokenizer.encode("Hi"), tokenizer.decode([76, 109, 2])
([76, 109, 2], 'Hi')

A special token written out in a text ("</s>") is plain text: encoding never returns its id.
Byte-level subwords: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", 2.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from antiphon.durable import make_folder, replace_file
from antiphon.errors import ConfigError, ModelError
from antiphon.text.pretrained.record import KIND
from antiphon.text.pretrained.saved import load_saved
from antiphon.text.pretrained.vocabulary import PretrainedVocabulary
from antiphon.text.tokenizer_repr import line, page
from antiphon.text.vocabulary import JsonVocabulary, SpmVocabulary, Vocabulary
from antiphon.utf8 import clean_text

# File names of a tokenizer in a folder, including those of Hugging Face folders.
FILE_NAMES = ("tokenizer.json", "tokenizer.spm", "spiece.model", "sentencepiece.bpe.model")

MAX_FILE_BYTES = 2**26  # twice the largest known file; a larger one is broken or hostile


class Tokenizer:
    """Encodes text to ids and decodes ids to text.

    vocabulary: the content of a tokenizer file (vocabulary.py). ends: append the end id to each encoded text.
    """

    def __init__(self, vocabulary: Vocabulary, *, ends: bool = True) -> None:
        self.vocabulary = vocabulary
        self.ends = ends

    @classmethod
    def load(cls, path: str | Path, *, ends: bool = True) -> Tokenizer:
        """Load a `tokenizer.json`, a sentencepiece `.spm` or `.model` file, or a folder with one of these. The
        `.kind.json` of a saved pretrained tokenizer is read too.

        Raises ModelError if there is none, or if it cannot be read.
        """
        file = _find(Path(path))
        stem = file.name.removesuffix(KIND) if file.name.endswith(KIND) else file.stem
        if (file.parent / f"{stem}{KIND}").is_file():
            return cls(load_saved(file.parent, stem), ends=ends)
        try:
            size = file.stat().st_size
            if size > MAX_FILE_BYTES:
                raise ModelError(
                    f"the tokenizer `{file}` must have at most {MAX_FILE_BYTES} bytes, but has {size}. Restore it."
                )
            content = file.read_bytes()
        except OSError as error:
            raise ModelError(f"the tokenizer `{file}` cannot be read ({error.strerror}).") from error
        if file.suffix == ".json":
            return cls(JsonVocabulary(content, where=str(file)), ends=ends)
        return cls(SpmVocabulary(content, where=str(file)), ends=ends)

    def save(self, folder: str | Path, name: str = "tokenizer") -> Path:
        """Write `name`.json or `name`.spm to `folder` (created if absent), byte for byte as it was loaded.

        For a pretrained tokenizer: `name`.kind.json and the files that it describes. Returns the path of the first one.
        """
        folder = Path(folder)
        make_folder(folder)
        for suffix, content in self.vocabulary.files.items():
            replace_file(folder / f"{name}{suffix}", content)
        return folder / f"{name}{next(iter(self.vocabulary.files))}"

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes of the languages of a multilingual tokenizer; empty for others."""
        known = self.vocabulary
        return tuple(known.record.languages) if isinstance(known, PretrainedVocabulary) else ()

    @property
    def language(self) -> str | None:
        """The language of the encoded texts, from the special tokens; None if there is none."""
        known = self.vocabulary
        return known.record.language(known.side) if isinstance(known, PretrainedVocabulary) else None

    def in_language(self, code: str | None) -> Tokenizer:
        """The tokenizer for texts in another language; itself for None. ConfigError for an unknown one."""
        if code is None or code == self.language:
            return self
        known = self.vocabulary
        if not isinstance(known, PretrainedVocabulary):
            raise ConfigError(
                f"a language (`{code:.40}`) needs a tokenizer that knows languages, but this one has none."
            )
        return Tokenizer(known.with_language(code), ends=self.ends)

    def forced_first(self, language: str | None = None) -> int | None:
        """The id that answers in `language` (default: the tokenizer's own) must begin with; None if there is none.

        For mBART-50, NLLB and M2M-100. The decoder of mBART instead starts from it: `in_language(language).start_id`.
        """
        known = self.in_language(language).vocabulary
        if not isinstance(known, PretrainedVocabulary) or known.record.starts_with_language:
            return None
        code = known.record.language(known.side)
        return None if code is None else known.record.languages[code]

    def as_target(self) -> Tokenizer:
        """The variant for target texts of a tokenizer of both sides; itself if the sides do not differ."""
        known = self.vocabulary
        other = known.of_side("target") if isinstance(known, PretrainedVocabulary) else known
        return self if other is known else Tokenizer(other, ends=self.ends)

    def shares(self, other: Tokenizer) -> bool:
        """Whether ids mean the same in both, so that they can share an embedding table."""
        own = self.vocabulary
        return self is other or (isinstance(own, PretrainedVocabulary) and own.shares(other.vocabulary))

    def paired(self, target: Tokenizer) -> Tokenizer:
        """The tokenizer to save for both sides of a model that share one."""
        own, other = self.vocabulary, target.vocabulary
        if isinstance(own, PretrainedVocabulary) and isinstance(other, PretrainedVocabulary):
            return Tokenizer(own.with_target(other), ends=self.ends)
        return self

    @property
    def vocab_size(self) -> int:
        """One more than the largest id, special ids included."""
        return self.vocabulary.size

    @property
    def pad_id(self) -> int:
        """The padding id; one after the last id if the file has none."""
        return self.vocabulary.specials.pad

    @property
    def start_id(self) -> int:
        """The decoder's first input; the padding id if the file has no start token (T5, Marian)."""
        return self.vocabulary.specials.start

    @property
    def end_id(self) -> int:
        """The id of the end token; one after the last id if the file has none."""
        return self.vocabulary.specials.end

    @property
    def unk_id(self) -> int | None:
        """The id of the unknown token; tokenizers trained here never produce it."""
        return self.vocabulary.specials.unk

    def encode(self, text: str) -> list[int]:
        """The ids of a text, including the end id if the tokenizer `ends`."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """The ids of several texts, in order; faster than one by one."""
        return self.vocabulary.encode([clean_text(text) for text in texts], ends=self.ends)

    @property
    def frame(self) -> tuple[list[int], list[int]]:
        """The ids that `encode` puts before and after each text."""
        return self.vocabulary.frame if self.ends else ([], [])

    def bare(self, ids: Sequence[int]) -> list[int]:
        """`ids` of an encoded text without the special ids that `encode` puts around it."""
        before, after = self.frame
        first = len(before) if list(ids[: len(before)]) == before else 0
        last = len(ids) - (len(after) if list(ids[len(ids) - len(after) :]) == after else 0)
        return list(ids[first:last])

    def enclose(self, ids: Sequence[int]) -> list[int]:
        """`ids` of a text with the special ids that `encode` puts around it; the inverse of `bare`."""
        before, after = self.frame
        return [*before, *ids, *after]

    def truncate(self, ids: list[int], length: int) -> list[int]:
        """The first `length` of `ids` of an encoded text; what `encode` puts behind a text (the end, a language) stays
        behind it."""
        if len(ids) <= length:
            return ids
        after = self.frame[1]
        return [*ids[: max(length - len(after), 0)], *after][:length]

    def alone(self, text: str) -> list[int]:
        """The ids of `text` without special ids (end, language)."""
        return self.vocabulary.encode([clean_text(text)], ends=False)[0]

    def tokens(self, text: str) -> list[str]:
        """The tokens of `text` for display: a space is shown as "▁", a part of a character as "<0xC3>"."""
        return self.pieces(self.alone(text))

    def pieces(self, ids: Sequence[int], *, specials: bool = False) -> list[str]:
        """The tokens of `ids`, as in `tokens`; special ones only with `specials`."""
        return [self.vocabulary.piece(id) for id in (ids if specials else self.visible(ids))]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`: special ids are skipped, invalid UTF-8 becomes U+FFFD."""
        return self.vocabulary.decode(self.visible(ids))

    def normal(self, text: str) -> str:
        """`text` after encoding and decoding, in the tokenizer's case and Unicode form; unchanged if its ids do not
        represent all of it."""
        ids = self.encode(text)
        back = self.decode(ids)
        return back if self.unk_id not in ids and self.encode(back) == ids else text

    def __repr__(self) -> str:
        return line(self)

    def _repr_html_(self) -> str:
        """The kind, the size and some tokens, for notebooks."""
        return page(self)

    def visible(self, ids: Iterable[int]) -> list[int]:
        """`ids` without special ones and ones outside the vocabulary."""
        control, size = self.vocabulary.specials.control, self.vocab_size
        return [id for id in ids if id not in control and 0 <= id < size]


def _find(path: Path) -> Path:
    if path.is_dir():
        found = [path / name for name in (f"tokenizer{KIND}", *FILE_NAMES) if (path / name).is_file()]
        if not found:
            raise ModelError(f"`{path}` must hold a tokenizer ({', '.join(FILE_NAMES)}), but has none of them.")
        return found[0]
    if not path.is_file():
        raise ModelError(
            f"there is no tokenizer at `{path}`. Give a tokenizer.json, an .spm file or a folder with one."
        )
    if path.suffix not in (".json", ".spm", ".model"):
        raise ModelError(f"a tokenizer must be a .json, .spm or .model file, but is `{path}`.")
    return path
