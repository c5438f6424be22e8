"""The search: one step function for greedy, sampling and beam search, over all sources of a batch at once.

The hypotheses of a source are contiguous rows, W of them, and what they are is tensors; nothing here loops over hypotheses. A step asks
the network for the next tokens, takes the best candidates, moves those that end into the source's pool, and lets the best of the
others go on. A source is finished when no open hypothesis can still enter the first `n_best` of its pool, over every length that it may
reach; it then leaves the batch at once. Greedy search is a beam of one, and sampling differs in how a hypothesis takes its next token.

    search = Search(network, [Request(source=[5, 6, 2], limit=40)], plan)
    while search.open: finished = search.step()          # [(index, [Hypothesis, ...]), ...]

Shapes: N sources, W hypotheses of each, R = N·W, C candidates of a source, V ids, T the longest answer. References: Graves 2012
(Sequence Transduction with RNNs, beam search), Huang et al. 2017 (When to Finish, the bound), Wu et al. 2016 (section 7, GNMT's length penalty).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from antiphon.batch import Tokens, pad
from antiphon.errors import NonFiniteError
from antiphon.generation.logits import NEVER, Dice, Processor, Said, Sampler, best
from antiphon.models.seq2seq import EncoderDecoder


@dataclass(frozen=True, slots=True)
class Marks:
    """The target ids with a meaning: `pad` is never said, `start` begins every answer and is no part of it, `end` ends it."""

    pad: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Request:
    """A source to be answered, as ids. `limit` bounds the answer, prefix and end included; `row` and `piece` choose the random numbers."""

    source: list[int]
    limit: int
    prefix: list[int] = field(default_factory=list)
    row: int = 0
    piece: int = 0


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """An answer as ids, its end included where it has one. `score`: the model's own sum of log-probabilities; `rank`: what the search
    compares, after the processors and the length penalty."""

    ids: list[int]
    score: float
    rank: float
    finished: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """How to search: `width` hypotheses of each source, of which `n_best` are given, drawn by `sampler` if there is one."""

    marks: Marks
    width: int = 1
    n_best: int = 1
    length_penalty: float = 1.0
    length_penalty_kind: str = "average"
    processors: tuple[Processor, ...] = ()
    sampler: Sampler | None = None
    seed: int = 0

    def penalty(self, length: Tensor | int) -> Tensor:
        """What a score of `length` tokens is divided by."""
        length = torch.as_tensor(length, dtype=torch.float64).clamp(min=1)
        return (length if self.length_penalty_kind == "average" else (5 + length) / 6) ** self.length_penalty


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network without dropout and without gradients; its mode is put back."""
    training = network.training
    if training:
        network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if training:
            network.train()


class Pool:
    """The ended hypotheses of each source, best first: `rank`, `score` and `length` (N, W), `ids` (N, W, T); a free place has rank -inf."""

    def __init__(self, sources: int, width: int, capacity: int, like: Tensor) -> None:
        self.rank = torch.full((sources, width), NEVER, dtype=like.dtype, device=like.device)
        self.score = torch.zeros_like(self.rank)
        self.length = torch.zeros((sources, width), dtype=torch.long, device=like.device)
        self.ids = torch.zeros((sources, width, capacity), dtype=torch.long, device=like.device)

    def enter(self, rank: Tensor, score: Tensor, ids: Tensor, length: int) -> None:
        """Take in candidates (N, C), ids (N, C, T), each `length` tokens long; those with rank -inf are none. Of equals, who came first stays first."""
        width = self.rank.shape[1]
        merged, order = torch.cat([self.rank, rank], 1).sort(dim=1, descending=True, stable=True)
        order = order[:, :width]
        self.rank = merged[:, :width]
        self.score = torch.cat([self.score, score], 1).gather(1, order)
        self.length = torch.cat([self.length, torch.full_like(order, length)[:, :1].expand(rank.shape)], 1).gather(
            1, order
        )
        self.ids = torch.cat([self.ids, ids], 1).gather(1, order[:, :, None].expand(-1, -1, ids.shape[2]))

    def select(self, rows: Tensor) -> None:
        """Keep the sources `rows` (n,), in that order."""
        self.rank, self.score, self.length, self.ids = (
            leaf.index_select(0, rows) for leaf in (self.rank, self.score, self.length, self.ids)
        )

    def read(self, source: int, count: int, end: int) -> list[Hypothesis]:
        """The first `count` different hypotheses of a source."""
        found: dict[tuple[int, ...], Hypothesis] = {}
        columns = (leaf[source].tolist() for leaf in (self.rank, self.score, self.length, self.ids))
        for rank, score, length, ids in zip(*columns, strict=True):
            if rank != rank:
                raise NonFiniteError(
                    "the model's output must be finite, but is NaN. Check its weights, or load it with dtype float32."
                )
            if rank > NEVER and len(found) < count:
                answer = ids[:length]
                found.setdefault(tuple(answer), Hypothesis(answer, score, rank, answer[-1:] == [end]))
        return list(found.values())


