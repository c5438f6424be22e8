"""Batches for a training loop of one's own, made as `antiphon.train` makes them.

loader = batches(pairs, tokenizer, batch_tokens=2048)
for epoch in range(1, 11):
    for batch in loader:                    # one pass over the pairs, in an order that is new in each
        loss = network(batch.to(device))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from antiphon.batch import Batch, collate
from antiphon.config import DataConfig
from antiphon.data import Batches, InMemory, load_corpus
from antiphon.data.corpus import Corpus
from antiphon.errors import ConfigError, DataError
from antiphon.generation.assemble import tokenizer_pair
from antiphon.generation.languages import as_answer
from antiphon.generation.model import Model
from antiphon.settings import show
from antiphon.text import Tokenizer, load_task


class BatchLoader:
    """An iterable of batches: each `iter` is one pass over the pairs, `epoch` the number of passes begun.

    The order is a pure function of (`seed`, `epoch`), so that a loop that is continued sets `epoch` to the passes that
    it has made and goes on as if it had not stopped.
    """

    def __init__(
        self, corpus: Corpus, *, batch_tokens: int, seed: int, shuffle: bool, pad_id: int, start_id: int
    ) -> None:
        self.epoch = 0
        self._corpus, self._pad_id, self._start_id = corpus, pad_id, start_id
        self._stream = Batches(corpus, batch_tokens=batch_tokens, seed=seed, shuffle=shuffle)
        self._top = self._stream.state()

    def __iter__(self) -> Iterator[Batch]:
        epoch = self.epoch
        self.epoch += 1
        self._go_to(epoch)
        while self._stream.epoch == epoch:
            yield collate(next(self._stream), pad_id=self._pad_id, start_id=self._start_id)

    def __len__(self) -> int:
        """The batches of the next pass. TypeError where the pairs are streamed from files."""
        if not isinstance(self._corpus, InMemory):
            raise TypeError("the number of batches of pairs that are streamed is known only after they were read")
        self._go_to(self.epoch)
        return self._stream.batches_per_epoch or 0

    def _go_to(self, epoch: int) -> None:
        self._stream.restore({**self._top, "epoch": epoch})


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
    as a pretrained one. A side of more than `max_length` tokens is an error, unless `overflow` is truncate or skip.
    `shuffle`: a new order in each pass, a function of (`seed`, pass).

    Raises ConfigError, DataError or ModelError for what cannot be read or encoded.
    """
    if not isinstance(batch_tokens, int) or batch_tokens < 1:
        raise ConfigError(f"`batch_tokens` must be a whole number of at least 1, but is {show(batch_tokens)}.")
    if overflow not in ("error", "truncate", "skip"):
        raise ConfigError(f"`overflow` must be error, truncate or skip, but is {show(overflow)}.")
    as_target: Callable[[list[int]], list[int]] | None = None
    if isinstance(tokenizer, Model):
        source, target, marks = tokenizer.source_tokenizer, tokenizer.target_tokenizer, tokenizer.marks
        pad_id, start_id, as_target = marks.pad, marks.start, partial(as_answer, tokenizer=target, marks=marks)
    else:
        source, target = tokenizer_pair(tokenizer, target_tokenizer)
        pad_id, start_id = target.pad_id, target.start_id
    if isinstance(pairs, Iterable) and not isinstance(pairs, str | dict | list | tuple):
        pairs = list(pairs)
    if isinstance(pairs, list | tuple) and not pairs:
        raise DataError("`pairs` must hold a pair, but is empty.")
    corpus = load_corpus(
        DataConfig(train=pairs).train,
        task=load_task("translation"),
        source_tokenizer=source,
        target_tokenizer=target,
        max_length=max_length,
        overflow=overflow,
        as_target=as_target,
    )
    return BatchLoader(corpus, batch_tokens=batch_tokens, seed=seed, shuffle=shuffle, pad_id=pad_id, start_id=start_id)
