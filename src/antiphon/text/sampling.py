"""Subword regularization: segmentations of training texts that differ from epoch to epoch.

    sampler = make_sampler(tokenizer, dropout=0.1, sampling=None)
    sampler.encode_batch(["in 3 hours"], [7], seed=0, epoch=0)     # a pure function of text, key, seed and epoch

* BPE-dropout (Provilkov et al. 2020, algorithm 1): in each step every possible merge is skipped with probability
  `dropout`, and the first of the others is applied.
* Unigram sampling (Kudo 2018, section 3.3, over all segmentations): a segmentation x is drawn with probability
  proportional to P(x)**`sampling`, by forward filtering and backward sampling.

A word has at most MAX_SPLITS different segmentations in an epoch, which are cached, so that frequent words are cheap.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import re
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import tokenizers

from antiphon.errors import ConfigError
from antiphon.splitmix import mix
from antiphon.text.tokenizer import Tokenizer
from antiphon.text.vocabulary import JsonVocabulary, reset_training_settings
from antiphon.utf8 import clean_text

MAX_SPLITS = 16  # segmentations of a word in an epoch; selected by four random bits
_PARTS = ("continuing_subword_prefix", "end_of_word_suffix")  # settings of BPE models that mark parts of words

Split = Callable[[str, random.Random], list[int]]


class SegmentationSampler:
    """Encodes with segmentations drawn for each key, seed and epoch. `split` draws the ids of a word."""

    def __init__(self, tokenizer: Tokenizer, rust: tokenizers.Tokenizer, split: Split) -> None:
        self._tokenizer, self._rust, self._split = tokenizer, rust, split
        tokens = [(id, token) for id, token in rust.get_added_tokens_decoder().items() if not token.special]
        self._symbols = {token.content: id for id, token in tokens}
        self._leads = {
            token.content for _, token in tokens if token.rstrip
        }  # added tokens that consume the space after them
        names = sorted(self._symbols, key=lambda name: (-len(name), name))
        self._cut = re.compile("(" + "|".join(map(re.escape, names)) + ")") if names else None
        self._bank: dict[tuple[str, int], list[int]] = {}
        self._pass = (0, 0)  # the seed and the epoch of the cached segmentations

    def encode_batch(self, texts: Iterable[str], keys: Iterable[int], *, seed: int, epoch: int) -> list[list[int]]:
        """The ids of `texts` in this epoch. `keys` are the numbers of their examples."""
        if (seed, epoch) != self._pass:
            self._bank, self._pass = {}, (seed, epoch)
        return [self._encode(clean_text(text), key) for text, key in zip(texts, keys, strict=True)]

    def _encode(self, text: str, key: int) -> list[int]:
        chance = random.Random(mix(key, *self._pass))
        ids: list[int] = []
        before = ""
        for part in self._cut.split(text) if self._cut else [text]:
            if part in self._symbols:
                ids.append(self._symbols[part])
            else:
                words = self._words(part.lstrip() if before in self._leads else part)
                ids += [id for word in words for id in self._drawn(word, chance.getrandbits(4))]
            before = part
        return self._tokenizer.enclose(ids)

    def _words(self, text: str) -> list[str]:
        if not text:
            return []
        normalized = self._rust.normalizer.normalize_str(text) if self._rust.normalizer else text
        cut = self._rust.pre_tokenizer
        return [normalized] if cut is None else [word for word, _ in cut.pre_tokenize_str(normalized)]

    def _drawn(self, word: str, number: int) -> list[int]:
        found = self._bank.get((word, number))
        if found is None:
            chance = random.Random(mix(zlib.crc32(word.encode()), *self._pass, number))
            found = self._bank[word, number] = self._split(word, chance)
        return found


def make_sampler(
    tokenizer: Tokenizer, *, dropout: float = 0.0, sampling: float | None = None
) -> SegmentationSampler | None:
    """A sampler for `tokenizer`; None if neither `dropout` nor `sampling` is set.

    ConfigError for a tokenizer of a kind that the setting does not apply to.
    """
    if not dropout and sampling is None:
        return None
    setting, kind = ("dropout", "BPE") if dropout else ("sampling", "Unigram")
    own = tokenizer.vocabulary
    content = own.content if isinstance(own, JsonVocabulary) else b"{}"
    model: dict[str, Any] = json.loads(content).get("model", {})
    if model.get("type") != kind or any(model.get(name) for name in _PARTS):
        raise ConfigError(
            f"`tokenizer.{setting}` needs a tokenizer.json of the kind {kind}, but the tokenizer is "
            f"{model.get('type') or 'of another format'}. Drop it, or train a tokenizer of that kind."
        )
    rust = tokenizers.Tokenizer.from_buffer(content)
    reset_training_settings(rust)
    split = _bpe(model, dropout, rust) if sampling is None else _unigram(model, sampling)
    return SegmentationSampler(tokenizer, rust, split)


def dropout_of(tokenizer: Tokenizer) -> float:
    """The BPE-dropout stored in the file of a tokenizer from elsewhere, to be applied in training only; 0: none.

    ConfigError if it is not a tokenizer.json of the kind BPE, which the sampler needs.
    """
    own = tokenizer.vocabulary
    model: dict[str, Any] = json.loads(own.files.get(JsonVocabulary.suffix, b"{}")).get("model", {})
    dropout = model.get("dropout") or 0.0
    plain = isinstance(own, JsonVocabulary) and not any(model.get(name) for name in _PARTS)
    if dropout and not plain:
        raise ConfigError(
            f"the file of `tokenizer.kind` must have no `dropout`, or be a BPE of its own without {_PARTS[0]} and "
            f"{_PARTS[1]}, but has {dropout} and is none. Set `dropout` in its `model` to null."
        )
    return dropout


def _bpe(model: dict[str, Any], dropout: float, rust: tokenizers.Tokenizer) -> Split:
    pairs = (tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"])
    ranks = {pair: rank for rank, pair in enumerate(pairs)}
    known: dict[str, int] = model["vocab"]

    def ids_of(part: str) -> list[int]:
        """The ids of a letter. One that is not in the vocabulary is its bytes, or unknown, as the file is set."""
        return [known[part]] if part in known else [token.id for token in rust.model.tokenize(part)]

    def split(word: str, chance: random.Random) -> list[int]:
        parts = list(word)
        while True:
            possible = [
                (rank, place)
                for place, pair in enumerate(itertools.pairwise(parts))
                if (rank := ranks.get(pair)) is not None and chance.random() >= dropout
            ]
            if not possible:
                return [id for part in parts for id in ids_of(part)]
            _, place = min(possible)
            parts[place : place + 2] = [parts[place] + parts[place + 1]]

    return split


def _unigram(model: dict[str, Any], power: float) -> Split:
    pieces = {piece: (id, power * score) for id, (piece, score) in enumerate(model["vocab"])}
    longest = max(map(len, pieces))

    def split(word: str, chance: random.Random) -> list[int]:
        total = [0.0, *[-math.inf] * len(word)]  # log of the summed weights of all segmentations of word[:end]
        ways: list[list[tuple[float, int, int]]] = [[] for _ in total]  # (log weight, start, id)
        for end in range(1, len(word) + 1):
            for start in range(max(0, end - longest), end):
                found = pieces.get(word[start:end])
                if found is not None:
                    ways[end].append((total[start] + found[1], start, found[0]))
            top = max(way[0] for way in ways[end])
            total[end] = top + math.log(sum(math.exp(way[0] - top) for way in ways[end]))
        ids: list[int] = []
        end = len(word)
        while end:
            weights = [math.exp(way[0] - total[end]) for way in ways[end]]
            _, end, id = chance.choices(ways[end], weights)[0]
            ids.append(id)
        return ids[::-1]

    return split
