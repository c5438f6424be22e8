"""Training of the five kinds of tokenizer. Each of them is lossless: decoding returns the exact text.

| kind       | ids                                                    | reference                              |
|------------|--------------------------------------------------------|----------------------------------------|
| bpe        | frequent strings of bytes, merged pair by pair         | Sennrich et al. 2016; Radford et al. 2019 |
| unigram    | strings of bytes, the likeliest split of each word     | Kudo 2018                              |
| bytes      | the 256 bytes, byte b is id b + 4                      | Xue et al. 2022 (ByT5)                 |
| characters | the most frequent characters, others as their bytes    |                                        |
| words      | the most frequent words between spaces (phones, tags), others as characters and bytes |         |

In bpe and unigram each digit is a separate token, so that numbers unseen in training consist of known tokens. In bpe,
unigram and words a text gets a leading space, so that its first word has the same tokens as inside a sentence.

Three settings are not lossless: with `normalize` and `lowercase` the changed text is returned, and a symbol (a string
that is always one token, such as a language tag) consumes the spaces after it in the kinds with a leading space.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Rust

from antiphon.errors import ConfigError, DataError
from antiphon.registry import nearest
from antiphon.text.bytes import BYTE_OF_LETTER, LETTER_OF_BYTE
from antiphon.text.tokenizer import Tokenizer
from antiphon.text.vocabulary import END, PAD, START, UNK, JsonVocabulary
from antiphon.utf8 import clean_text

SPECIALS = [PAD, START, END, UNK]  # ids 0 to 3
MIN_VOCAB_SIZE = len(SPECIALS) + 256  # every byte has an id, so that every text can be encoded

# Limits of unigram training. Longer words are counted in parts.
_MAX_PIECE_BYTES, _MAX_WORD_BYTES, _MAX_CANDIDATES = 24, 200, 500_000


def train_tokenizer(
    texts: Iterable[str],
    *,
    kind: str = "bpe",
    vocab_size: int = 8000,
    normalize: str | None = None,
    lowercase: bool = False,
    symbols: Iterable[str] = (),
    special_tokens: Sequence[str] = (),
) -> Tokenizer:
    """Train a tokenizer of `kind` (see the table above) with at most `vocab_size` ids, and one more for each of
    `symbols` and `special_tokens`.

    `texts` is read once. `normalize` is the Unicode normal form (nfc, nfd, nfkc, nfkd) of all texts, `lowercase`
    converts them to lower case. The ids of `special_tokens` never result from encoding, and `decode` skips them. Raises
    ConfigError for an unknown kind or a `vocab_size` below 260, DataError if `texts` has no character.
    """
    if kind not in _KINDS:
        raise ConfigError(
            f"the tokenizer `kind` must be one of {', '.join(_KINDS)}, but is `{kind}`{nearest(kind, _KINDS) or '.'}"
        )
    if vocab_size < MIN_VOCAB_SIZE:
        raise ConfigError(
            f"`vocab_size` must be at least {MIN_VOCAB_SIZE} (256 bytes and {len(SPECIALS)} special tokens), "
            f"but is {vocab_size}. Raise it."
        )
    form = _form(normalize, lowercase=lowercase)
    cleaned = (clean_text(text) for text in texts)
    cut = _without(sorted(set(symbols)))
    rust = _KINDS[kind](
        (part for text in cleaned for part in cut(form.normalize_str(text) if form else text)), vocab_size
    )
    if form:
        rust.normalizer = normalizers.Sequence([form, rust.normalizer] if rust.normalizer else [form])
    leads = kind in ("bpe", "unigram", "words")
    rust.add_tokens([AddedToken(symbol, rstrip=leads, normalized=False) for symbol in sorted(set(symbols))])
    rust.add_special_tokens(list(special_tokens))
    return Tokenizer(JsonVocabulary(rust.to_str().encode(), where=f"the trained {kind} tokenizer"))


def _without(symbols: list[str]) -> Callable[[str], list[str]]:
    """A function that splits a text at the symbols, which are not part of the learned vocabulary."""
    if not symbols:
        return lambda text: [text]
    pattern = re.compile("|".join(re.escape(symbol) for symbol in sorted(symbols, key=len, reverse=True)))
    return lambda text: [part for part in pattern.split(text) if part]


def _form(normalize: str | None, *, lowercase: bool) -> Any:
    """The normalizer applied before that of the kind; None for none."""
    steps = [getattr(normalizers, normalize.upper())()] if normalize else []
    steps += [normalizers.Lowercase()] if lowercase else []
    return normalizers.Sequence(steps) if steps else None


def _bpe(texts: Iterable[str], vocab_size: int) -> Rust:
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,  # a pair that occurs once is not expected in other texts
        special_tokens=SPECIALS,
        initial_alphabet=list(LETTER_OF_BYTE.values()),
        show_progress=False,
    )
    rust, seen = _subwords(models.BPE()), _NonEmptyCheck(texts)
    rust.train_from_iterator(seen, trainer)
    seen.check()
    return rust


def _unigram(texts: Iterable[str], vocab_size: int) -> Rust:
    """Trained with sentencepiece: the trainer of the tokenizers library is not deterministic."""
    rust, seen = _subwords(models.BPE()), _NonEmptyCheck(texts)
    counts: Counter[str] = Counter()
    for text in seen:
        for word, _ in rust.pre_tokenizer.pre_tokenize_str(f" {text}" if text else ""):
            counts.update(word[i : i + _MAX_WORD_BYTES] for i in range(0, len(word), _MAX_WORD_BYTES))
    seen.check()
    letters = {letter for word in counts for letter in word}
    unseen = sorted(set(BYTE_OF_LETTER) - letters)
    pieces = _sentencepiece(counts, vocab_size=vocab_size - len(unseen))
    least = min(score for _, score in pieces)
    known = {piece for piece, _ in pieces}
    pieces += [(letter, least - 10) for letter in sorted(set(BYTE_OF_LETTER) - known)]
    rust = _subwords(models.Unigram(pieces, unk_id=SPECIALS.index(UNK), byte_fallback=False))
    rust.add_special_tokens(SPECIALS)
    return rust


def _sentencepiece(counts: Counter[str], *, vocab_size: int) -> list[tuple[str, float]]:
    """The pieces of a unigram model with their log-probabilities, trained on counted words."""
    model = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        words = _table(Path(folder) / "words.tsv", sorted(counts.items()))
        seeds = _table(Path(folder) / "seeds.tsv", _candidates(counts))
        sentencepiece.SentencePieceTrainer.Train(
            input=words,
            input_format="tsv",
            seed_sentencepieces_file=seeds,
            model_writer=model,
            model_type="unigram",
            vocab_size=vocab_size,
            hard_vocab_limit=False,  # a small corpus has fewer pieces
            max_sentencepiece_length=_MAX_PIECE_BYTES,
            max_sentence_length=_MAX_WORD_BYTES * 2,
            character_coverage=1.0,
            # The words are final: disable sentencepiece's own splitting and normalization.
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            split_by_unicode_script=False,
            split_by_number=False,
            split_by_whitespace=False,
            pad_id=0,
            bos_id=1,
            eos_id=2,
            unk_id=3,
            num_threads=1,
            minloglevel=2,
        )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return [(processor.id_to_piece(id), processor.get_score(id)) for id in range(processor.vocab_size())]


def _candidates(counts: Counter[str]) -> list[tuple[str, int]]:
    """Candidate strings of whole characters with their counts, those that cover the most text first.

    Sentencepiece's own candidates omit a string that is always followed by the same letter, or always ends a word.
    """
    found: Counter[str] = Counter()
    for word, count in counts.items():
        starts = [i for i, letter in enumerate(word) if not 0x80 <= BYTE_OF_LETTER[letter] < 0xC0]
        ends = [*starts[1:], len(word)]
        for i, start in enumerate(starts):
            for end in ends[i:]:
                if end - start > _MAX_PIECE_BYTES:
                    break
                found[word[start:end]] += count
    for letter in {letter for word in counts for letter in word}:
        found.pop(letter, None)  # the trainer adds single letters itself
    return sorted(
        ((piece, count) for piece, count in found.items() if count > 1),
        key=lambda item: (-item[1] * len(item[0]), item[0]),
    )[:_MAX_CANDIDATES]


def _table(file: Path, rows: Iterable[tuple[str, int]]) -> str:
    file.write_text("".join(f"{word}\t{count}\n" for word, count in rows), encoding="utf-8")
    return str(file)


def _subwords(model: models.Model) -> Rust:
    rust = Rust(model)
    rust.normalizer = normalizers.Prepend(" ")
    # Digits first: ByteLevel uses some digits ("²") as letters for bytes.
    digits = pre_tokenizers.Digits(individual_digits=True)
    rust.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    rust.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(content=" ", left=1, right=0)])
    return rust


def _bytes(texts: Iterable[str], vocab_size: int) -> Rust:
    vocabulary = {letter: byte + len(SPECIALS) for byte, letter in LETTER_OF_BYTE.items()}
    rust = _fixed(vocabulary, byte_fallback=False)
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    rust.decoder = decoders.ByteLevel()
    return rust


def _characters(texts: Iterable[str], vocab_size: int) -> Rust:
    counts: Counter[str] = Counter()
    seen = _NonEmptyCheck(texts)
    for text in seen:
        counts.update(text)
    seen.check()
    common = _most_frequent(counts, vocab_size - MIN_VOCAB_SIZE)
    words = [*(f"<0x{byte:02X}>" for byte in range(256)), *common]
    rust = _fixed({word: id for id, word in enumerate(words, start=len(SPECIALS))}, byte_fallback=True)
    rust.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return rust


def _words(texts: Iterable[str], vocab_size: int) -> Rust:
    """One id for each frequent " word", including its space; at most a quarter of the ids are letters for the
    others."""
    words: Counter[str] = Counter()
    seen = _NonEmptyCheck(texts)
    for text in seen:
        words.update(f" {word}" for word in text.split(" "))
    seen.check()
    letters: Counter[str] = Counter()
    for word, count in words.items():
        for letter in word:
            letters[letter] += count
    room = vocab_size - MIN_VOCAB_SIZE
    spelling = _most_frequent(letters, room // 4)
    frequent = [word for word in _most_frequent(words, room) if len(word) > 1][: room - len(spelling)]
    entries = [*(f"<0x{byte:02X}>" for byte in range(256)), *spelling, *frequent]
    rust = _fixed({word: id for id, word in enumerate(entries, start=len(SPECIALS))}, byte_fallback=True, whole=True)
    rust.normalizer = normalizers.Prepend(" ")
    rust.pre_tokenizer = pre_tokenizers.Split(Regex(" [^ ]*"), "isolated")
    strip = decoders.Strip(content=" ", left=1, right=0)
    rust.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), strip])
    return rust


def _most_frequent(counts: Counter[str], number: int) -> list[str]:
    """The most frequent strings; ties are broken independently of the order of the texts."""
    return sorted(counts, key=lambda item: (-counts[item], item))[:number]


def _fixed(vocabulary: dict[str, int], *, byte_fallback: bool, whole: bool = False) -> Rust:
    """BPE without merges: one id a letter, or with `whole` a word if it is in the vocabulary."""
    specials = {name: id for id, name in enumerate(SPECIALS)}
    rust = Rust(
        models.BPE(
            vocab=specials | vocabulary,
            merges=[],
            unk_token=None,
            byte_fallback=byte_fallback,
            ignore_merges=whole,
        )
    )
    rust.add_special_tokens(SPECIALS)
    return rust


class _NonEmptyCheck:
    """An iterator that records whether any text had a character."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = iter(texts)
        self._any = False

    def __iter__(self) -> _NonEmptyCheck:
        return self

    def __next__(self) -> str:
        text = next(self._texts)
        self._any = self._any or bool(text)
        return text

    def check(self) -> None:
        if not self._any:
            raise DataError("a tokenizer must be trained on at least one text that is not empty, but there is none.")


_KINDS: dict[str, Callable[[Iterable[str], int], Rust]] = {
    "bpe": _bpe,
    "unigram": _unigram,
    "bytes": _bytes,
    "characters": _characters,
    "words": _words,
}
