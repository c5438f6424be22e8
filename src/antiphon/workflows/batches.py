"""Batches for a custom training loop, made as `antiphon.train` makes them.

loader = batches(pairs, tokenizer, batch_tokens=2048)
for epoch in range(1, 11):
    for batch in loader:                # one pass over the pairs, in a new order
        loss = network(batch.to(device))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from antiphon.batch import Batch, collate
from antiphon.config import DataConfig
from antiphon.data import Batches, InMemory, load_corpus
from antiphon.data.corpus import Corpus
from antiphon.errors import AntiphonError, ConfigError, DataError
from antiphon.generation.assemble import tokenizer_pair
from antiphon.generation.languages import as_answer
from antiphon.generation.model import Model
from antiphon.settings import SettingError, show
from antiphon.text import Tokenizer, load_task

_OVERFLOW = ("error", "truncate", "skip", "window")
# Names of recipe settings in messages of the package data -> names of arguments of `batches`.
_RENAMED = {
    "`data.max_length` (and `model.max_length`)": "`max_length`",
    "`data.max_length`": "`max_length`",
    "`data.overflow`": "`overflow`",
    "`train": "`pairs",
}


class BatchLoader:
    """An iterable over batches: each `iter` is one pass over the pairs; `epoch` is the number of passes started.

    The order is a pure function of (`seed`, `epoch`). To resume a loop, set `epoch` to the number of completed passes.
    A pass that is left early is not continued: the next `iter` starts a new one.
    """

    def __init__(
        self, corpus: Corpus, *, batch_tokens: int, seed: int, shuffle: bool, pad_id: int, start_id: int
    ) -> None:
        self.epoch = 0
        self._corpus, self._pad_id, self._start_id = corpus, pad_id, start_id
        self._batch_tokens, self._seed, self._shuffle = batch_tokens, seed, shuffle
        self._count: tuple[int, int] = (-1, 0)  # a pass, and its number of batches
        self._pass(0)  # a pair that is too long for any batch is an error now

    def __iter__(self) -> Iterator[Batch]:
        check_integer("epoch", self.epoch, minimum=0)
        epoch = self.epoch
        self.epoch += 1
        return self._collated(epoch)

    def _collated(self, epoch: int) -> Iterator[Batch]:
        stream = self._pass(epoch)
        while stream.epoch == epoch:
            with python_names():
                examples = next(stream)
            yield collate(examples, pad_id=self._pad_id, start_id=self._start_id)

    def __len__(self) -> int:
        """The number of batches of the next pass; equal for every pass, unless sources are mixed with a temperature.

        TypeError if the pairs are streamed from files.
        """
        if not isinstance(self._corpus, InMemory):
            raise TypeError("the number of batches of pairs that are streamed is known only after they were read")
        check_integer("epoch", self.epoch, minimum=0)
        if self._count[0] != self.epoch:
            self._count = self.epoch, self._pass(self.epoch).batches_per_epoch or 0
        return self._count[1]

    def _pass(self, epoch: int) -> Batches:
        """The batches of a pass; a separate object for each pass, so that several passes may run at the same time."""
        with python_names():
            return Batches(
                self._corpus, batch_tokens=self._batch_tokens, seed=self._seed, shuffle=self._shuffle, epoch=epoch
            )


def batches(
    pairs: object,
    tokenizer: Tokenizer | Sequence[Tokenizer] | Model,
    target_tokenizer: Tokenizer | None = None,
    *,
    batch_tokens: int = 4096,
    max_length: int = 1024,
    overflow: str = "error",
    shuffle: bool = True,
    seed: int = 0,
) -> BatchLoader:
    """Batches of `pairs` of similar lengths, each with at most `batch_tokens` positions on either side, padding
    included.

    `pairs` are (source, target) texts, or files as in `data.train` of a recipe ({"path": "pairs.tsv"}). `tokenizer` is
    one tokenizer for both sides, or (source, target) tokenizers, or a Model, for example a pretrained one, whose
    tokenizers and special ids are used. A side of more than `max_length` tokens is an error, unless `overflow` is
    truncate or skip, or window for a source, which the network then reads in windows. `shuffle`: a new order in each
    pass, a function of (`seed`, pass). `len()` of the loader is the number of batches of every pass.

    Raises ConfigError, DataError or ModelError for what cannot be read or encoded.
    """
    for name, value, minimum in (
        ("batch_tokens", batch_tokens, 1),
        ("max_length", max_length, 1),
        ("seed", seed, None),
    ):
        check_integer(name, value, minimum=minimum)
    if overflow not in _OVERFLOW:
        raise ConfigError(f"`overflow` must be one of {', '.join(_OVERFLOW)}, but is {show(overflow)}.")
    if not isinstance(shuffle, bool):
        raise ConfigError(f"`shuffle` must be True or False, but is {show(shuffle)}.")
    as_target: Callable[[list[int]], list[int]] | None = None
    if isinstance(tokenizer, Model):
        if target_tokenizer is not None:
            raise ConfigError("`target_tokenizer` must be left out beside a Model, which has its own. Leave it out.")
        source, target, special = tokenizer.source_tokenizer, tokenizer.target_tokenizer, tokenizer.special_tokens
        pad_id, start_id, as_target = (
            special.pad,
            special.start,
            partial(as_answer, tokenizer=target, special_tokens=special),
        )
    else:
        source, target = tokenizer_pair(tokenizer, target_tokenizer)
        pad_id, start_id = target.pad_id, target.start_id
    with python_names():
        corpus = load_corpus(
            DataConfig(train=_pairs(pairs)).train,
            task=load_task("translation"),
            source_tokenizer=source,
            target_tokenizer=target,
            max_length=max_length,
            overflow=overflow,
            as_target=as_target,
        )
    return BatchLoader(corpus, batch_tokens=batch_tokens, seed=seed, shuffle=shuffle, pad_id=pad_id, start_id=start_id)


def _pairs(pairs: object) -> object:
    """`pairs` in the form of `data.train`; an iterator is read into a list."""
    if pairs is None or isinstance(pairs, str | bytes) or not isinstance(pairs, Iterable):
        raise ConfigError(
            f'`pairs` must be (source, target) texts, or files such as {{"path": "pairs.tsv"}}, but is {show(pairs)}.'
        )
    if not isinstance(pairs, dict | list | tuple):
        pairs = list(pairs)
    if not pairs:
        raise DataError("`pairs` must hold a pair, but is empty.")
    return pairs


def check_integer(name: str, value: object, *, minimum: int | None) -> None:
    """Raise ConfigError unless the argument `name` is an integer of at least `minimum`."""
    if not isinstance(value, int) or isinstance(value, bool) or (minimum is not None and value < minimum):
        bound = "" if minimum is None else f" of at least {minimum}"
        raise ConfigError(f"`{name}` must be a whole number{bound}, but is {show(value)}.")


@contextmanager
def python_names() -> Iterator[None]:
    """A context in which errors name the arguments of `batches` instead of recipe settings."""
    try:
        yield
    except AntiphonError as error:
        text = str(error)
        for name, ours in _RENAMED.items():
            text = text.replace(name, ours)
        if isinstance(error, SettingError):  # its text is made from the path of the setting
            raise ConfigError(text) from error
        error.args = (text,)
        raise
