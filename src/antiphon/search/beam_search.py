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

from antiphon.batch import Tokens
from antiphon.models.protocol import Seq2Seq
from antiphon.nn.mixers import Memory
from antiphon.runtime.inference import as_rows, evaluating, label_log_p
from antiphon.runtime.policy import make_stepper
from antiphon.runtime.runtime import Runtime
from antiphon.runtime.stepper import DecodeStepper
from antiphon.search.candidates import Candidates, order_by_parent, top_k_request
from antiphon.search.config import SearchConfig
from antiphon.search.constants import NEG_INF
from antiphon.search.coverage import Coverage
from antiphon.search.hypotheses import Hypothesis, common_prefix
from antiphon.search.next_token.choose import candidates_of_all_ids, candidates_of_top_ids
from antiphon.search.request_queue import RequestQueue
from antiphon.search.requests import Request
from antiphon.search.state import SearchState
from antiphon.search.stopping import is_finished, max_rank

MIN_FREE_FRACTION = 1 / 8  # of a batch's sources: so many must have left before waiting ones join
Finished = list[tuple[int, list[Hypothesis]]]


class Search:
    """The search for the answers to a batch of requests.

    `waiting` are requests that join when others are finished, where the decoding step can do that (`DecodeStepper`).
    Their indices follow those of `requests`. None may have a longer source, limit or prefix than the longest of
    `requests`. `state` holds the open sources; `length` is the number of tokens of those that were there from the
    beginning; `num_started` counts the requests that were begun.
    """

    def __init__(
        self,
        network: Seq2Seq | Runtime,
        requests: Sequence[Request],
        config: SearchConfig,
        waiting: Iterable[Request] = (),
    ) -> None:
        self.runtime = Runtime.of(network)
        self.network = network = self.runtime.network
        self.config, self.device = config, network.device
        self.num_started, self._queue = len(requests), RequestQueue(waiting)
        self._any_joined = self._any_ended = False
        with evaluating(network):
            self.state = SearchState.start(requests, config, vocab_size=network.vocab_size, device=self.device)
            source, tokens = as_rows([request.source for request in requests], self.device)
            memory = network.encode(source, tokens, window=config.window)
            self.stepper = self._make_stepper(memory)
            if config.coverage_penalty:
                self.state.coverage = Coverage(
                    [cross for _, cross in self.stepper.state.layers],
                    memory.tokens.valid,
                    sources=len(requests),
                    width=config.width,
                    weight=config.coverage_penalty,
                )
            self._read_prefixes()

    @property
    def open(self) -> list[int]:
        """The request indices of the sources that are not finished."""
        return self.state.request_index

    def step(self) -> Finished:
        """One more token for each open source. Returns the sources that it finished: their index and hypotheses."""
        with evaluating(self.network):
            if self._needs_top_ids_only and self.stepper.best is not None:
                candidates = candidates_of_top_ids(*self.stepper.best, self.state)
            else:
                candidates = candidates_of_all_ids(self.stepper.logits, self.state, self.config, length=self.length)
                if self.config.processors or self.state.constraints is not None:
                    self._end_stuck_sources(candidates.values)
            self.length += 1
            self.state.lengths += 1
            chosen = self._collect_ended(candidates)
            finished, staying = self._remove_finished_sources(chosen.values)
            if staying is not None:
                chosen = chosen.select(staying)
            if self.open or self._can_join:
                self._advance(chosen)
            else:
                self.stepper.end()
            return finished

    def certain_ids(self, row: int) -> list[int]:
        """The ids with which every hypothesis begins that can still be the best of the open source `row`."""
        state, best_rank = self.state, self.state.finished.rank[row, 0]
        able = (max_rank(state, state.value)[row] > best_rank).nonzero()[:, 0]
        possible = state.history[row, able, : self.length].tolist()
        if best_rank > NEG_INF:
            possible.append(state.finished.ids[row, 0, : state.finished.length[row, 0]].tolist())
        return common_prefix(possible)

    def _make_stepper(self, memory: Memory) -> DecodeStepper:
        """What runs the decoding steps. It returns only the most probable ids if the search needs no others."""
        config, limits = self.config, self.state.limits
        wanted = None if self.state.constraints is not None else top_k_request(config, limits)
        self._min_length = limits.longest_prefix + config.min_new_tokens  # the end token must not follow before
        is_free = self._min_length == 0 and not config.special_tokens.force_end and config.coverage_penalty == 0
        return make_stepper(
            self.runtime,
            memory,
            width=config.width,
            capacity=limits.capacity,
            wanted=wanted,
            records=False if config.coverage_penalty else None,  # coverage needs the weights of every step
            window=config.window,
            joins=wanted is not None and is_free and bool(self._queue),
        )

    def _read_prefixes(self) -> None:
        """Read the start token, and as many forced tokens as all sources have, in one forward."""
        state, width = self.state, self.config.width
        first = len(self.config.special_tokens.first)
        self.length = state.limits.shortest_prefix
        forced = state.limits.prefix[:, : self.length]
        state.force(forced, constrained_from=first)
        start = state.rows.new_full((state.rows.shape[0], 1), self.config.special_tokens.start)
        if self.length == 0:
            self._read(start.flatten())
            return
        ids, positions = torch.cat([start, state.rows[:, : self.length]], 1), torch.arange(self.length + 1)
        tokens = Tokens(positions[None].to(self.device))
        hidden = self.stepper.read(ids, tokens, suppress_end=self.length < self._min_length)
        if state.coverage is not None:
            state.coverage.update()
        log_p = label_log_p(self.network, hidden[::width, :-1].flatten(0, 1), forced.flatten())
        counted = log_p.view(forced.shape[0], -1)[:, first:]  # the score leaves the forced first tokens out
        state.score += counted.to(state.score).sum(1, keepdim=True)

    def _read(self, ids: Tensor) -> None:
        """The network reads one token of each hypothesis, (R,)."""
        positions = self.state.lengths if self.stepper.joins else self.length
        self.stepper.step(ids, positions, suppress_end=self.length < self._min_length)
        if self.state.coverage is not None:
            self.state.coverage.update()

    @property
    def _needs_top_ids_only(self) -> bool:
        """Whether the next tokens may be chosen among the most probable ids, if the step returns them."""
        limits = self.state.limits
        is_forced = self.length < limits.longest_prefix
        may_force_end = self.config.special_tokens.force_end and self.length + 1 >= limits.min_limit
        return not is_forced and not may_force_end

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
        if self._any_joined or self.length >= state.limits.min_limit:
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
        if not self._any_ended:
            return [], None
        finished = is_finished(self.state, values, self.config)
        if not bool(finished.any()):
            return [], None
        n_best, end = self.config.n_best, self.config.special_tokens.end
        results = [
            (self.open[row], self.state.finished.best(row, n_best, end=end))
            for row in finished.nonzero()[:, 0].tolist()
        ]
        staying = (~finished).nonzero()[:, 0]
        if staying.numel() or self._can_join:
            staying = self.stepper.keep(staying)
        self.state.select(staying)
        return results, staying

    def _advance(self, chosen: Candidates) -> None:
        """The hypotheses become the candidates `chosen` (N, W), waiting sources join, and the network reads the last
        tokens."""
        width, places = self.config.width, self.state.places
        # Greedy search and sampling never reorder, nor does a beam whose hypotheses all continue themselves.
        reorders = width > 1 and self.config.sampler is None and not torch.equal(chosen.parents, places)
        if reorders:
            first = width * torch.arange(places.shape[0], device=self.device)[:, None]
            self.stepper.state.reorder((chosen.parents + first).flatten())
        self.state.advance(chosen, reorders=reorders)
        ids = chosen.tokens.reshape(-1)
        if self._queue and self.stepper.free:
            ids = torch.cat([ids, self._join()])
        self._read(ids)

    @property
    def _can_join(self) -> bool:
        return bool(self._queue) and self.stepper.joins

    def _join(self) -> Tensor:
        """Let waiting sources join if enough places are free; the first input ids of their hypotheses, (n·W,)."""
        free, start = self.stepper.free, self.config.special_tokens.start
        if free < self.stepper.slots * MIN_FREE_FRACTION and self.open:
            return self.state.history.new_empty(0)
        requests: list[Request] = []
        for some, decoder_state in self._queue.take(free, encode=self.stepper.prepared):
            self.stepper.join(decoder_state, len(some))
            requests += some
        joining = SearchState.start(
            requests,
            self.config,
            vocab_size=self.network.vocab_size,
            device=self.device,
            first_index=self.num_started,
            capacity=self.state.limits.capacity,
        )
        self.state.append(joining)
        self.num_started += len(requests)
        self._any_joined = True
        return joining.history.new_full((len(requests) * self.config.width,), start)
