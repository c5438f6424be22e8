"""Laws of score rules: their masks, biases and scores, in single and half precision."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from antiphon.conformance.meter import OUTPUT, DifferenceMeter, Skip
from antiphon.conformance.subject import D_MODEL, HEAD_DIM, HEADS, Subject, draw, ordered
from antiphon.nn.rules import ScoreRule, TermTable, parts_of, score_after
from antiphon.nn.scores import visible_by_tokens

PAIRS = ("row", "head", "query position", "key position")
HALF = 0.05  # relative tolerance of outputs in bfloat16, which has 8 significant bits
MAX_POSITIONS = 2048  # of a mask that is checked as a whole
NO_RULE = "a mixer computes its own weights"
Places = tuple[Tensor, Tensor, Tensor, Tensor]


def visible(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """every real query sees at least one key"""
    length = 40
    if subject.is_rule:  # in cross-attention, no query beyond the length of the source
        rule, (batch, head, q_pos, k_pos) = subject.rule(role), places(1, length, length)
        allowed = rule.mask(batch, head, q_pos, k_pos)
        causal = visible_by_tokens(ordered(length), ordered(length), causal=role == "decoder")
        seen = (causal if allowed is None else causal & allowed).any(-1)
        meter.holds(seen, axes=PAIRS[:3], what="the mask hides every key")
        return
    for unit in subject.units(role):
        meter.context = unit.label
        x, memory = draw(1, 6, D_MODEL).requires_grad_(), unit.memory(4)
        read = x if memory is None else memory.hidden.requires_grad_()
        found, weights = unit(x, ordered(6), memory), draw(D_MODEL, seed=1)
        rows = [torch.autograd.grad(found[0, i] @ weights, read, retain_graph=True)[0].abs().sum() for i in range(6)]
        meter.holds(torch.stack(rows)[None] > 0, axes=("row", "query position"), what="an output that no token changes")


def places(rows: int, queries: int, keys: int) -> Places:
    """The arguments of a rule: batch (B,1,1,1), head (1,H,1,1), q_pos (1,1,Q,1), k_pos (1,1,1,K)."""
    sizes = ((rows, 0), (HEADS, 1), (queries, 2), (keys, 3))
    batch, head, q_pos, k_pos = (
        torch.arange(size).view([size if i == dim else 1 for i in range(4)]) for size, dim in sizes
    )
    return batch, head, q_pos, k_pos


class _One:
    """The terms (R,) of one query, for a score that is called with scalars."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __getitem__(self, index: Tensor) -> Tensor:
        return self.values[index]


