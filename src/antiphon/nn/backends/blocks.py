"""Banded attention: memory linear in length, for rules whose `reach` is bounded on both sides.

The queries of a row are split into blocks. Each block attends to the keys of its own block, of the neighbouring blocks
within the reach of the rule, and to the first keys if the rule always shows them (Beltagy et al. 2020, Longformer,
section 3.1 and appendix A; Xiao et al. 2024, StreamingLLM, for the first keys). Blocks are folded into rows and
computed by the dense back ends, with a `Scores` of the folded tokens: B·N rows of b queries and w keys, N blocks a row.

Blocks are chosen by the index of a key, the rule's reach counts positions. The two agree if the tokens of a segment are
contiguous and their positions increase, which `refuses` checks. Padding on either side and packed segments are allowed.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from antiphon.batch import Tokens
from antiphon.nn.backends.backend import Backend, Dropping, learned
from antiphon.nn.backends.dense import EAGER, SDPA
from antiphon.nn.scores import CachedProperty, Scores

BLOCK = 64  # minimum number of queries in a block


def band(scores: Scores) -> tuple[int, int, int] | None:
    """The reach of a query to the left and to the right, causality included, and the number of first keys that are
    always visible; None if the reach is not bounded."""
    reach = scores.rule.reach
    if reach is None or reach[0] is None:
        return None
    causal = scores.causal and (scores.queries.prefix is None or scores.keys.prefix is None)
    right = 0 if causal else reach[1]
    return None if right is None else (reach[0], right, reach[2])


def block_length(left: int, right: int) -> int:
    """b: half of the longer side of the reach, so that few keys of a block are out of reach of its queries."""
    half = max(left, right) // 2
    return max(BLOCK, (half + 31) // 32 * 32)


def block_keys(left: int, right: int, sinks: int) -> int:
    """w: the keys of the blocks that the queries of a block reach, and the first keys that are always visible."""
    block = block_length(left, right)
    return (-(-left // block) + 1 + -(-right // block)) * block + sinks


def keys_of_a_block(scores: Scores) -> int | None:
    """w, without the first keys of further segments; None if the reach of the rule is not bounded."""
    reach = band(scores)
    if reach is None:
        return None
    return block_keys(*reach)


class BlockFold:
    """Folds rows of one length into blocks and back. The layers of a forward share it."""

    def __init__(self, scores: Scores, rows: int, reach: tuple[int, int, int]) -> None:
        left, right, sinks = reach
        self.rows, self.length = rows, scores.shape[2]
        self.block = block_length(left, right)
        self.count = -(-self.length // self.block)
        self.before, self.behind = -(-left // self.block), -(-right // self.block)  # numbers of neighbouring blocks
        self.first = _first_keys(scores.keys, sinks) if sinks else None
        self.scores = _Folded(scores, self, sinks)

    def queries(self, x: Tensor) -> Tensor:
        """(B, H, L, D) -> (B·N, H, b, D)"""
        return self._cut(x).reshape(-1, x.shape[1], self.block, x.shape[3])

    def keys(self, x: Tensor) -> Tensor:
        """(B, G, L, D) -> (B·N, G, w, D): the keys of the neighbouring blocks, then the first keys of the row."""
        cut = pad(self._cut(x), (0, 0, 0, 0, 0, 0, self.before, self.behind))  # (B, before + N + behind, G, b, D)
        parts = [cut[:, i : i + self.count] for i in range(self.before + 1 + self.behind)]
        if self.first is not None:
            index = self.first[:, None, :, None].expand(x.shape[0], x.shape[1], -1, x.shape[3])
            parts.append(x.gather(2, index)[:, None].expand(-1, self.count, -1, -1, -1))
        return torch.cat(parts, dim=3).flatten(0, 1)

    def back(self, x: Tensor) -> Tensor:
        """(B·N, H, b, D) -> (B, H, L, D)"""
        rows = x.unflatten(0, (-1, self.count)).transpose(1, 2)  # (B, H, N, b, D)
        return rows.flatten(2, 3)[:, :, : self.length]

    def _cut(self, x: Tensor) -> Tensor:
        """(B, H, L, D) -> (B, N, H, b, D)"""
        missing = self.count * self.block - self.length
        x = pad(x, (0, 0, 0, missing)) if missing else x
        return x.unflatten(2, (self.count, self.block)).transpose(1, 2)

    def query_row(self, x: Tensor, fill: int) -> Tensor:
        """A value of each query, such as its position: (B or 1, L) -> (B·N, b)."""
        cut = pad(x, (0, self.count * self.block - self.length), value=fill)
        return cut.expand(self.rows, -1).reshape(-1, self.block)

    def key_row(self, x: Tensor, fill: int, first: Tensor | None) -> Tensor:
        """A value of each key, such as its position: (B or 1, L) -> (B·N, w); `first`: those of the first keys."""
        left, b = self.before * self.block, self.block
        right = self.count * b - self.length + self.behind * b
        cut = (
            pad(x, (left, right), value=fill).expand(self.rows, -1).unflatten(1, (-1, b))
        )  # (B, before + N + behind, b)
        parts = [cut[:, i : i + self.count] for i in range(self.before + 1 + self.behind)]
        if first is not None:
            parts.append(first[:, None].expand(self.rows, self.count, -1))
        return torch.cat(parts, dim=2).flatten(0, 1)


class _Folded(Scores):
    """The scores of the blocks. Hooks of the rule get the index of the row that a block comes from."""

    def __init__(self, scores: Scores, fold: BlockFold, sinks: int) -> None:
        queries, keys = scores.queries, scores.keys
        # The first keys have slots of their own. They are hidden where a window contains them too.
        twice = (keys.pos >= 0) & (keys.pos < sinks)
        near = keys.pos.masked_fill(twice, -1) if sinks else keys.pos
        first = None
        if fold.first is not None:
            first = keys.pos.gather(1, fold.first)
            first = first.where((first >= 0) & (first < sinks), -1)

        def beside_keys(x: Tensor | None, fill: int) -> Tensor | None:
            if x is None:
                return None
            index = None if fold.first is None else fold.first.expand(x.shape[0], -1)
            return fold.key_row(x, fill, None if index is None else x.expand(index.shape[0], -1).gather(1, index))

        super().__init__(
            scores.rule,
            Tokens(
                fold.query_row(queries.pos, -1),
                None if queries.segment is None else fold.query_row(queries.segment, 0),
                None if queries.prefix is None else fold.query_row(queries.prefix, 0),
            ),
            Tokens(fold.key_row(near, -1, first), beside_keys(keys.segment, 0), beside_keys(keys.prefix, 0)),
            causal=scores.causal,
            num_heads=scores.num_heads,
        )
        self.origin, self.fold = scores, fold

    @CachedProperty
    def places(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        _, head, q_pos, k_pos = super().places
        rows = torch.arange(self.origin.shape[0], device=q_pos.device).expand(
            self.fold.rows if self.origin.shape[0] == 1 else self.origin.shape[0]
        )
        return rows.repeat_interleave(self.fold.count).view(-1, 1, 1, 1), head, q_pos, k_pos


def _first_keys(keys: Tokens, sinks: int) -> Tensor:
    """Indices (B or 1, n) of the keys at positions below `sinks`, of every segment. Rows with fewer of them have other
    keys too."""
    found = (keys.pos >= 0) & (keys.pos < sinks)
    most = int(found.sum(1).max())
    return found.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]


def whole(tokens: Tokens) -> bool:
    """Whether the tokens of each segment are contiguous and their positions increase; padding is ignored."""
    if tokens.in_order:
        return True
    pos = tokens.pos
    segment = (pos >= 0).long() if tokens.segment is None else tokens.segment.masked_fill(pos < 0, 0)
    before = pad(segment, (1, -1))
    begins = (segment > 0) & (segment != before)
    falls = (segment > 0) & (segment == before) & (pos <= pad(pos, (1, -1), value=-1))
    again = begins & (segment <= pad(segment.cummax(1).values, (1, -1)))  # this segment, or a later one, came before
    return not bool((falls | again).any())


def _refuses(q: Tensor, k: Tensor, scores: Scores, *, dropout: Dropping | None) -> str | None:
    if dropout is not None:
        return "it has no dropout of its own bits"
    if band(scores) is None:
        return "the rule has no bounded reach"
    key = ("blocks qualify", id(scores))
    found = scores.queries.memo.get(key)
    if found is None:  # stored with `scores`, so that no other object gets its id during this forward
        found = scores.queries.memo[key] = (scores, _unlike(scores.queries, scores.keys))
    return found[1]  # type: ignore[index]


def same(queries: Tokens, keys: Tokens) -> bool:
    """Whether queries and keys have the same tokens."""

    def equal(one: Tensor | None, other: Tensor | None) -> bool:
        return one is other or (one is not None and other is not None and torch.equal(one, other))

    return equal(queries.pos, keys.pos) and equal(queries.segment, keys.segment)


def _unlike(queries: Tokens, keys: Tokens) -> str | None:
    if not same(queries, keys):
        return "queries and keys are not the same tokens"
    return None if whole(queries) else "the tokens of a row are not neighbours with rising positions"


def blocks(
    q: Tensor, k: Tensor, v: Tensor, scores: Scores, *, scale: float, dropout: Dropping | None
) -> tuple[Tensor, Tensor | None]:
    """Banded attention, all blocks in one call. Returns no weights."""
    reach = band(scores)
    assert reach is not None and dropout is None
    key = ("blocks", id(scores), q.shape[0])
    fold = scores.queries.memo.get(key)
    if fold is None:
        fold = scores.queries.memo[key] = BlockFold(scores, q.shape[0], reach)
    assert isinstance(fold, BlockFold)
    parts = fold.queries(q), fold.keys(k), fold.keys(v)
    inner = SDPA if not learned(scores) and SDPA.refuses(q, k, scores) is None else EAGER
    out, _ = inner(*parts, fold.scores, scale=scale, dropout=None)
    return fold.back(out), None


BLOCKS = Backend("blocks", blocks, _refuses, of_itself=True)
