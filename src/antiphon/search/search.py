"""The search: one step function for greedy, sampling and beam search, over all sources of a batch at once.

The hypotheses of a source are contiguous rows, W of them, and all there is to them is tensors; nothing loops over
hypotheses. A step asks the network for the next tokens, takes the best candidates, moves those that end into the
source's pool, and lets the best of the others go on. A source is finished when no open hypothesis can still come among
the first `n_best` of its pool, over every length that it may reach; it then leaves the batch at once. Greedy search is
a beam of one, and sampling differs in how a hypothesis takes its next token. Groups of hypotheses (diverse beam search)
choose one after the other within a step, and share the pool.

    search = Search(network, [Request(source=[5, 6, 2], limit=40)], plan)
    while search.open:
        finished = search.step()          # [(place, [Hypothesis, ...]), ...]

Shapes: N sources, W hypotheses of each in G groups, R = N·W, C candidates of a group, V ids, T the longest answer.
References: Huang et al. 2017, "When to Finish?" (stopping by a bound); Wu et al. 2016, section 7 (penalties);
Vijayakumar et al. 2018, "Diverse Beam Search".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.mixers import Memory
from antiphon.runtime.inference import as_rows, evaluating, label_log_p
from antiphon.runtime.policy import make_stepper
from antiphon.runtime.runtime import Runtime
from antiphon.runtime.stepper import DecodeStepper
from antiphon.search.bounds import Bounds, begun, least_tokens, wanted_of
from antiphon.search.constraint_state import ConstraintState
from antiphon.search.coverage import Coverage
from antiphon.search.hypotheses import FinishedHypotheses, Hypothesis, Request, SearchConfig, common_prefix
from antiphon.search.processing import processed
from antiphon.search.processors import NEVER
from antiphon.search.sampling import HypothesisRandom
from antiphon.search.selecting import (
    Candidates,
    banked_candidates,
    best_candidates,
    in_their_places,
    merged,
)
from antiphon.search.waiting import RequestQueue

LEAST = 8  # sources join where one in so many places is free
Finished = list[tuple[int, list[Hypothesis]]]


class Search:
    """A batch of requests on its way.

    `open` holds the places in `requests` of those that are not finished, one for each source that still runs. What the
    hypotheses hold: `history` (R, T), `lengths` (N,) tokens of it; `score` (N, W), the model's own sums; `value`
    (N, W), the sums that the search compares, without what was forced, -inf where there is no hypothesis.

    `waiting` are requests that take the places of finished ones, where the search can do that (`joins`); they are
    counted behind `requests`, and none has a longer source, limit or prefix than the longest of those. Until one has
    joined, all answers have `length` tokens.
    """

    def __init__(
        self,
        network: EncoderDecoder | Runtime,
        requests: Sequence[Request],
        plan: SearchConfig,
        waiting: Iterable[Request] = (),
    ) -> None:
        self.runtime = Runtime.of(network)
        self.network = network = self.runtime.network
        self.plan, self.device = plan, network.device
        self.open = list(range(len(requests)))
        self._waiting, self._count, self._joined = RequestQueue(waiting), len(requests), False
        count, width = len(requests), plan.width
        with evaluating(network):
            self.bounds = Bounds(requests, plan, device=self.device)
            self.capacity = self.bounds.capacity
            source, tokens = as_rows([request.source for request in requests], self.device)
            memory = network.encode(source, tokens, window=plan.window)
            self.guard, self.coverage = self._guard(requests), None
            self.stepper = self._stepper(memory)
            self.score, self.value = begun(count, plan, device=self.device)
            self.pool, self.pooled = FinishedHypotheses(count, width, self.capacity, self.score), False
            self.ended = torch.zeros(count, dtype=torch.long, device=self.device)  # hypotheses of each source
            self.history = torch.zeros((count * width, self.capacity), dtype=torch.long, device=self.device)
            keys = torch.tensor([request.row + (request.piece << 32) for request in requests], device=self.device)
            self.dice = None if plan.sampler is None else HypothesisRandom(plan.seed, keys, width)
            if plan.coverage_penalty:
                crosses, valid = [cross for _, cross in self.stepper.state.layers], memory.tokens.valid
                self.coverage = Coverage(crosses, valid, width=width, weight=plan.coverage_penalty)
            self._begin()

    def _stepper(self, memory: Memory) -> DecodeStepper:
        """What asks the network; for the best ids alone, where nothing else acts on what may follow."""
        plan = self.plan
        wanted = None if self.guard is not None else wanted_of(plan, self.bounds)
        self.least_length = self.bounds.longest_prefix + least_tokens(plan)
        alike = self.least_length == 0 and not plan.marks.closes and plan.coverage_penalty == 0
        return make_stepper(
            self.runtime,
            memory,
            width=plan.width,
            capacity=self.capacity,
            wanted=wanted,
            records=False if plan.coverage_penalty else None,  # the weights of each step are looked at
            window=plan.window,
            joins=wanted is not None and alike and bool(self._waiting),
        )

    def _guard(self, requests: Sequence[Request]) -> ConstraintState | None:
        """The restrictions, behind as much of the prefixes as is read at once; None where there are none."""
        restrictions = [request.restriction for request in requests]
        if not any(restrictions):
            return None
        width = self.plan.width
        guard = ConstraintState(restrictions, width=width, size=self.network.vocab_size, device=self.device)
        lanes = torch.arange(width).expand(len(requests), -1)
        before = len(self.plan.marks.first)  # the first tokens stand before what is restricted
        for ids in self.bounds.prefix[:, before : self.bounds.common_prefix].T:
            tokens = ids[:, None].expand(-1, width)
            guard.follow(lanes, tokens, torch.ones_like(tokens, dtype=torch.bool))
        return guard

    def _begin(self) -> None:
        """The first input: the start token and as much of the prefixes as every row has, read at once."""
        count, width = self.value.shape
        self.length = self.bounds.common_prefix
        self.lengths: Tensor = torch.full((count,), self.length, device=self.device)
        forced = self.bounds.prefix[:, : self.length]
        self.history[:, : self.length] = forced.repeat_interleave(width, 0)
        start = self.history.new_full((count * width, 1), self.plan.marks.start)
        if self.length == 0:
            self._advance(start.flatten())
            return
        ids, places = torch.cat([start, self.history[:, : self.length]], 1), torch.arange(self.length + 1)
        tokens = Tokens(places[None].to(self.device))
        hidden = self.stepper.read(ids, tokens, hold=self.length < self.least_length)
        if self.coverage is not None:
            self.coverage.read()
        own = label_log_p(self.network, hidden[::width, :-1].flatten(0, 1), forced.flatten())
        # The first tokens that every answer has tell nothing of this one.
        counted = own.view(count, -1)[:, len(self.plan.marks.first) :]
        self.score += counted.to(self.score).sum(1, keepdim=True)

    def _advance(self, ids: Tensor) -> None:
        """The network reads one token of each hypothesis, (R,)."""
        places = self.lengths if self.stepper.joins else self.length
        self.stepper.step(ids, places, hold=self.length < self.least_length)
        if self.coverage is not None:
            self.coverage.read()

    def step(self) -> Finished:
        """One more token for each open source; those that this finished, with their hypotheses, best first."""
        with evaluating(self.network):
            plain = self._plain
            lanes, tokens, values, picked = self._best() if plain else self._any()
            score = (self.score.gather(1, lanes.flatten(1)) + picked).view_as(values)
            if not plain and (self.plan.processors or self.guard is not None):
                self._rescue(values)
            self.length += 1
            self.lengths += 1
            chosen = self._part(lanes, tokens, values, score)
            finished, kept = self._settle(chosen[2])
            if kept is not None:
                chosen = tuple(part.index_select(0, kept) for part in chosen)
            if self.open or (self._waiting and self.stepper.joins):
                self._follow(*chosen, kept=kept)
            else:
                self.stepper.end()
            return finished

    @property
    def _plain(self) -> bool:
        """Whether nothing but the model's probabilities says what follows."""
        ends = self.plan.marks.closes and self.length + 1 >= self.bounds.least_limit
        return self.stepper.best is not None and self.length >= self.bounds.longest_prefix and not ends

    def _best(self) -> tuple[Tensor, ...]:
        """The candidates (N, 1, C) of the best ids that the stepper found, and what they add, (N, C)."""
        assert self.stepper.best is not None
        lanes, tokens, values, picked = merged(*self.stepper.best, self.value)
        return lanes[:, None], tokens[:, None], values[:, None], picked

    def _any(self) -> tuple[Tensor, ...]:
        """The candidates (N, G, C) under whatever acts on the scores, and what the model says of them, (N, G·C)."""
        own, scores = processed(
            self.stepper.logits,
            self.history[:, : self.length],
            plan=self.plan,
            bounds=self.bounds,
            guard=self.guard,
            alive=self.value > NEVER,
        )
        lanes, tokens, values = self._choose(own, scores)
        at = lanes.flatten(1) * own.shape[1] + tokens.flatten(1)
        return lanes, tokens, values, own.view(lanes.shape[0], -1).gather(1, at)

    def _choose(self, own: Tensor, scores: Tensor) -> Candidates:
        """The candidates of each source, (N, G, C), best first: which hypothesis goes on, its next token, the sums."""
        count, width = self.value.shape
        if self.plan.sampler is not None:
            assert self.dice is not None
            tokens = self.plan.sampler.draw(scores, self.dice.roll(self.length).flatten())
            gained = scores.gather(1, tokens[:, None]).view(count, width)
            return self._lanes()[:, None], tokens.view(count, 1, width), (self.value + gained)[:, None]
        scores, size = scores.view(count, width, -1), width // self.plan.groups
        if self.plan.groups == 1:
            lanes, tokens, values = self._candidates(own, scores, slice(None))
            return lanes[:, None], tokens[:, None], values[:, None]
        said = torch.zeros_like(scores[:, 0])  # (N, V): how many hypotheses of the groups so far take each token
        found: list[Candidates] = []
        for first in range(0, width, size):
            group = slice(first, first + size)
            # The penalty steers this choice alone; the sums go on without it, so that groups can be compared.
            kept = scores[:, group]
            lanes, tokens, _ = self._candidates(own, kept - self.plan.diversity_penalty * said[:, None], group)
            gained = kept.flatten(1).gather(1, lanes * kept.shape[2] + tokens)
            values = self.value[:, group].gather(1, lanes) + gained
            found.append((lanes + first, tokens, values))
            going = ((tokens != self.plan.marks.end) & (values > NEVER)).to(said)
            said.scatter_add_(1, tokens, going * (going.cumsum(1) <= size))
        lanes, tokens, values = (torch.stack(parts, 1) for parts in zip(*found, strict=True))
        return lanes, tokens, values

    def _candidates(self, own: Tensor, scores: Tensor, group: slice) -> Candidates:
        """The candidates (N, C) of a group from its hypotheses' scores (N, W/G, V)."""
        value, guard = self.value[:, group], self.guard
        if guard is None or not guard.banks:
            return best_candidates(scores, value)
        own, progress, costs = (
            part.view(self.value.shape[0], -1, own.shape[1])[:, group] for part in (own, guard.progress(), guard.costs)
        )
        return banked_candidates(
            scores,
            value,
            banks=costs * guard.banked[:, :, None],
            progress=progress,
            ending=own[:, :, self.plan.marks.end] >= own.amax(2),
        )

    def _lanes(self) -> Tensor:
        """(N, W): each hypothesis itself."""
        count, width = self.value.shape
        return torch.arange(width, device=self.device).expand(count, -1)

    def _part(self, lanes: Tensor, tokens: Tensor, values: Tensor, score: Tensor) -> tuple[Tensor, ...]:
        """Of the candidates (N, G, C) those of each source that go on, (N, W); those that end enter the pool."""
        width = self.value.shape[1] // self.plan.groups
        ended = tokens == self.plan.marks.end
        if bool(ended.any()):
            first = (values.masked_fill(~ended, NEVER), score, lanes, tokens)
            self._collect(*(part[:, :, :width].flatten(1) for part in first))
            values = values.masked_fill(ended, NEVER)
            if values.shape[2] > width:
                going = ended.to(torch.uint8).sort(dim=2, stable=True).indices
                lanes, tokens, values, score = (part.gather(2, going) for part in (lanes, tokens, values, score))
        lanes, tokens, values, score = (part[:, :, :width].flatten(1) for part in (lanes, tokens, values, score))
        if self.plan.groups == 1 and width > 1:
            order = in_their_places(lanes)
            lanes, tokens, values, score = (part.gather(1, order) for part in (lanes, tokens, values, score))
        if self._joined or self.length >= self.bounds.least_limit:
            at_limit = (self.bounds.limit == self.lengths)[:, None]
            self._collect(values.masked_fill(~at_limit, NEVER), score, lanes, tokens)
            values = values.masked_fill(at_limit, NEVER)
        return lanes, tokens, values, score

    def _collect(self, values: Tensor, score: Tensor, lanes: Tensor, tokens: Tensor | None) -> None:
        """Put candidates (N, C) with a value above -inf into the pool, their tokens behind what they held."""
        history = self.history.view(lanes.shape[0], -1, self.capacity)
        ids = history.gather(1, lanes[:, :, None].expand(-1, -1, self.capacity))
        if tokens is not None:
            ids.scatter_(2, (self.lengths - 1)[:, None, None].expand(*tokens.shape, 1), tokens[:, :, None])
        rank = values / self.bounds.penalty(self.lengths)
        if self.coverage is not None:
            rank = rank + self.coverage.penalty().gather(1, lanes)
        self.pool.enter(rank, score, ids, self.lengths, unique=self.plan.groups > 1)
        self.ended += (rank > NEVER).sum(1)
        self.pooled = True

    def _rescue(self, values: Tensor) -> None:
        """Where the processors leave no token and nothing has ended, the hypotheses as they stand are the answers."""
        stuck = (values.flatten(1).amax(1) == NEVER) & (self.pool.rank[:, 0] == NEVER)
        if bool(stuck.any()):
            self._collect(self.value.masked_fill(~stuck[:, None], NEVER), self.score, self._lanes(), None)

    def _bound(self, values: Tensor) -> Tensor:
        """(N, W): the best rank that open hypotheses with these sums may end with.

        Sums never rise, and the penalty is monotone in the length: one end of what can be reached is the best. The
        coverage penalty, which may yet become zero, is left out.
        """
        ends = (self.lengths + 1, self.bounds.limit)
        return torch.maximum(*(values / self.bounds.penalty(length) for length in ends))

    def _settle(self, values: Tensor) -> tuple[Finished, Tensor | None]:
        """The finished sources, which leave the batch; and the rows of the others, if any left."""
        if not self.pooled:
            return [], None
        # Written so that NaN is done: it will be reported, not waited for.
        done = ~(self.pool.rank[:, self.plan.n_best - 1] < self._bound(values).amax(1))
        if self.plan.patience is not None:
            done |= self.ended >= max(self.plan.patience * self.plan.width, self.plan.n_best)
        if not bool(done.any()):
            return [], None
        leaving, staying = done.nonzero()[:, 0].tolist(), (~done).nonzero()[:, 0]
        end, n_best = self.plan.marks.end, self.plan.n_best
        finished = [(self.open[row], self.pool.read(row, n_best, end)) for row in leaving]
        if staying.numel() or (self._waiting and self.stepper.joins):
            staying = self._drop(staying)
        self.open = [self.open[row] for row in staying.tolist()]
        return finished, staying

    def _drop(self, kept: Tensor) -> Tensor:
        """Only the sources `kept` (n,) remain, in the order that is given back; `history`, `value` and `score` follow
        with their next tokens."""
        kept = self.stepper.keep(kept)
        self.pool.select(kept)
        self.lengths, self.ended = (leaf.index_select(0, kept) for leaf in (self.lengths, self.ended))
        self.bounds.select(kept)
        if self.dice is not None:
            self.dice.select(kept)
        if self.guard is not None:
            self.guard.select(kept)
            if not any(self.guard.restrictions):
                self.guard = None
        if self.coverage is not None:
            self.coverage.drop(kept)
        return kept

    def _follow(self, lanes: Tensor, tokens: Tensor, values: Tensor, score: Tensor, *, kept: Tensor | None) -> None:
        """The hypotheses become these, (N, W), of the sources `kept`, and the network reads their last tokens."""
        count, width = values.shape
        places = torch.arange(count, device=self.device)
        # Greedy search and sampling never reorder; a beam whose hypotheses all stay in their places need not.
        moves = width > 1 and self.plan.sampler is None and not torch.equal(lanes, self._lanes()[:1].expand_as(lanes))
        if moves:
            self.stepper.state.reorder((lanes + places[:, None] * width).flatten())
        if moves or kept is not None:
            rows = lanes + (places if kept is None else kept)[:, None] * width
            self.history = self.history.index_select(0, rows.flatten())
            if self.coverage is not None:
                self.coverage.select(rows.flatten())
        at = (self.lengths - 1)[:, None].expand(-1, width).reshape(-1, 1)
        self.history.scatter_(1, at, tokens.reshape(-1, 1))
        self.value, self.score = values, score
        if self.guard is not None:
            self.guard.follow(lanes, tokens, values > NEVER)
        ids = tokens.reshape(-1)
        self._advance(torch.cat([ids, self._join()]) if self._waiting and self.stepper.free else ids)

    @property
    def count(self) -> int:
        """How many of the requests, and of those that waited, were begun."""
        return self._count

    def _join(self) -> Tensor:
        """Some that wait take the places of some that left, if enough of them are free: their first input, (n·W,)."""
        free, width = self.stepper.free, self.plan.width
        if free * LEAST < self.stepper.slots and self.open:
            return self.history.new_empty(0)
        requests: list[Request] = []
        for some, state in self._waiting.take(free, encode=self.stepper.prepared):
            self.stepper.join(state, len(some))
            requests += some
        count = len(requests)
        self.bounds.join(Bounds(requests, self.plan, device=self.device))
        score, value = begun(count, self.plan, device=self.device)
        self.score, self.value = torch.cat([self.score, score]), torch.cat([self.value, value])
        self.pool.join(count)
        self.history = torch.cat([self.history, self.history.new_zeros((count * width, self.capacity))])
        zeros = self.lengths.new_zeros(count)
        self.lengths, self.ended = torch.cat([self.lengths, zeros]), torch.cat([self.ended, zeros])
        self.open += range(self._count, self._count + count)
        self._count += count
        self._joined = True
        return self.history.new_full((count * width,), self.plan.marks.start)

    def agreed(self, row: int) -> list[int]:
        """The ids with which every hypothesis of the open source `row` begins that can still become its best."""
        best_rank, width = self.pool.rank[row, 0], self.value.shape[1]
        able = (self._bound(self.value)[row] > best_rank).nonzero()[:, 0]
        running = self.history[row * width + able, : self.length].tolist()
        if best_rank > NEVER:
            running.append(self.pool.ids[row, 0, : self.pool.length[row, 0]].tolist())
        return common_prefix(running)