class Search:
    """A batch of requests on its way. `open` holds the places in `requests` of those that are not finished, in the order of the rows."""

    def __init__(self, network: EncoderDecoder, requests: Sequence[Request], plan: Plan) -> None:
        self.network, self.plan = network, plan
        self.open = list(range(len(requests)))
        self.device = network.device
        sums = torch.float32 if self.device.type == "mps" else torch.float64
        count, width = len(requests), plan.width
        self.capacity = max(request.limit for request in requests)
        self._limits(requests)
        with evaluating(network):
            source, tokens = _rows([request.source for request in requests], self.device)
            self.memory = network.encode(source, tokens)
            self.state = network.begin(self.memory, width=width, capacity=self.capacity)
            self.places = torch.arange(self.capacity, device=self.device)[None]
            self.score = torch.zeros((count, width), dtype=sums, device=self.device)
            self.value = self.score.clone()
            if plan.sampler is None:
                self.value[:, 1:] = NEVER  # before the first token all hypotheses are one
            self.pool = Pool(count, width, self.capacity, self.score)
            self.pooled = False
            self.history = torch.zeros((count * width, self.capacity), dtype=torch.long, device=self.device)
            keys = torch.tensor([request.row + (request.piece << 32) for request in requests], device=self.device)
            self.dice = None if plan.sampler is None else Dice(plan.seed, keys, width)
            self._begin(requests)

    def _limits(self, requests: Sequence[Request]) -> None:
        """Where answers must end, and what they must begin with: `prefix` (N, P), -1 behind its end."""
        self.limit = torch.tensor([request.limit for request in requests], device=self.device)
        self.least_limit = min(request.limit for request in requests)
        lengths = [len(request.prefix) for request in requests]
        assert all(len(request.prefix) < request.limit for request in requests), (
            "an answer needs room behind its prefix"
        )
        self.longest_prefix, self.common_prefix = max(lengths), min(lengths)
        self.prefix_length = torch.tensor(lengths, device=self.device)
        rows = [[*request.prefix, *[-1] * (self.longest_prefix - len(request.prefix))] for request in requests]
        self.prefix = torch.tensor(rows, dtype=torch.long, device=self.device).reshape(
            len(requests), self.longest_prefix
        )

    def _begin(self, requests: Sequence[Request]) -> None:
        """The first input: the start token and as much of the prefixes as all rows have, which is not decided step by step."""
        count, width = len(requests), self.plan.width
        self.length = self.common_prefix
        start = torch.full((count * width, 1), self.plan.marks.start, dtype=torch.long, device=self.device)
        forced = self.prefix[:, : self.length]
        self.history[:, : self.length] = forced.repeat_interleave(width, 0)
        hidden, _ = self.network.decode(
            torch.cat([start, self.history[:, : self.length]], 1),
            Tokens(self.places[:, : self.length + 1]),
            self.memory,
            self.state,
        )
        self.hidden = hidden[:, -1]
        if self.length:
            own = label_log_p(self.network, hidden[::width, :-1].flatten(0, 1), forced.flatten()).view(count, -1)
            self.score += own.to(self.score.dtype).sum(1, keepdim=True)
            self.value += self.score

    def step(self) -> list[tuple[int, list[Hypothesis]]]:
        """One more token for each open source; the sources that this finished, with their hypotheses, best first."""
        with evaluating(self.network):
            return self._step()

    def _step(self) -> list[tuple[int, list[Hypothesis]]]:
        logits = self.network.logits(self.hidden)
        log_p = (logits if logits.dtype in (torch.float32, torch.float64) else logits.float()).log_softmax(-1)  # (R, V)
        ids = log_p.shape[1]
        own, scores = self._process(log_p)
        lanes, tokens, values = self._choose(scores)  # (N, C) each: whose next token, which, and the sum with it
        count, width = len(self.open), self.plan.width
        score = self.score.gather(1, lanes) + own.view(count, -1).gather(1, lanes * ids + tokens)
        self._rescue(values)
        ended = tokens == self.plan.marks.end
        self.length += 1
        if bool(ended.any()):
            self._collect(
                values[:, :width].masked_fill(~ended[:, :width], NEVER),
                score[:, :width],
                lanes[:, :width],
                tokens[:, :width],
            )
            values = values.masked_fill(ended, NEVER)
            if values.shape[1] > width:
                going = ended.to(torch.uint8).sort(dim=1, stable=True).indices[:, :width]
                lanes, tokens, values, score = (x.gather(1, going) for x in (lanes, tokens, values, score))
        lanes, tokens, values, score = (x[:, :width] for x in (lanes, tokens, values, score))
        if self.length >= self.least_limit:
            at_limit = (self.limit == self.length)[:, None]
            self._collect(values.masked_fill(~at_limit, NEVER), score, lanes, tokens)
            values = values.masked_fill(at_limit, NEVER)
        finished, kept = self._settle(values)
        if kept is not None:
            lanes, tokens, values, score = (x.index_select(0, kept) for x in (lanes, tokens, values, score))
        if self.open:
            self._follow(lanes, tokens, values, score, kept)
        return finished

    def _process(self, log_p: Tensor) -> tuple[Tensor, Tensor]:
        """The model's log-probabilities and the search's scores, (R, V) each, equal for every token that may follow unless one rescales."""
        processors, width = self.plan.processors, self.plan.width
        forced = forced_log_p = None
        if self.length < self.longest_prefix:
            forced = self.prefix[:, self.length].repeat_interleave(width)[:, None]  # (R, 1)
            forced_log_p = log_p.gather(1, forced.clamp(min=0))
        scores = log_p.clone() if any(processor.rescales for processor in processors) else log_p
        lengths = self.prefix_length.repeat_interleave(width) if self.longest_prefix else self.prefix_length[:1]
        said = Said(self.history[:, : self.length], lengths, self.longest_prefix)
        for processor in processors:
            scores = processor(scores, said)
        if forced is None or forced_log_p is None:
            return log_p, scores
        # Where a token is forced, no other one may follow, and no processor may forbid it or change what it is worth.
        is_forced, ids = forced >= 0, forced.clamp(min=0)
        only = scores.masked_fill(is_forced, NEVER)
        for leaf in (only, log_p):
            leaf.scatter_(1, ids, torch.where(is_forced, forced_log_p, leaf.gather(1, ids)))
        return log_p, only

    def _choose(self, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The candidates of each source, (N, C), best first: lanes (which of its hypotheses go on), tokens, and summed scores."""
        count, width = len(self.open), self.plan.width
        if self.plan.sampler is not None:
            assert self.dice is not None
            tokens = self.plan.sampler.draw(scores, self.dice.roll(self.length).flatten())
            lanes = torch.arange(width, device=self.device).expand(count, -1)
            gained = scores.gather(1, tokens[:, None]).view(count, width)
            return lanes, tokens.view(count, width), self.value + gained
        # Twice as many as go on: at most one candidate of a hypothesis ends, so that enough remain.
        values, tokens = best(scores, 2 * width if width > 1 else 1)
        totals = (self.value[:, :, None] + values.reshape(count, width, -1)).flatten(1)
        tokens = tokens.reshape(count, -1)
        if width == 1:
            return torch.zeros_like(tokens), tokens, totals
        totals, order = totals.sort(dim=1, descending=True, stable=True)
        totals, order = totals[:, : 2 * width], order[:, : 2 * width]
        return order // values.shape[1], tokens.gather(1, order), totals

    def _collect(self, values: Tensor, score: Tensor, lanes: Tensor, tokens: Tensor | None) -> None:
        """Put candidates (N, C) whose value is above -inf into the pool, each with its token behind what its hypothesis held."""
        count = len(self.open)
        history = self.history.view(count, -1, self.capacity)
        ids = history.gather(1, lanes[:, :, None].expand(-1, -1, self.capacity))
        if tokens is not None:
            ids[:, :, self.length - 1] = tokens
        self.pool.enter(values / self.plan.penalty(self.length).item(), score, ids, self.length)
        self.pooled = True

    def _rescue(self, values: Tensor) -> None:
        """Where the processors leave no token at all and nothing has ended, the hypotheses as they stand are the answers, unfinished."""
        if not self.plan.processors:
            return
        stuck = (values.amax(1) == NEVER) & (self.pool.rank[:, 0] == NEVER)
        if bool(stuck.any()):
            lanes = torch.arange(self.plan.width, device=self.device).expand(len(self.open), -1)
            self._collect(self.value.masked_fill(~stuck[:, None], NEVER), self.score, lanes, None)

    def _settle(self, values: Tensor) -> tuple[list[tuple[int, list[Hypothesis]]], Tensor | None]:
        """The finished sources, which leave the batch, and the rows of the others if any left."""
        if not self.pooled:
            return [], None
        done = self.pool.rank[:, self.plan.n_best - 1] >= self._bound(values).amax(1)
        if not bool(done.any()):
            return [], None
        marks = self.plan.marks
        leaving, staying = done.nonzero()[:, 0].tolist(), (~done).nonzero()[:, 0]
        finished = [(self.open[i], self.pool.read(i, self.plan.n_best, marks.end)) for i in leaving]
        self.open = [self.open[i] for i in staying.tolist()]
        if self.open:
            self.memory = self.memory.select(staying)
            self.state.drop(staying)
            self.pool.select(staying)
            self.limit, self.prefix_length, self.prefix = (
                leaf.index_select(0, staying) for leaf in (self.limit, self.prefix_length, self.prefix)
            )
            self.least_limit = int(self.limit.min())
            if self.dice is not None:
                self.dice.select(staying)
        return finished, staying

    def _bound(self, values: Tensor) -> Tensor:
        """(N, W): the best rank that open hypotheses with these sums may end with. Sums never rise, and the penalty is monotone in
        the length, so that one of the two ends of what can be reached is the best."""
        limit = self.plan.penalty(self.limit).to(values)
        return torch.maximum(values / self.plan.penalty(self.length + 1).item(), values / limit[:, None])

    def _follow(self, lanes: Tensor, tokens: Tensor, values: Tensor, score: Tensor, kept: Tensor | None) -> None:
        """The hypotheses of the open sources become these, and the network reads their last tokens. `kept`: the rows that remain."""
        count, width = tokens.shape
        first = torch.arange(count, device=self.device)[:, None] * width
        parents = (lanes + first).flatten()
        if (
            width > 1
            and self.plan.sampler is None
            and not torch.equal(parents, torch.arange(count * width, device=self.device))
        ):
            self.state.reorder(parents)
            moved = True
        else:
            moved = False
        if moved or kept is not None:
            rows = lanes + (first if kept is None else kept[:, None] * width)
            self.history = self.history.index_select(0, rows.flatten())
        self.history[:, self.length - 1] = tokens.flatten()
        self.value, self.score = values, score
        place = Tokens(self.places[:, self.length : self.length + 1])
        hidden, _ = self.network.decode(tokens.reshape(-1, 1), place, self.memory, self.state)
        self.hidden = hidden[:, -1]

    def agreed(self, row: int) -> list[int]:
        """The ids with which every hypothesis of the open source `row` begins that can still be its best."""
        width, best_rank = self.plan.width, self.pool.rank[row, 0]
        able = (self._bound(self.value)[row] > best_rank).tolist()
        rows = self.history.view(-1, width, self.capacity)[row, :, : self.length].tolist()
        running = [ids for ids, is_able in zip(rows, able, strict=True) if is_able]
        if best_rank > NEVER:
            running.append(self.pool.ids[row, 0, : self.pool.length[row, 0]].tolist())
        return common_prefix(running)


def common_prefix(rows: Sequence[Sequence[int]]) -> list[int]:
    """The longest list that all of `rows` begin with."""
    shared: list[int] = []
    for column in zip(*rows, strict=False):
        if any(id != column[0] for id in column):
            break
        shared.append(column[0])
    return shared


def label_log_p(network: EncoderDecoder, hidden: Tensor, labels: Tensor, *, chunk: int = 1024) -> Tensor:
    """The log-probability of labels (n,) after hidden (n, D), float32 or finer; the logits exist for `chunk` of them at a time."""
    parts = []
    for start in range(0, labels.shape[0], chunk):
        logits = network.logits(hidden[start : start + chunk])
        log_p = (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(-1)
        parts.append(log_p.gather(1, labels[start : start + chunk, None])[:, 0])
    return torch.cat(parts) if parts else hidden.new_zeros(0)


def _rows(rows: Sequence[list[int]], device: torch.device) -> tuple[Tensor, Tokens]:
    """Rows of ids on `device`, with their tokens: one shared row of positions where no row is padded, so that masks are shared too."""
    ids, tokens = pad(rows, pad_id=0)  # any id will do: the network reads zeros there
    even = all(len(row) == len(rows[0]) for row in rows)
    return ids.to(device), Tokens((tokens.pos[:1] if even else tokens.pos).to(device))
