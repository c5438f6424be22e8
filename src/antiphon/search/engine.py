"""The engine: sources in, hypotheses out, in the order of the sources.

Sources run together in batches of similar length, as many as fit the bounds below; each leaves its batch as soon as it
is finished. What an answer is does not depend on what runs beside it. `answer` serves files, evaluation and the
training loop's validation:

    hypotheses = answer(network, [[5, 6, 2]], GenerationConfig(beam_size=4), SpecialTokens(pad=0, start=1, end=2))
    hypotheses[0][0].ids, hypotheses[0][0].score
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from antiphon.batch import Example, collate
from antiphon.config import GenerationConfig
from antiphon.constraints.restriction import CLOSED, DEAD, Constraint, TrieConstraint
from antiphon.errors import ConfigError, DataError
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.runtime.inference import evaluating, label_log_p, sum_type
from antiphon.runtime.runtime import Runtime
from antiphon.search.hypotheses import Hypothesis, Request, SearchConfig, SpecialTokens
from antiphon.search.limits import check_source, source_limit
from antiphon.search.processors import Forbid, ForbidAt, MinNewTokens, NoRepeatNgram, Processor, RepetitionPenalty
from antiphon.search.sampling import TokenSampler
from antiphon.search.search import Search

USUAL_OF_WINDOWS = 512  # tokens of an answer to a source in windows, which is rarely as long as the source
# Bounds of a batch: hypotheses, numbers in their logits, places in their caches, and source tokens with padding.
MOST_HYPOTHESES, MOST_LOGITS, MOST_PLACES, MOST_SOURCE_TOKENS = 256, 2**24, 2**16, 2**14


@dataclass(frozen=True, slots=True)
class SourceInput:
    """Ids to be answered, or features (S, F).

    `row` is its place in the input, `piece` its place among the parts of a split row. `prefix` begins its answer,
    `restriction` says what it may be; `gap` is the white space before it, in a row that was split.
    """

    ids: list[int] | Tensor
    row: int
    piece: int = 0
    prefix: tuple[int, ...] = ()
    restriction: Constraint | None = None
    gap: str = ""


def answer(
    network: EncoderDecoder | Runtime,
    sources: Sequence[SourceInput | list[int] | Tensor],
    config: GenerationConfig,
    marks: SpecialTokens,
) -> list[list[Hypothesis]]:
    """For each source its hypotheses, best first, at most `config.n_best`.

    DataError where a source has more ids than the model takes (`source_limit`).
    """
    runtime = Runtime.of(network)
    network = runtime.network
    requests = [
        request_of(
            source if isinstance(source, SourceInput) else SourceInput(source, row),
            config,
            network=network,
            first=marks.first,
        )
        for row, source in enumerate(sources)
    ]
    plan = plan_of(config, marks, window=source_limit(network, config))
    answers: list[list[Hypothesis]] = [[] for _ in requests]
    left = longest_first(requests)

    def run(batch: Sequence[int]) -> list[list[Hypothesis]]:
        places = [*batch, *those_that_fit(left, requests, batch)]
        begun, waiting = ([requests[place] for place in part] for part in (batch, places[len(batch) :]))
        search = Search(runtime, begun, plan, waiting)
        while search.open:
            for i, hypotheses in search.step():
                answers[places[i]] = hypotheses
        for _ in range(search.count - len(batch)):  # those that waited and have joined
            left.popleft()
        return [answers[place] for place in batch]

    def cost(batch: Sequence[int]) -> int:
        each = [requests[place] for place in batch]
        longest = max(len(request.source) for request in each) + max(request.limit for request in each)
        return len(each) * plan.width * longest

    while left:
        batch = first_batch(left, requests, plan, vocab_size=network.vocab_size, batch_size=config.batch_size)
        runtime.splitter.run(run, batch, cost=cost)
    return answers


def stream(
    network: EncoderDecoder | Runtime, source: SourceInput, config: GenerationConfig, marks: SpecialTokens
) -> Iterator[list[int]]:
    """The best hypothesis of one source in runs of ids, each given as soon as it is certain.

    An id is certain when every hypothesis that can still be the best has it in its place. Wrong settings raise at once.
    """
    runtime = Runtime.of(network)
    network = runtime.network
    request, plan = (
        request_of(source, config, network=network, first=marks.first),
        plan_of(config, marks, window=source_limit(network, config)),
    )

    def run() -> Iterator[list[int]]:
        search = Search(runtime, [request], plan)
        given = 0
        while search.open:
            finished = search.step()
            sure = finished[0][1][0].ids if finished else search.agreed(0)
            if len(sure) > given:
                yield sure[given:]
                given = len(sure)

    return run()


def forced_scores(
    network: EncoderDecoder,
    pairs: Sequence[tuple[list[int] | Tensor, list[int]]],
    marks: SpecialTokens,
    *,
    batch_size: int | None = None,
    window: int | None = None,
) -> list[float]:
    """For each (source, target) the sum of the target's log-probabilities, whole rows at once (teacher forcing).

    A target is begun with the first tokens of `marks`, if they are not there yet, which are not scored.

    A source beyond `window` tokens (None: the network's `max_length`) is read in windows.
    """
    pairs = [(source, marks.begin(target)) for source, target in pairs]
    for _, target in pairs:
        check_length(target, network.max_length, what="a target")
    requests = [Request(source, limit=max(len(source), len(target))) for source, target in pairs]
    scores = [0.0] * len(pairs)
    for places in batches(requests, SearchConfig(marks), vocab_size=1, batch_size=batch_size):
        examples = [Example(*pairs[place], place) for place in places]
        batch = collate(examples, pad_id=0, start_id=marks.start).to(network.device)
        with evaluating(network):
            memory = network.encode(batch.source, batch.source_tokens, window=window)
            hidden, _ = network.decode(batch.target_ids, batch.target_tokens, memory, None)
            log_p = label_log_p(network, hidden[batch.label_mask], batch.labels[batch.label_mask])
        parts = log_p.to(sum_type(network.device)).split([len(example.target) for example in examples])
        for place, part in zip(places, parts, strict=True):
            scores[place] = float(part[len(marks.first) :].sum())
    return scores


def plan_of(config: GenerationConfig, marks: SpecialTokens, *, window: int | None = None) -> SearchConfig:
    """The search that these settings ask for; `window` is that of `SearchConfig`.

    Processors that forbid tokens come last, so that no scaling of scores brings a forbidden token back.
    """
    processors: list[Processor] = []
    if config.repetition_penalty != 1:
        # A published checkpoint is searched as its library does it: in a beam that scales log-probabilities.
        beam = config.temperature is None and config.beam_size > 1
        start = marks.start if marks.published else None
        processors.append(
            RepetitionPenalty(config.repetition_penalty, start=start, logits=not (beam and marks.published))
        )
    if config.no_repeat_ngram:
        processors.append(NoRepeatNgram(config.no_repeat_ngram))
    if config.min_new_tokens:
        processors.append(MinNewTokens(config.min_new_tokens, end=marks.end))
    if unsaid := marks.unsaid:
        processors.append(Forbid(unsaid))
    if marks.never_first:
        processors.append(ForbidAt(marks.never_first, place=len(marks.first)))
    sampler = None
    if config.temperature is not None:
        sampler = TokenSampler(config.temperature, config.top_k, config.top_p, config.min_p)
    return SearchConfig(
        marks,
        width=config.beam_size if sampler is None else config.n_best,
        n_best=config.n_best,
        length_penalty=config.length_penalty,
        length_penalty_kind=config.length_penalty_kind,
        groups=config.beam_groups,
        diversity_penalty=config.diversity_penalty,
        patience=config.patience if sampler is None else None,
        coverage_penalty=config.coverage_penalty,
        processors=tuple(processors),
        sampler=sampler,
        seed=config.seed,
        window=window,
    )


def request_of(
    source: SourceInput, config: GenerationConfig, *, network: EncoderDecoder, first: Sequence[int] = ()
) -> Request:
    """The search's request for a source, whose answer begins with the ids `first`; an error where source, prefix or
    settings go beyond what `network` takes. An answer to features has all the room there is, unless settings say less;
    to a source in windows, what is usual for one window."""
    heard, max_length, limit = isinstance(source.ids, Tensor), network.max_length, source_limit(network, config)
    if config.overflow != "window" and not heard:
        check_source(source.ids, limit, most=max_length, row=source.row)
    room = max_length - len(source.prefix) - len(first)
    if room < 1:
        raise DataError(
            f"the prefix of input {source.row + 1} must have fewer tokens than the model's max_length ({max_length}), "
            f"but has {len(source.prefix)}. Shorten it."
        )
    if config.max_new_tokens is not None and config.max_new_tokens > max_length:
        raise ConfigError(
            f"`max_new_tokens` must be at most the model's max_length ({max_length}), but is {config.max_new_tokens}. "
            "Lower it."
        )
    if config.min_new_tokens > room:
        raise ConfigError(
            f"`min_new_tokens` must be at most what the model's max_length leaves ({room}), "
            f"but is {config.min_new_tokens}. Lower it."
        )
    needed, longest = restricted_room(source)
    usual = room if heard else 2 * len(source.ids) + 32
    if len(source.ids) > limit and not heard:
        usual = min(usual, max(limit, USUAL_OF_WINDOWS))
    usual += needed
    wanted = config.max_new_tokens or max(usual, config.min_new_tokens + 1, longest)
    granted = min(wanted, room)
    if max(needed, longest) > granted:
        what = "what is required in the answer" if longest == 0 else "the longest allowed text"
        raise DataError(
            f"{what} of input {source.row + 1} must fit into {granted} tokens, but needs "
            f"{max(needed, longest)}, the end included. Raise `max_new_tokens` up to the model's max_length "
            f"({max_length}), or shorten it."
        )
    return Request(
        source.ids,
        len(first) + len(source.prefix) + granted,
        prefix=[*first, *source.prefix],
        row=source.row,
        piece=source.piece,
        restriction=source.restriction,
    )


def restricted_room(source: SourceInput) -> tuple[int, int]:
    """The tokens that a restricted answer needs behind its prefix, and those of the longest allowed one, or 0.

    DataError where the prefix lies outside the restriction, or nothing right can follow it.
    """
    restriction = source.restriction
    if restriction is None:
        return 0, 0
    state = restriction.start
    for id in source.prefix:
        state = restriction.follow(state, id)
    if state == DEAD:
        must = (
            "begin an allowed text, token by token"
            if isinstance(restriction, TrieConstraint)
            else "hold no forbidden phrase"
        )
        raise DataError(f"the prefix of input {source.row + 1} must {must}, but does not. Change one of the two.")
    needed = restriction.need(state)
    if needed == CLOSED:
        raise DataError(
            f"the required phrases of input {source.row + 1} must be able to stand together without a forbidden one, "
            "but no such answer was found. Take one of them out."
        )
    return needed, restriction.longest - len(source.prefix) if isinstance(restriction, TrieConstraint) else 0


def check_length(ids: Sequence[int] | Tensor, limit: int, *, what: str, remedy: str = "Shorten it.") -> None:
    """DataError if `ids` are more than `limit`."""
    if len(ids) > limit:
        raise DataError(
            f"{what} must have at most {limit} tokens (the model's max_length, end included), "
            f"but has {len(ids)}. {remedy}"
        )


def batches(
    requests: Sequence[Request], plan: SearchConfig, *, vocab_size: int, batch_size: int | None
) -> Iterator[list[int]]:
    """The places of `requests`, longest source first, in groups of `batch_size`, or of as many as the bounds allow."""
    left = longest_first(requests)
    while left:
        yield first_batch(left, requests, plan, vocab_size=vocab_size, batch_size=batch_size)


def longest_first(requests: Sequence[Request]) -> deque[int]:
    """The places of `requests`, longest source first."""
    return deque(sorted(range(len(requests)), key=lambda place: -len(requests[place].source)))


def first_batch(
    left: deque[int], requests: Sequence[Request], plan: SearchConfig, *, vocab_size: int, batch_size: int | None
) -> list[int]:
    """The first of the places that are left, `batch_size` of them, or as many as the bounds allow; they are taken."""
    most = max(1, min(MOST_HYPOTHESES, MOST_LOGITS // vocab_size) // plan.width)
    group: list[int] = []
    longest = places = 0
    while left:
        request = requests[left[0]]
        count, places, longest = len(group) + 1, max(places, request.limit), max(longest, len(request.source))
        full = count > most or count * longest > MOST_SOURCE_TOKENS or count * plan.width * places > MOST_PLACES
        if group and (count > batch_size if batch_size is not None else full):
            break
        group.append(left.popleft())
    return group


def those_that_fit(left: deque[int], requests: Sequence[Request], batch: Sequence[int]) -> list[int]:
    """Of the places that are left the first ones, as long as they may take the place of finished ones in `batch`."""
    plain = all(not requests[place].prefix and requests[place].restriction is None for place in batch)
    if not plain:
        return []
    longest, most = len(requests[batch[0]].source), max(requests[place].limit for place in batch)
    found: list[int] = []
    for place in left:
        request = requests[place]
        if request.prefix or request.restriction is not None or len(request.source) > longest or request.limit > most:
            break
        found.append(place)
    return found
