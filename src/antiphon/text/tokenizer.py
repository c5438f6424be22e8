"""Text to ids and back.

`Tokenizer.encode` gives a list of ids of any length, the end id last where the tokenizer `ends`;
`decode` is its inverse. For the four kinds that Antiphon trains (training.py) `decode(encode(text))`
is `text` for every string; a file from elsewhere keeps its own law. Example:

>>> from antiphon.text import train_tokenizer
>>> tokenizer = train_tokenizer(["in 3 hours"], kind="bytes", vocab_size=260)
>>> tokenizer.encode("Hi"), tokenizer.decode([76, 109, 2])
([76, 109, 2], 'Hi')

A special token written out in a text ("</s>") is plain text: its id never comes from a text.
Byte-level subwords: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", 2.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from antiphon.errors import ConfigError, ModelError
from antiphon.text.pretrained.record import KIND
from antiphon.text.pretrained.saved import load_saved
from antiphon.text.pretrained.vocabulary import PretrainedVocabulary
from antiphon.text.tokenizer_repr import line, page
from antiphon.text.vocabulary import JsonVocabulary, SpmVocabulary, Vocabulary

# What a folder's tokenizer may be called, the usual names of Hugging Face folders included.
FILE_NAMES = ("tokenizer.json", "tokenizer.spm", "spiece.model", "sentencepiece.bpe.model")

MOST_BYTES = 2**26  # twice the largest that is known; a larger file is broken or hostile
_SURROGATE = re.compile("[\ud800-\udfff]")


def clean_text(text: str) -> str:
    """`text` with each lone surrogate replaced by U+FFFD, so that it has a UTF-8 form."""
    return _SURROGATE.sub("\ufffd", text)


class Tokenizer:
    """A vocabulary with the rules that lead from text to its ids and back.

    vocabulary: what the file says (vocabulary.py). ends: put the end id behind each encoded text.
    """

    def __init__(self, vocabulary: Vocabulary, *, ends: bool = True) -> None:
        self.vocabulary = vocabulary
        self.ends = ends

    @classmethod
    def load(cls, path: str | Path, *, ends: bool = True) -> Tokenizer:
        """Reads a `tokenizer.json`, an `.spm` or `.model` file of sentencepiece, or a folder that holds one; with the
        `.kind.json` beside it, where a pretrained tokenizer was saved.

        Raises ModelError if there is none, or if it cannot be read.
        """
        file = _find(Path(path))
        stem = file.name.removesuffix(KIND) if file.name.endswith(KIND) else file.stem
        if (file.parent / f"{stem}{KIND}").is_file():
            return cls(load_saved(file.parent, stem), ends=ends)
        try:
            size = file.stat().st_size
            if size > MOST_BYTES:
                raise ModelError(
                    f"the tokenizer `{file}` must have at most {MOST_BYTES} bytes, but has {size}. Restore the file."
                )
            content = file.read_bytes()
        except OSError as error:
            raise ModelError(f"the tokenizer `{file}` cannot be read ({error.strerror}).") from error
        if file.suffix == ".json":
            return cls(JsonVocabulary(content, where=str(file)), ends=ends)
        return cls(SpmVocabulary(content, where=str(file)), ends=ends)

    def save(self, folder: str | Path, name: str = "tokenizer") -> Path:
        """Writes `name`.json or `name`.spm into `folder` (made if absent), byte for byte as it was loaded.

        Of a pretrained one it writes `name`.kind.json, which it returns, and the files that this is about.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, content in self.vocabulary.files.items():
            (folder / f"{name}{suffix}").write_bytes(content)
        return folder / f"{name}{next(iter(self.vocabulary.files))}"

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes of the languages that the tokenizer knows; none for most."""
        known = self.vocabulary
        return tuple(known.record.languages) if isinstance(known, PretrainedVocabulary) else ()

    @property
    def language(self) -> str | None:
        """The language of the texts, as their special tokens say it."""
        known = self.vocabulary
        return known.record.language(known.side) if isinstance(known, PretrainedVocabulary) else None

    def in_language(self, code: str | None) -> Tokenizer:
        """The tokenizer for texts in another language; itself for None. ConfigError for one that it lacks."""
        if code is None or code == self.language:
            return self
        known = self.vocabulary
        if not isinstance(known, PretrainedVocabulary):
            raise ConfigError(
                f"a language (`{code:.40}`) needs a tokenizer that knows languages, but this one has none."
            )
        return Tokenizer(known.speaking(code), ends=self.ends)

    def forced_first(self, language: str | None = None) -> int | None:
        """The id with which answers in `language`, or else the tokenizer's own, must begin; None where none is.

        Of mBART-50, NLLB and M2M-100. mBART's decoder instead starts from it: `in_language(language).start_id`.
        """
        known = self.in_language(language).vocabulary
        if not isinstance(known, PretrainedVocabulary) or known.record.starts_with_language:
            return None
        code = known.record.language(known.side)
        return None if code is None else known.record.languages[code]

    def as_target(self) -> Tokenizer:
        """The tokenizer for the target's texts where it reads both sides; itself where they do not differ."""
        known = self.vocabulary
        other = known.of_side("target") if isinstance(known, PretrainedVocabulary) else known
        return self if other is known else Tokenizer(other, ends=self.ends)

    def shares(self, other: Tokenizer) -> bool:
        """Whether an id stands for the same in both, so that they can have one embedding."""
        own = self.vocabulary
        return self is other or (isinstance(own, PretrainedVocabulary) and own.shares(other.vocabulary))

    def paired(self, target: Tokenizer) -> Tokenizer:
        """The tokenizer that is saved for both sides of a model that shares it."""
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
        """The id that fills rows; behind the last one where the file has none."""
        return self.vocabulary.specials.pad

    @property
    def start_id(self) -> int:
        """The decoder's first input; the padding id where the file has no start (T5, Marian)."""
        return self.vocabulary.specials.start

    @property
    def end_id(self) -> int:
        """The id that ends a text; behind the last one where the file has none."""
        return self.vocabulary.specials.end

    @property
    def unk_id(self) -> int | None:
        """The id of what the vocabulary cannot spell; the kinds trained here never give it."""
        return self.vocabulary.specials.unk

    def encode(self, text: str) -> list[int]:
        """The ids of one text, the end id included where the tokenizer `ends`."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """The ids of many texts, in their order; faster than one by one."""
        return self.vocabulary.encode([clean_text(text) for text in texts], ends=self.ends)

    @property
    def frame(self) -> tuple[list[int], list[int]]:
        """The ids that `encode` puts before and after each text."""
        return self.vocabulary.frame if self.ends else ([], [])

    def bare(self, ids: Sequence[int]) -> list[int]:
        """`ids` of an encoded text without what stands before and behind its own."""
        before, after = self.frame
        first = len(before) if list(ids[: len(before)]) == before else 0
        last = len(ids) - (len(after) if list(ids[len(ids) - len(after) :]) == after else 0)
        return list(ids[first:last])

    def enclose(self, ids: Sequence[int]) -> list[int]:
        """`ids` of a text with what `encode` puts before and behind them; the inverse of `bare`."""
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
        """The ids of `text` alone: no end, no language, nothing else around it."""
        return self.vocabulary.encode([clean_text(text)], ends=False)[0]

    def tokens(self, text: str) -> list[str]:
        """The tokens of `text`, to be read by people: a space is shown as "▁", a part of a character as "<0xC3>"."""
        return self.pieces(self.alone(text))

    def pieces(self, ids: Sequence[int], *, specials: bool = False) -> list[str]:
        """The tokens that `ids` stand for, as in `tokens`; special ones only if asked for."""
        return [self.vocabulary.piece(id) for id in (ids if specials else self.visible(ids))]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`: special ids are skipped, bytes that make no character become U+FFFD."""
        return self.vocabulary.decode(self.visible(ids))

    def normal(self, text: str) -> str:
        """`text` as it comes back from its ids, in the tokenizer's case and form of Unicode; unchanged where its ids
        do not hold all of it."""
        ids = self.encode(text)
        back = self.decode(ids)
        return back if self.unk_id not in ids and self.encode(back) == ids else text

    def __repr__(self) -> str:
        return line(self)

    def _repr_html_(self) -> str:
        """The kind, the size and some tokens, as a notebook shows them."""
        return page(self)

    def visible(self, ids: Iterable[int]) -> list[int]:
        """`ids` without the special ones and those beyond the vocabulary."""
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
