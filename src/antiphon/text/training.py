"""Training the four kinds of tokenizer; each gives every text back exactly.

| kind       | ids                                                    | reference                              |
|------------|--------------------------------------------------------|----------------------------------------|
| bpe        | frequent strings of bytes, merged pair by pair         | Sennrich et al. 2016; Radford et al. 2019 |
| unigram    | strings of bytes, the likeliest split of each word     | Kudo 2018                              |
| bytes      | the 256 bytes, byte b is id b + 4                      | Xue et al. 2022 (ByT5)                 |
| characters | the most frequent characters, others as their bytes    |                                        |

In bpe and unigram a text gets one leading space, so that its first word is spelled as inside a sentence, and each digit
is a token of its own, so that a number unseen in training is made of known parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from tokenizers import Tokenizer as Rust
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from antiphon.errors import ConfigError, DataError
from antiphon.registry import nearest
from antiphon.text.bytes import LETTER_OF_BYTE
from antiphon.text.tokenizer import Tokenizer, clean_text
from antiphon.text.vocabulary import END, PAD, START, UNK, JsonVocabulary

SPECIALS = [PAD, START, END, UNK]  # ids 0 to 3
SMALLEST = len(SPECIALS) + 256  # every byte has an id, so that every text has ids


def train_tokenizer(texts: Iterable[str], *, kind: str = "bpe", vocab_size: int = 8000) -> Tokenizer:
    """A tokenizer of `kind` (bpe, unigram, bytes, characters) with at most `vocab_size` ids; `texts` is read once.

    Raises ConfigError for an unknown kind or a `vocab_size` below 260, DataError if `texts` holds no character.
    """
    if kind not in _KINDS:
        raise ConfigError(
            f"the tokenizer `kind` must be one of {', '.join(_KINDS)}, but is `{kind}`{nearest(kind, _KINDS)}."
        )
    if vocab_size < SMALLEST:
        raise ConfigError(
            f"`vocab_size` must be at least {SMALLEST} (256 bytes and {len(SPECIALS)} special tokens), but is {vocab_size}. Raise it."
        )
    rust = _KINDS[kind]((clean_text(text) for text in texts), vocab_size)
    return Tokenizer(JsonVocabulary(rust.to_str().encode(), where=f"the trained {kind} tokenizer"))


def _bpe(texts: Iterable[str], vocab_size: int) -> Rust:
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,  # a pair seen once says nothing about other texts
        special_tokens=SPECIALS,
        initial_alphabet=list(LETTER_OF_BYTE.values()),
        show_progress=False,
    )
    return _train(Rust(models.BPE()), trainer, texts)


def _unigram(texts: Iterable[str], vocab_size: int) -> Rust:
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIALS,
        unk_token=UNK,
        initial_alphabet=list(LETTER_OF_BYTE.values()),
        show_progress=False,
    )
    return _train(Rust(models.Unigram()), trainer, texts)


def _train(rust: Rust, trainer: trainers.Trainer, texts: Iterable[str]) -> Rust:
    rust.normalizer = normalizers.Prepend(" ")
    # Digits first: after ByteLevel some of its letters look like digits ("²" is a byte there).
    digits = pre_tokenizers.Digits(individual_digits=True)
    rust.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    rust.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(content=" ", left=1, right=0)])
    seen = _Seen(texts)
    rust.train_from_iterator(seen, trainer)
    seen.check()
    return rust


def _bytes(texts: Iterable[str], vocab_size: int) -> Rust:
    vocabulary = {letter: byte + len(SPECIALS) for byte, letter in LETTER_OF_BYTE.items()}
    rust = _fixed(vocabulary, byte_fallback=False)
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    rust.decoder = decoders.ByteLevel()
    return rust


def _characters(texts: Iterable[str], vocab_size: int) -> Rust:
    counts: Counter[str] = Counter()
    seen = _Seen(texts)
    for text in seen:
        counts.update(text)
    seen.check()
    common = sorted(counts, key=lambda letter: (-counts[letter], letter))[: vocab_size - SMALLEST]
    words = [*(f"<0x{byte:02X}>" for byte in range(256)), *common]
    rust = _fixed({word: id for id, word in enumerate(words, start=len(SPECIALS))}, byte_fallback=True)
    rust.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return rust


def _fixed(vocabulary: dict[str, int], *, byte_fallback: bool) -> Rust:
    """BPE without merges: one id a letter."""
    specials = {name: id for id, name in enumerate(SPECIALS)}
    rust = Rust(models.BPE(vocab=specials | vocabulary, merges=[], unk_token=None, byte_fallback=byte_fallback))
    rust.add_special_tokens(SPECIALS)
    return rust


class _Seen:
    """An iterator that remembers whether any text held a character."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = iter(texts)
        self._any = False

    def __iter__(self) -> _Seen:
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
}
