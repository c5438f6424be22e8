"""Batches for a training loop of one's own, made as `antiphon.train` makes them.

loader = batches(pairs, tokenizer, batch_tokens=2048)
for epoch in range(1, 11):
    for batch in loader:                    # one pass over the pairs, in an order that is new in each
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
# What messages of the data's part call by its place in a recipe.
_RENAMED = {
    "`data.max_length` (and `model.max_length`)": "`max_length`",
    "`data.max_length`": "`max_length`",
    "`data.overflow`": "`overflow`",
    "`train": "`pairs",
}


class BatchLoader:
    """An iterable of batches: each `iter` is one pass over the pairs, `epoch` the number of passes begun.

    The order is a pure function of (`seed`, `epoch`), so that a loop that is continued sets `epoch` to the passes that
    it has made and goes on as if it had not stopped. A pass that is left early is not continued: the next `iter` begins
    a new one.
    """

    def __init__(
        self, corpus: Corpus, *, batch_tokens: int, seed: int, shuffle: bool, pad_id: int, start_id: int
    ) -> None:
        self.epoch = 0
        self._corpus, self._pad_id, self._start_id = corpus, pad_id, start_id
        self._batch_tokens, self._seed, self._shuffle = batch_tokens, seed, shuffle
        self._count: tuple[int, int] = (-1, 0)  # of a pass, and its batches
        self._pass(0)  # so that a pair that no batch can hold is an error at once

    def __iter__(self) -> Iterator[Batch]:
        check_whole("epoch", self.epoch, least=0)
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
        """The batches of the next pass; every pass has as many, unless its sources are mixed with a temperature.

        TypeError where the pairs are streamed from files.
        """
        if not isinstance(self._corpus, InMemory):
            raise TypeError("the number of batches of pairs that are streamed is known only after they were read")
        check_whole("epoch", self.epoch, least=0)
        if self._count[0] != self.epoch:
            self._count = self.epoch, self._pass(self.epoch).batches_per_epoch or 0
        return self._count[1]

    def _pass(self, epoch: int) -> Batches:
        """The batches from the beginning of a pass: each pass has its own, so that several may run at once."""
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
    """Batches of `pairs` with similar lengths together, each at most `batch_tokens` positions on either side, padding
    counted.

    `pairs` are (source, target) texts, or what `data.train` of a recipe names ({"path": "pairs.tsv"}). `tokenizer` is
    one for both sides, or the source's before the target's, or a Model whose tokenizers and special ids are meant, such
    as a pretrained one. A side of more than `max_length` tokens is an error, unless `overflow` is truncate or skip, or
    window for a source, which the network then reads in windows. `shuffle`: a new order in each pass, a function of
    (`seed`, pass). Every pass has as many batches as `len()` of the loader says.

    Raises ConfigError, DataError or ModelError for what cannot be read or encoded.
    """
    for name, value, least in (("batch_tokens", batch_tokens, 1), ("max_length", max_length, 1), ("seed", seed, None)):
        check_whole(name, value, least=least)
    if overflow not in _OVERFLOW:
        raise ConfigError(f"`overflow` must be one of {', '.join(_OVERFLOW)}, but is {show(overflow)}.")
    if not isinstance(shuffle, bool):
        raise ConfigError(f"`shuffle` must be True or False, but is {show(shuffle)}.")
    as_target: Callable[[list[int]], list[int]] | None = None
    if isinstance(tokenizer, Model):
        if target_tokenizer is not None:
            raise ConfigError("`target_tokenizer` must be left out beside a Model, which has its own. Leave it out.")
        source, target, marks = tokenizer.source_tokenizer, tokenizer.target_tokenizer, tokenizer.marks
        pad_id, start_id, as_target = marks.pad, marks.start, partial(as_answer, tokenizer=target, marks=marks)
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
    """`pairs` as a recipe's `data.train` takes them: what can be read only once is read into a list."""
    if pairs is None or isinstance(pairs, str | bytes) or not isinstance(pairs, Iterable):
        raise ConfigError(
            f'`pairs` must be (source, target) texts, or files such as {{"path": "pairs.tsv"}}, but is {show(pairs)}.'
        )
    if not isinstance(pairs, dict | list | tuple):
        pairs = list(pairs)
    if not pairs:
        raise DataError("`pairs` must hold a pair, but is empty.")
    return pairs


def check_whole(name: str, value: object, *, least: int | None) -> None:
    """ConfigError unless the argument `name` is a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or (least is not None and value < least):
        bound = "" if least is None else f" of at least {least}"
        raise ConfigError(f"`{name}` must be a whole number{bound}, but is {show(value)}.")


@contextmanager
def python_names() -> Iterator[None]:
    """Errors name the arguments of `batches` instead of settings of a recipe."""
    try:
        yield
    except AntiphonError as error:
        text = str(error)
        for name, ours in _RENAMED.items():
            text = text.replace(name, ours)
        if isinstance(error, SettingError):  # whose text is made of the setting's path
            raise ConfigError(text) from error
        error.args = (text,)
        raise