def elementwise(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """mask and score of scalars = those of whole tensors, as FlexAttention needs"""
    if not subject.is_rule:
        raise Skip(NO_RULE)
    rule, sizes = subject.rule(role), (2, HEADS, 3, 4)
    where, scores, q = places(2, 3, 4), draw(2, HEADS, 3, 4), draw(2, HEADS, 3, HEAD_DIM, seed=1)
    terms = [part.terms(q) for part in parts_of(rule)]
    allowed = rule.mask(*where)
    whole = score_after(rule, scores, where, [None if each is None else TermTable(each) for each in terms])
    for place, each in _pairs(where):
        row, head, query, _ = place
        if allowed is not None:
            shown = rule.mask(*each)
            if shown is None or shown.shape != ():
                given = "None" if shown is None else tuple(shown.shape)
                meter.fail(f"mask of single numbers must give one bool, but gave {given}")
                return
            same = (shown == allowed.expand(sizes)[place]).reshape(1)
            meter.holds(same, axes=("pair",), what=f"mask at row {row}, head {head}, {place[2:]} (query, key)")
        tables = [None if each is None else _One(each.expand(2, HEADS, 3, -1)[row, head, query]) for each in terms]
        found = score_after(rule, scores[place], each, tables)
        if found.shape != ():
            meter.fail(f"score of single numbers must give one number, but gave {tuple(found.shape)}")
            return
        gap = torch.zeros(sizes, dtype=torch.float64)
        gap[place] = found.detach() - whole.detach().expand(sizes)[place]
        meter.equal(gap, torch.zeros_like(gap), axes=PAIRS, what="score of single numbers and of tables")


def _pairs(where: Places) -> Iterator[tuple[tuple[int, int, int, int], Places]]:
    """Some pairs of query and key, each with the scalar arguments of a rule."""
    sizes = [part.numel() for part in where]
    for row, head in ((0, 0), (1, 1), (1, sizes[1] - 1)):
        for query in range(sizes[2]):
            for key in range(sizes[3]):
                place = (row, head, query, key)
                batch, own, q_pos, k_pos = (part.flatten()[i] for part, i in zip(where, place, strict=True))
                yield place, (batch, own, q_pos, k_pos)


def additive(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """a rule that says `additive` adds: score(s) = s + score(0)"""
    if not subject.is_rule:
        raise Skip(NO_RULE)
    rule = subject.rule(role)
    if not rule.additive:
        raise Skip("it does not say that it is additive")
    where, scores = places(2, 7, 9), draw(2, HEADS, 7, 9)
    if any(part.terms(draw(2, HEADS, 7, HEAD_DIM)) is not None for part in parts_of(rule)):
        meter.fail("it says `additive`, but has terms, which depend on the queries")
        return
    bias, found = (score_after(rule, each, where, [None] * len(parts_of(rule))) for each in (scores * 0, scores * 3))
    meter.equal(found - scores * 3, bias.expand_as(scores), axes=PAIRS, what="score(s) - s and score(0)")


def reach(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """keys beyond the reach that a rule states are masked"""
    rule = subject.rule(role) if subject.is_rule else ScoreRule()
    if rule.reach is None:
        raise Skip("it states no reach")
    left, right, sinks = rule.reach
    far = min(max(left or 0, right or 0) + sinks + 6, MAX_POSITIONS)
    batch, head = torch.zeros(1, 1, 1, 1, dtype=torch.long), torch.arange(HEADS).view(1, HEADS, 1, 1)
    q_pos, k_pos = torch.arange(far).view(1, 1, far, 1), torch.arange(far).view(1, 1, 1, far)
    allowed = rule.mask(batch, head, q_pos, k_pos)
    visible = torch.ones(1, 4, far, far, dtype=torch.bool) if allowed is None else allowed.expand(1, 4, far, far)
    if role == "decoder":
        visible = visible & (k_pos <= q_pos)
    beyond = torch.zeros(1, 1, far, far, dtype=torch.bool)
    if left is not None:
        beyond = beyond | (k_pos < q_pos - left)
    if right is not None:
        beyond = beyond | (k_pos > q_pos + right)
    beyond = beyond & (k_pos >= sinks)
    what = f"a key beyond its reach {rule.reach} is visible"
    meter.holds(~(visible & beyond), axes=("row", "head", "query position", "key position"), what=what)


def half(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """in bfloat16 it is finite and near float32, over hundreds of tokens too"""
    length = 320  # bfloat16 represents integers exactly only up to 256
    for unit in subject.units(role):
        meter.context = unit.label
        narrow = copy.deepcopy(unit).to(torch.bfloat16)
        wide = copy.deepcopy(narrow).to(torch.float32)
        x = draw(1, length, D_MODEL).to(torch.bfloat16)
        outs = []
        for each, dtype in ((narrow, torch.bfloat16), (wide, torch.float32)):
            memory = each.memory(length)
            if memory is not None:
                memory.hidden = memory.hidden.bfloat16().to(dtype)
            with torch.no_grad():
                outs.append(each(x.to(dtype), ordered(length), memory))
        if outs[0].dtype != torch.bfloat16:
            meter.fail(f"the output is {outs[0].dtype} instead of {torch.bfloat16}")
        meter.finite(outs[0], axes=OUTPUT, what="the output in bfloat16")
        # Over all outputs together: single outputs with cancellation have a large relative error.
        gap, size = (outs[0].double() - outs[1].double()).square(), outs[1].double().square().mean()
        at = int(gap.sum(-1).argmax())
        where = f"bfloat16 and float32, the root mean square over that of the outputs, most at query position {at}"
        meter.within(float((gap.mean() / size).sqrt()), HALF, where=where)
