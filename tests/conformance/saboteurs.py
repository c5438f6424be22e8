"""Attentions that break a law on purpose, and one of a user's own that keeps all of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from antiphon.batch import Tokens
from antiphon.errors import ConfigError
from antiphon.nn import Additive, KeyValueCache, Memory, Mixer, ScoreRule, State, Window


class Running(Mixer):
    """The sum of the values so far, over the root of their number: keeps every law, in a decoder."""

    packs = False

    def setup(self, *, d_model: int, role: str, **other: Any) -> None:
        if role != "decoder":
            raise ConfigError(f"`Running` is a decoder's, but was given the role {role}.")
        self.v, self.o = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)

    def begin(self, rows: int, capacity: int, memory: Memory | None = None) -> State:
        weight = self.v.weight
        return State(hypothesis={"total": weight.new_zeros(rows, weight.shape[0], dtype=self.wide)})

    @property
    def wide(self) -> torch.dtype:
        return torch.promote_types(self.v.weight.dtype, torch.float32)

    def forward(self, x: Tensor, tokens: Tokens, state: State | None) -> tuple[Tensor, State | None]:
        new = self.v(x).to(self.wide).masked_fill(~tokens.valid[..., None], 0.0)
        total = new.cumsum(1)
        if state is not None:
            total = total + self.before(state)[:, None]
            self.keep(state, total[:, -1])
        return self.o((total / (tokens.pos[..., None].clamp(min=0) + 1).sqrt()).to(x.dtype)), state

    def before(self, state: State) -> Tensor:
        return state.hypothesis["total"]

    def keep(self, state: State, total: Tensor) -> None:
        state.hypothesis["total"].copy_(total)


class Narrow(Additive):
    def forward(self, x: Tensor, tokens: Tokens, state: State | None) -> tuple[Tensor, State | None]:
        y, state = super().forward(x, tokens, state)
        return y[..., :8], state


class Peeks(Running):
    def forward(self, x: Tensor, tokens: Tokens, state: State | None) -> tuple[Tensor, State | None]:
        y, state = super().forward(x, tokens, state)
        return y + 0.1 * x.sum(1, keepdim=True), state


class Diluted(Additive):
    """Counts padding."""

    def forward(self, x: Tensor, tokens: Tokens, state: State | None) -> tuple[Tensor, State | None]:
        y, state = super().forward(x, tokens, state)
        return y / x.shape[1], state


class RowNumber(ScoreRule):
    additive = True

    def score(self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return score + 0.3 * batch * k_pos


class SegmentBlind(Additive):
    def forward(self, x: Tensor, tokens: Tokens, state: State | None) -> tuple[Tensor, State | None]:
        return super().forward(x, Tokens(tokens.pos), state)


class Leaks(Additive):
    """Too little of the padding for any tolerance."""

    def forward(self, x: Tensor, tokens: Tokens, state: State | None) -> tuple[Tensor, State | None]:
        y, state = super().forward(x, tokens, state)
        return y + 1e-25 * x.sum(1, keepdim=True), state


class ReadsRoom(Additive):
    """Reads places of its cache that nothing was put into."""

    def forward(self, x: Tensor, tokens: Tokens, state: State | None) -> tuple[Tensor, State | None]:
        y, state = super().forward(x, tokens, state)
        return (y + 0 * state.hypothesis["k"].sum() if isinstance(state, KeyValueCache) else y), state


class Hides(ScoreRule):
    additive = True

    def mask(self, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return (q_pos % 7 != 3) | (head != 2) | (k_pos < 0)


class Deaf(Running):
    """Says nothing at position 3."""

    def forward(self, x: Tensor, tokens: Tokens, state: State | None) -> tuple[Tensor, State | None]:
        y, state = super().forward(x, tokens, state)
        return y.masked_fill(tokens.pos[..., None] == 3, 0.0), state


class Centred(ScoreRule):
    """Looks at other keys, by a reduction; softmax hides that."""

    def score(self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return score - 0.5 * score.amax(-1, keepdim=True)


class BareMask(ScoreRule):
    """A mask that broadcasts as tables, and is no single number for single positions."""

    additive = True

    def mask(self, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return (q_pos - k_pos).abs().view(1, *q_pos.shape[1:3], -1) < 3


class Doubles(ScoreRule):
    additive = True

    def score(self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return 2 * score


class Lies(ScoreRule):
    """Sees further than it says."""

    additive = True
    reach = (2, 2, 0)


class Moody(ScoreRule):
    additive = True
    calls = 0

    def score(self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        self.calls += 1
        return score + 0.1 * self.calls * k_pos


class Forgets(Running):
    def before(self, state: State) -> Tensor:
        return torch.zeros_like(state.hypothesis["total"])


class Roomy(Running):
    """Depends on how much room its cache has."""

    def begin(self, rows: int, capacity: int, memory: Memory | None = None) -> State:
        state = super().begin(rows, capacity, memory)
        state.hypothesis["total"] += 0.01 * (capacity > 12)
        return state


class Counted(State):
    steps = 0


class Counts(Running):
    """Counts its steps in Python, where all rows have one number."""

    def begin(self, rows: int, capacity: int, memory: Memory | None = None) -> State:
        return Counted(hypothesis=super().begin(rows, capacity, memory).hypothesis)

    def forward(self, x: Tensor, tokens: Tokens, state: State | None) -> tuple[Tensor, State | None]:
        y, state = super().forward(x, tokens, state)
        start = state.steps if isinstance(state, Counted) else 0
        if isinstance(state, Counted):
            state.steps += x.shape[1]
        return y + 0.1 * torch.arange(start, start + x.shape[1])[None, :, None], state


class Loose(State):
    total: Tensor


class Aside(Running):
    """Keeps its sums where `reorder` does not find them."""

    def begin(self, rows: int, capacity: int, memory: Memory | None = None) -> State:
        state = Loose()
        state.total = super().begin(rows, capacity, memory).hypothesis["total"]
        return state

    def before(self, state: State) -> Tensor:
        assert isinstance(state, Loose)
        return state.total

    def keep(self, state: State, total: Tensor) -> None:
        assert isinstance(state, Loose)
        state.total = total


class Together(Additive):
    """Queries that know of each other."""

    def forward(self, x: Tensor, tokens: Tokens, state: State | None) -> tuple[Tensor, State | None]:
        y, state = super().forward(x, tokens, state)
        return y + x.mean(1, keepdim=True), state


class HalfGradient(ScoreRule):
    def score(self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return 0.5 * score + (0.5 * score).detach()


class Roots(ScoreRule):
    """Is no number at hidden pairs."""

    additive = True

    def setup(self, *, num_heads: int, head_dim: int, role: str) -> None:
        self.rate = nn.Parameter(torch.ones(num_heads))

    def score(self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return score - self.rate[head] * (q_pos - k_pos).sqrt()


class Idle(Additive):
    def make(self, *, d_model: int, bias: bool) -> None:
        super().make(d_model=d_model, bias=bias)
        self.spare = nn.Parameter(torch.ones(3))


class Stale(ScoreRule):
    """Computes its bias once and for all."""

    additive = True
    kept: Tensor | None = None

    def setup(self, *, num_heads: int, head_dim: int, role: str) -> None:
        self.slope = nn.Parameter(torch.ones(num_heads))

    def score(self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        if self.kept is None:
            self.kept = self.slope[head] * (q_pos - k_pos).abs()
        return score - self.kept


class OwnDice(Additive):
    """Dropout from a generator of its own."""

    def make(self, *, d_model: int, bias: bool) -> None:
        super().make(d_model=d_model, bias=bias)
        self.dice = torch.Generator().manual_seed(0)

    def forward(self, x: Tensor, tokens: Tokens, state: State | None) -> tuple[Tensor, State | None]:
        kept = torch.rand(x.shape, generator=self.dice, dtype=x.dtype) > 0.3
        return super().forward(x * kept if self.training else x, tokens, state)


class Parity(ScoreRule):
    """Tells odd from even in the type of the queries, which knows few whole numbers."""

    additive = True

    def prepare_q(self, q: Tensor, pos: Tensor) -> Tensor:
        return q * (1 + 2 * (pos.to(q.dtype) % 2))


def changed() -> Window:
    """A window that is not what it was made with."""
    rule = Window(2)
    rule.window = 6
    return rule


class Branches(ScoreRule):
    additive = True

    def mask(self, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return k_pos >= (0 if bool((q_pos > 3).any()) else -1)


class Guesses(Running):
    """Guesses from a shape that it is decoding."""

    def forward(self, x: Tensor, tokens: Tokens, state: State | None) -> tuple[Tensor, State | None]:
        y, state = super().forward(x, tokens, state)
        return (1.5 * y if x.shape[1] == 1 else y), state


class Raises(ScoreRule):
    def score(self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        raise ValueError("no such\nbias")


class WrongShape(ScoreRule):
    additive = True

    def score(self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return torch.zeros(2, 2)


class WrongType(ScoreRule):
    additive = True

    def mask(self, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return (q_pos - k_pos).abs()
