"""Greedy, beam, diverse beam and sampling search: one step function, for all sources of a batch at once.

    search = Search(network, [Request(source=[5, 6, 2], limit=40)], config)
    while search.open:
        finished = search.step()          # [(request index, [Hypothesis, ...]), ...]

A step asks the network for the scores of the next tokens, chooses the best candidates, moves those that end to the
finished hypotheses of their source, and lets the best of the others go on. A source leaves the batch as soon as it is
finished (`stopping.py`), and a waiting one may take its place. Greedy search is a beam of one. Sampling draws the next
token of each hypothesis instead of comparing candidates.

Shapes: N sources, W hypotheses of each in G groups, R = N·W, C candidates of a group, V ids. The hypotheses of a source
are contiguous rows. References: Wu et al. 2016, section 7 (beam search with penalties); Vijayakumar et al. 2018
(diverse beam search).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from antiphon.models.protocol import Seq2Seq
from antiphon.nn.mixers import Memory
from antiphon.runtime.encoding import encode_sources
from antiphon.runtime.inference import evaluating, label_log_p, sum_type
from antiphon.runtime.policy import make_stepper
from antiphon.runtime.runtime import Runtime
from antiphon.runtime.stepper import DecodeStepper, JoinSize
from antiphon.search.candidates import Candidates, order_by_parent, top_k_request
from antiphon.search.config import SearchConfig
from antiphon.search.constants import NEG_INF
from antiphon.search.coverage import Coverage
from antiphon.search.hypotheses import Hypothesis, common_prefix
from antiphon.search.next_token.choose import candidates_of_all_ids, candidates_of_top_ids, forced_ends
from antiphon.search.request_queue import Prepared, RequestQueue, Waiting
from antiphon.search.requests import Request
from antiphon.search.search_size import SearchSize
from antiphon.search.state import SearchState
from antiphon.search.stopping import is_finished, max_rank

MIN_FREE_FRACTION = 1 / 8  # of a batch's sources: so many must have left before waiting ones join
Finished = list[tuple[int, list[Hypothesis]]]


class Search:
    """The search for the answers to a batch of requests, whose prefixes have one length.

    `size`: requests may join (`add`) that fit it; None: there are no others. Where the decoding step cannot have
    sources at different positions, `joins` is False and none may. A request has the index of its arrival: those of
    `requests` come first. `state` holds the open sources.
    """

    def __init__(
        self,
        network: Seq2Seq | Runtime,
        requests: Sequence[Request],
        config: SearchConfig,
        *,
        size: SearchSize | None = None,
    ) -> None:
        self.runtime = Runtime.of(network)
        self.network = network = self.runtime.network
        self.config, self.device = config, network.device
        self.num_requests, self._queue = len(requests), RequestQueue()
        self._any_joined = self._any_ended = False
        self._cancelled: set[int] = set()
        self._prefix_length = len(requests[0].prefix)
        assert all(len(each.prefix) == self._prefix_length for each in requests), "prefixes must have one length"
        with evaluating(network):
            sources = [request.source for request in requests]
            memory = encode_sources(self.runtime, sources, window=config.window)
            longest = max(len(request.source) for request in requests)
            self.size = SearchSize.of(requests) if size is None else size.over(memory, longest)
            self.state = self._start(requests)
            self.stepper = self._make_stepper(memory, joins=size is not None)
            self.joins = self.stepper.joins
            if config.coverage_penalty:
                self.state.coverage = Coverage(
                    [cross for _, cross in self.stepper.state.layers],
                    memory.tokens.valid,
                    sources=len(requests),
                    width=config.width,
                    weight=config.coverage_penalty,
                )
            if config.ctc_weight:
                self.state.read_frames(self.network, memory, requests, config)
            ids = self._prefix_ids(requests)
            if ids is not None:
                hidden = self.stepper.read(ids)
                if self.state.coverage is not None:
                    self.state.coverage.update()
                self.state.score += self._prefix_scores(requests, hidden)[:, None]
            self._length = self._prefix_length
            self._read(self._next_ids(requests))

    @property
    def open(self) -> list[int]:
        """The request indices of the sources that are not finished."""
        return self.state.request_index

    @property
    def busy(self) -> bool:
        """Whether a source is open or waits."""
        return bool(self.open or self._queue)

    def add(self, requests: Sequence[Request]) -> range:
        """Let requests join as soon as places are free. Returns their indices."""
        assert self.joins and all(map(self.size.fits, requests))
        indices = range(self.num_requests, self.num_requests + len(requests))
        self._queue.add(map(Waiting, indices, requests))
        self.num_requests += len(requests)
        return indices

    def cancel(self, index: int) -> None:
        """Drop a request. If it is being decoded, it leaves before the network runs again."""
        if not self._queue.remove(index):
            self._cancelled.add(index)

    def step(self) -> Finished:
        """One more token for each open source. Returns the sources that it finished: their index and hypotheses.

        There are no hypotheses if the network returned NaN.
        """
        with evaluating(self.network):
            finished, chosen = self._choose() if self.open else ([], None)
            ids = self.state.history.new_empty(0) if chosen is None else self._advance(chosen)
            if self._queue and self.stepper.free:
                ids = torch.cat([ids, self._join()])
            if ids.numel():
                self.stepper.shrinks = not (self.joins and (self._queue or self.size.stays))
                self._read(ids)
            elif not self.joins:
                self.stepper.end()
            return finished

    def certain_ids(self, rows: Iterable[int]) -> list[list[int]]:
        """For each of the open sources `rows` the ids with which every hypothesis begins that can still be the best."""
        state, width = self.state, self.config.width
        able = None if width == 1 else max_rank(state, state.value) > state.finished.rank[:, :1]
        found = []
        for row in rows:
            length = int(state.lengths[row]) if self._any_joined else self._length
            kept = state.history[row] if able is None else state.history[row, able[row].nonzero()[:, 0]]
            possible = kept[:, :length].tolist()
            if state.finished.rank[row, 0] > NEG_INF:
                possible.append(state.finished.ids[row, 0, : state.finished.length[row, 0]].tolist())
            found.append(common_prefix(possible))
        return found

    def _start(self, requests: Sequence[Request]) -> SearchState:
        """The state of requests that have read their prefixes."""
        state = SearchState.start(
            requests,
            self.config,
            vocab_size=self.network.vocab_size,
            device=self.device,
            capacity=self.size.answer_tokens,
        )
        if requests[0].prefix:
            prefixes = torch.tensor([request.prefix for request in requests], device=self.device)
            state.force(prefixes, constrained_from=len(self.config.special_tokens.first))
        return state

    def _make_stepper(self, memory: Memory, *, joins: bool) -> DecodeStepper:
        """What runs the decoding steps. It returns only the most probable ids if the search needs no others."""
        config = self.config
        own = config.coverage_penalty or config.ctc_weight  # what they hold depends on the longest source
        size = JoinSize(self.size.sources, self.size.positions) if joins and not own else None
        return make_stepper(
            self.runtime,
            memory,
            width=config.width,
            capacity=self.size.answer_tokens,
            wanted=None if self.state.constraints is not None else top_k_request(config),
            records=False if config.coverage_penalty else None,  # coverage needs the weights of every step
            window=config.window,
            joins=size,
        )

    def _prefix_ids(self, requests: Sequence[Request]) -> Tensor | None:
        """The start token and the prefix without its last id, (n·W, P); None if there is no prefix."""
        if not requests[0].prefix:
            return None
        rows = [[self.config.special_tokens.start, *request.prefix[:-1]] for request in requests]
        return torch.tensor(rows, device=self.device).repeat_interleave(self.config.width, 0)

    def _prefix_scores(self, requests: Sequence[Request], hidden: Tensor) -> Tensor:
        """The score (n,) of each prefix, without the forced first tokens, from hidden vectors (n·W, P, D)."""
        first = len(self.config.special_tokens.first)
        forced = torch.tensor([request.prefix for request in requests], device=self.device)
        log_p = label_log_p(self.network, hidden[:: self.config.width].flatten(0, 1), forced.flatten())
        return log_p.view(forced.shape)[:, first:].to(sum_type(self.device)).sum(1)

    def _next_ids(self, requests: Sequence[Request]) -> Tensor:
        """The last id of each prefix, or the start token, (n·W,): the next token that the network reads."""
        start = self.config.special_tokens.start
        last = [request.prefix[-1] if request.prefix else start for request in requests]
        return torch.tensor(last, device=self.device).repeat_interleave(self.config.width)

    def _read(self, ids: Tensor) -> None:
        """The network reads one token of each hypothesis, (R,)."""
        positions = self.state.lengths if self.joins else self._length
        self.stepper.step(ids, positions)
        if self.state.coverage is not None:
            self.state.coverage.update()

    @property
    def _even_length(self) -> int | None:
        """The number of tokens of every open hypothesis; None once sources have joined."""
        return None if self._any_joined else self._length

    def _choose(self) -> tuple[Finished, Candidates | None]:
        """The sources that are finished, and the next hypotheses of the others, None if there are none."""
        best, special = self.stepper.best, self.config.special_tokens
        if best is not None:
            candidates = candidates_of_top_ids(*best, self.state, self.config)
            if special.force_end and (self._any_joined or self._length + 1 >= self.state.limits.min_limit):
                candidates = forced_ends(candidates, self.state, lambda: self.stepper.logits, end=special.end)
        else:
            logits = self.stepper.logits
            candidates = candidates_of_all_ids(logits, self.state, self.config, length=self._even_length)
            if self.config.processors or self.state.constraints is not None:
                self._end_stuck_sources(candidates.values)
        self._length += 1
        self.state.lengths += 1
        chosen = self._collect_ended(candidates)
        finished, staying = self._remove_finished_sources(chosen.values)
        if staying is not None:
            chosen = chosen.select(staying)
        return finished, chosen if self.open else None

    def _collect_ended(self, candidates: Candidates) -> Candidates:
        """Collect the candidates (N, G, C) that end, or are at their limit; return those that go on, (N, W)."""
        state, size = self.state, self.config.width // self.config.groups
        ended = candidates.tokens == self.config.special_tokens.end
        if bool(ended.any()):
            ending = candidates._replace(values=candidates.values.masked_fill(~ended, NEG_INF))
            self._collect(ending.first(size))
            candidates = candidates._replace(values=candidates.values.masked_fill(ended, NEG_INF))
            if ended.shape[2] > size:
                candidates = candidates.gather(ended.to(torch.uint8).sort(dim=2, stable=True).indices)
        chosen = candidates.first(size)
        if self.config.groups == 1 and self.config.width > 1:
            chosen = chosen.gather(order_by_parent(chosen.parents))
        if self._any_joined or self._length >= state.limits.min_limit:
            at_limit = (state.limits.limit == state.lengths)[:, None]
            self._collect(chosen._replace(values=chosen.values.masked_fill(~at_limit, NEG_INF)))
            chosen = chosen._replace(values=chosen.values.masked_fill(at_limit, NEG_INF))
        return chosen

    def _collect(self, candidates: Candidates, *, with_tokens: bool = True) -> None:
        """`SearchState.collect`. Groups may end with equal answers, of which one is enough."""
        self.state.collect(candidates, unique=self.config.groups > 1, with_tokens=with_tokens)
        self._any_ended = True

    def _end_stuck_sources(self, values: Tensor) -> None:
        """Where the processors exclude every token and nothing has ended, the hypotheses so far are the answers."""
        state = self.state
        stuck = (values.flatten(1).amax(1) == NEG_INF) & (state.finished.rank[:, 0] == NEG_INF)
        if bool(stuck.any()):
            value, places = state.value.masked_fill(~stuck[:, None], NEG_INF), state.places
            self._collect(Candidates(places, places, value, state.score), with_tokens=False)

    def _remove_finished_sources(self, values: Tensor) -> tuple[Finished, Tensor | None]:
        """The finished sources, which leave; and the old rows of the others in their new order, None if none left."""
        if not self._any_ended and not self._cancelled:
            return [], None
        leaving = is_finished(self.state, values, self.config)
        cancelled = self._cancelled.intersection(self.open)
        for row in map(self.open.index, cancelled):
            leaving[row] = True
        if not bool(leaving.any()):
            return [], None
        self._cancelled -= cancelled
        n_best, end = self.config.n_best, self.config.special_tokens.end
        results = [
            (self.open[row], self.state.finished.best(row, n_best, end=end))
            for row in leaving.nonzero()[:, 0].tolist()
            if self.open[row] not in cancelled
        ]
        staying = (~leaving).nonzero()[:, 0]
        if staying.numel() or self.joins:
            staying = self.stepper.keep(staying)
        self.state.select(staying)
        return results, staying

    def _advance(self, chosen: Candidates) -> Tensor:
        """The hypotheses become the candidates `chosen` (N, W). Returns their last tokens (N·W,)."""
        width, places = self.config.width, self.state.places
        # Greedy search and sampling never reorder, nor does a beam whose hypotheses all continue themselves.
        reorders = width > 1 and self.config.sampler is None and not torch.equal(chosen.parents, places)
        if reorders:
            first = width * torch.arange(places.shape[0], device=self.device)[:, None]
            self.stepper.state.reorder((chosen.parents + first).flatten())
        self.state.advance(chosen, reorders=reorders)
        return chosen.tokens.reshape(-1)

    def _join(self) -> Tensor:
        """Let waiting sources join if enough places are free; the next input ids of their hypotheses, (n·W,)."""
        free = self.stepper.free
        if free < self.stepper.slots * MIN_FREE_FRACTION and self.open:
            return self.state.history.new_empty(0)
        ids: list[Tensor] = []
        for some, prepared in self._queue.take(free, prepare=self._prepare):
            requests = [each.request for each in some]
            self.stepper.join(prepared.state, len(some))
            joining = self._start(requests)
            joining.request_index = [each.number for each in some]
            joining.score += prepared.scores[:, None]
            self.state.append(joining)
            ids.append(self._next_ids(requests))
        self._any_joined = True
        return torch.cat(ids) if ids else self.state.history.new_empty(0)

    def _prepare(self, requests: Sequence[Request]) -> Prepared:
        """The states of requests that may join, with their prefixes read."""
        state, hidden = self.stepper.prepared([each.source for each in requests], self._prefix_ids(requests))
        if hidden is None:
            return Prepared(state, torch.zeros(len(requests), dtype=sum_type(self.device)))
        return Prepared(state, self._prefix_scores(requests, hidden))
