"""The engine: sources in, hypotheses out, in the order of the sources.

Sources run together in batches of similar length, as many as fit a budget; each leaves its batch as soon as it is finished. What an answer
is does not depend on what runs beside it. `answer` is what files, evaluation and the training loop's validation call:

    hypotheses = answer(network, [[5, 6, 2]], GenerationConfig(beam_size=4), Marks(pad=0, start=1, end=2))
    hypotheses[0][0].ids, hypotheses[0][0].score
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from antiphon.batch import Example, collate, move
from antiphon.config import GenerationConfig
from antiphon.errors import ConfigError, DataError
from antiphon.generation.logits import Forbid, MinNewTokens, NoRepeatNgram, Processor, RepetitionPenalty, Sampler
from antiphon.generation.search import Hypothesis, Marks, Plan, Request, Search, evaluating, label_log_p
from antiphon.models.seq2seq import EncoderDecoder

# Bounds of a batch, for caches that stay small and products that are large enough: hypotheses, source tokens with padding, logits.
MOST_HYPOTHESES, MOST_SOURCE_TOKENS, MOST_LOGITS = 256, 16384, 2**24


@dataclass(frozen=True, slots=True)
class Source:
    """Ids to be answered. `row` is its place in the input, from 0, and `piece` its place among the parts of a split row; `prefix` begins
    its answer."""

    ids: list[int]
    row: int
    piece: int = 0
    prefix: tuple[int, ...] = ()


def plan_of(config: GenerationConfig, marks: Marks) -> Plan:
    """How to search by these settings."""
    processors: list[Processor] = []
    if config.repetition_penalty != 1:
        processors.append(RepetitionPenalty(config.repetition_penalty))
    if config.no_repeat_ngram:
        processors.append(NoRepeatNgram(config.no_repeat_ngram))
    if config.min_new_tokens:
        processors.append(MinNewTokens(config.min_new_tokens, end=marks.end))
    if unsaid := {marks.pad, marks.start} - {marks.end}:
        processors.append(Forbid(sorted(unsaid)))
    sampler = None
    if config.temperature is not None:
        sampler = Sampler(config.temperature, config.top_k, config.top_p, config.min_p)
    return Plan(
        marks,
        width=config.beam_size if sampler is None else config.n_best,
        n_best=config.n_best,
        length_penalty=config.length_penalty,
        length_penalty_kind=config.length_penalty_kind,
        processors=tuple(processors),
        sampler=sampler,
        seed=config.seed,
    )


def request_of(source: Source, config: GenerationConfig, *, max_length: int) -> Request:
    """The search's request for a source. Raises where the settings ask for more tokens than the model's `max_length`."""
    room = max_length - len(source.prefix)
    if room < 1:
        raise DataError(
            f"the prefix of input {source.row + 1} must be shorter than the model's max_length ({max_length} tokens), "
            f"but has {len(source.prefix)}. Shorten it."
        )
    if config.max_new_tokens is not None and config.max_new_tokens > max_length:
        raise ConfigError(
            f"`max_new_tokens` must be at most the model's max_length ({max_length}), but is {config.max_new_tokens}. Lower it."
        )
    if config.min_new_tokens > room:
        raise ConfigError(
            f"`min_new_tokens` must fit the model's max_length (room for {room} tokens), but is {config.min_new_tokens}. Lower it."
        )
    wanted = config.max_new_tokens or max(2 * len(source.ids) + 32, config.min_new_tokens + 1)
    return Request(
        source.ids,
        limit=len(source.prefix) + min(wanted, room),
        prefix=list(source.prefix),
        row=source.row,
        piece=source.piece,
    )


def answer(
    network: EncoderDecoder, sources: Sequence[Source | list[int]], config: GenerationConfig, marks: Marks
) -> list[list[Hypothesis]]:
    """For each source its hypotheses, best first, at most `config.n_best`. Ids that are longer than the model's `max_length` are a DataError."""
    requests = [
        request_of(source if isinstance(source, Source) else Source(source, row), config, max_length=network.max_length)
        for row, source in enumerate(sources)
    ]
    for request in requests:
        check_length(request.source, network.max_length, what=f"input {request.row + 1}")
    plan = plan_of(config, marks)
    answers: list[list[Hypothesis]] = [[] for _ in requests]
    lengths = [len(request.source) for request in requests]
    for rows in groups(lengths, width=plan.width, vocab_size=network.vocab_size, batch_size=config.batch_size):
        search = Search(network, [requests[row] for row in rows], plan)
        while search.open:
            for place, hypotheses in search.step():
                answers[rows[place]] = hypotheses
    return answers


def stream(
    network: EncoderDecoder, source: Source, config: GenerationConfig, marks: Marks
) -> Iterator[tuple[list[int], list[Hypothesis]]]:
    """One source, answered step by step: (the ids that have become certain, nothing) and at last (the rest, the hypotheses).

    An id is certain when every hypothesis that can still be the best has it in its place; the ids joined are the best one's.
    """
    check_length(source.ids, network.max_length, what=f"input {source.row + 1}")
    search = Search(network, [request_of(source, config, max_length=network.max_length)], plan_of(config, marks))
    given = 0
    while True:
        for _, hypotheses in search.step():
            yield hypotheses[0].ids[given:], hypotheses
            return
        sure = search.agreed(0)
        if len(sure) > given:
            yield sure[given:], []
            given = len(sure)


def forced_scores(
    network: EncoderDecoder,
    pairs: Sequence[tuple[list[int], list[int]]],
    marks: Marks,
    *,
    batch_size: int | None = None,
) -> list[float]:
    """For each (source, target) the sum of the target's log-probabilities, whole rows at once (teacher forcing)."""
    scores = [0.0] * len(pairs)
    for source, target in pairs:
        for ids, what in ((source, "a source"), (target, "a target")):
            check_length(ids, network.max_length, what=what, remedy="Shorten it.")
    lengths = [max(len(source), len(target)) for source, target in pairs]
    with evaluating(network):
        for rows in groups(lengths, width=1, vocab_size=1, batch_size=batch_size):
            examples = [Example(pairs[row][0], pairs[row][1], row) for row in rows]
            batch = move(collate(examples, pad_id=0, start_id=marks.start), network.device)
            memory = network.encode(batch.source, batch.source_tokens)
            hidden, _ = network.decode(batch.target_ids, batch.target_tokens, memory, None)
            log_p = label_log_p(network, hidden[batch.label_mask], batch.labels[batch.label_mask])
            parts = log_p.split([len(example.target) for example in examples])
            for row, part in zip(rows, parts, strict=True):
                scores[row] = float(part.sum(dtype=torch.float32 if part.device.type == "mps" else torch.float64))
    return scores


SHORTER = "Shorten it, or set `overflow` to truncate or split."


def check_length(ids: Sequence[int], limit: int, *, what: str, remedy: str = SHORTER) -> None:
    """DataError if `ids` are more than `limit`."""
    if len(ids) > limit:
        raise DataError(
            f"{what} must have at most {limit} tokens (the model's max_length, end included), but has {len(ids)}. {remedy}"
        )


def groups(lengths: Sequence[int], *, width: int, vocab_size: int, batch_size: int | None) -> Iterator[list[int]]:
    """The places of `lengths`, longest first, in groups that run together: `batch_size` of them, or as many as the bounds allow."""
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    hypotheses = min(MOST_HYPOTHESES, MOST_LOGITS // vocab_size)
    first = 0
    while first < len(order):
        longest = max(1, lengths[order[first]])
        count = batch_size or max(1, min(hypotheses // width, MOST_SOURCE_TOKENS // longest))
        yield order[first : first + count]
        first += count
