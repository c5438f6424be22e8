"""The catalogue of score rules, each with its equation in plain numbers: what the tests of the rules go through."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.models.attentions import build_rule
from antiphon.nn import ScoreRule
from antiphon.nn.attend import attend, plan

HEADS, DIM = 4, 8
ROLES = ("encoder", "decoder", "cross")
Vector = list[float]


@dataclass
class Pair:
    """A query at position i of head h and a key at position j, in plain numbers; `p` are the rule's parameters."""

    q: Vector
    k: Vector
    i: int
    j: int
    h: int
    role: str
    p: dict[str, Any]

    def dot(self, key: Vector | None = None) -> float:
        return sum(a * b for a, b in zip(self.q, key or self.k, strict=True))

    @property
    def plain(self) -> float:
        """q·k / sqrt(d)"""
        return self.dot() / math.sqrt(DIM)

    def seen(self, visible: bool) -> float | None:
        return self.plain if visible else None


def rms(x: Vector) -> float:
    return math.sqrt(sum(a * a for a in x) / len(x))


def length(x: Vector) -> float:
    return math.sqrt(sum(a * a for a in x))


def window(width: int, dilation: int = 1, sinks: int = 0) -> Callable[[Pair], float | None]:
    def define(at: Pair) -> float | None:
        offsets = [n * dilation for n in range(-width + 1, width)]
        return at.seen(at.j - at.i in offsets or at.j < sinks)

    return define


def block_local(size: int, neighbours: int = 0, global_tokens: int = 0) -> Callable[[Pair], float | None]:
    def define(at: Pair) -> float | None:
        block = at.i // size
        own = range((block - neighbours) * size, (block + neighbours + 1) * size)
        sees_all = at.i < global_tokens and at.role != "decoder"
        return at.seen(at.j in own or at.j < global_tokens or sees_all)

    return define


def bucket(offset: int, buckets: int, most: int, both_sides: bool) -> int:
    """Raffel et al. 2020: the bucket of a key `offset` places to the right."""
    first, far = 0, max(-offset, 0)
    if both_sides:
        buckets //= 2
        first, far = (buckets if offset > 0 else 0), abs(offset)
    exact = buckets // 2
    if far < exact:
        return first + far
    more = math.log(far / exact) / math.log(most / exact) * (buckets - exact)
    return first + min(buckets - 1, exact + math.floor(more))


def relative(at: Pair) -> float:
    return at.plain + at.p["table"][at.h][bucket(at.j - at.i, 8, 20, at.role != "decoder")]


def alibi(at: Pair) -> float:
    return at.plain - 2 ** (-8 * (at.h + 1) / HEADS) * abs(at.i - at.j)


def shaw(at: Pair) -> float:
    clipped = max(-2, min(2, at.j - at.i))
    return (at.dot() + at.dot(at.p["keys"][at.h][clipped + 2])) / math.sqrt(DIM)


def qk_norm(at: Pair) -> float:
    scales = zip(at.q, at.p["q_scale"][at.h], at.k, at.p["k_scale"][0], strict=True)
    return sum(a / rms(at.q) * s * b / rms(at.k) * t for a, s, b, t in scales) / math.sqrt(DIM)


def shared_norm(at: Pair) -> float:
    """One scale of all heads, 0.5 added to the mean square."""
    roots = [math.sqrt(rms(x) ** 2 + 0.5) for x in (at.q, at.k)]
    scales = zip(at.q, at.p["q_scale"][0], at.k, at.p["k_scale"][0], strict=True)
    return sum(a * s * b * t for a, s, b, t in scales) / (roots[0] * roots[1] * math.sqrt(DIM))


def turned(at: Pair) -> float:
    """Pairs of features as complex numbers, turned by the distance of their positions, a quarter of it."""
    if at.role == "cross":
        return at.plain
    half, total = DIM // 2, 0.0
    for n in range(half):
        q, k = complex(at.q[n], at.q[n + half]), complex(at.k[n], at.k[n + half])
        angle = (at.i - at.j) / 4 * 50.0 ** (-2 * n / DIM)
        total += (q * k.conjugate() * cmath.exp(1j * angle)).real
    return total / math.sqrt(DIM)


def cosine(at: Pair) -> float:
    return math.exp(at.p["log_scale"][at.h]) * at.dot() / (length(at.q) * length(at.k))


def capped(score: float) -> float:
    return 1.5 * math.tanh(score / 1.5)


def several(at: Pair) -> float | None:
    """{all: [qk_norm, shaw, soft_cap, window, sinks]}: the norms first, then what is added, then the cap."""
    unit_q = [a / rms(at.q) * s for a, s in zip(at.q, at.p["q_scale"][at.h], strict=True)]
    unit_k = [b / rms(at.k) * t for b, t in zip(at.k, at.p["k_scale"][0], strict=True)]
    there = Pair(unit_q, unit_k, at.i, at.j, at.h, at.role, at.p)
    return capped(shaw(there)) if abs(at.i - at.j) < 3 else None


@dataclass
class Case:
    spec: object
    define: Callable[[Pair], float | None]
    learned: bool = False
    extra: Callable[[dict[str, Any], int], Vector] = field(default=lambda p, h: [])
    near: float = 1e-12  # where a norm has a small constant in its root, the equation none


CASES = {
    "full": Case("full", lambda at: at.plain),
    "window": Case({"window": 3}, window(3)),
    "dilated": Case({"window": {"window": 2, "dilation": 2}}, window(2, 2)),
    "window, sinks": Case({"window": {"window": 2, "sinks": 2}}, window(2, 1, 2)),
    "dilated, sinks": Case({"window": {"window": 2, "dilation": 3, "sinks": 1}}, window(2, 3, 1)),
    "right": Case({"window": {"window": 3, "right": 2}}, lambda at: at.seen(-3 < at.j - at.i < 2)),
    "far right": Case({"window": {"window": 1, "right": 3}}, lambda at: at.seen(-1 < at.j - at.i < 3)),
    "block": Case({"block_local": 2}, block_local(2)),
    "blocks": Case({"block_local": {"size": 2, "neighbours": 1}}, block_local(2, 1)),
    "global": Case({"block_local": {"size": 2, "global_tokens": 1}}, block_local(2, 0, 1)),
    "prefix": Case({"prefix_lm": 2}, lambda at: at.seen(at.j < 2 or at.j <= at.i)),
    "alibi": Case("alibi", alibi),
    "relative": Case({"relative": {"buckets": 8, "max_distance": 20}}, relative, learned=True),
    "relative by layer": Case(
        {"relative": {"buckets": 8, "max_distance": 20, "per_layer": True}}, relative, learned=True
    ),
    "shaw": Case({"shaw": 2}, shaw, learned=True),
    "cap": Case({"soft_cap": 1.5}, lambda at: capped(at.plain)),
    "norm": Case("qk_norm", qk_norm, learned=True, near=1e-4),
    "shared norm": Case({"qk_norm": {"shared": True, "eps": 0.5}}, shared_norm, learned=True),
    "rotary": Case({"rotary": {"base": 50.0, "factor": 4.0}}, turned, near=1e-6),
    "temperature": Case("temperature", lambda at: at.plain / math.exp(at.p["log_temperature"][at.h]), learned=True),
    "cold": Case({"temperature": 0.5}, lambda at: at.plain / 0.5),
    "cosine": Case("cosine", cosine, learned=True, near=1e-4),
    "inverse_d": Case("inverse_d", lambda at: at.dot() / DIM),
    "sink": Case("sinks", lambda at: at.plain, learned=True, extra=lambda p, h: p["logits"][h]),
    "sinks": Case({"sinks": 2}, lambda at: at.plain, learned=True, extra=lambda p, h: p["logits"][h]),
    "alibi and window": Case(
        {"all": ["alibi", {"window": 3}]}, lambda at: None if window(3)(at) is None else alibi(at)
    ),
    "cap, bias": Case(
        {"all": [{"soft_cap": 1.5}, "alibi"]}, lambda at: capped(at.plain) + alibi(at) - at.plain, near=1e-9
    ),
    "bias, cap": Case({"all": ["alibi", {"soft_cap": 1.5}]}, lambda at: capped(alibi(at))),
    "several": Case(
        {"all": ["qk_norm", {"shaw": 2}, {"soft_cap": 1.5}, {"window": 3}, "sinks"]},
        several,
        learned=True,
        extra=lambda p, h: p["logits"][h],
        near=1e-4,
    ),
}
LEARNED = [name for name, case in CASES.items() if case.learned]


def rule_of(spec: object, role: str = "decoder", *, num_heads: int = HEADS, head_dim: int = DIM) -> ScoreRule:
    """The rule with parameters that differ everywhere, in float64."""
    rule = build_rule(spec)
    assert isinstance(rule, ScoreRule)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        rule.setup(num_heads=num_heads, head_dim=head_dim, role=role)
        rule.double()
        for parameter in rule.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return rule


def tensors(
    rows: int, queries: int, keys: int, *, groups: int = HEADS, dim: int = DIM
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(queries * 100 + keys)
    return tuple(  # type: ignore[return-value]
        torch.randn(rows, heads, length, dim, generator=generator, dtype=torch.float64).requires_grad_()
        for heads, length in ((HEADS, queries), (groups, keys), (groups, keys))
    )


def places(role: str) -> tuple[Tokens, Tokens]:
    """Queries and keys with padding on either side, and places far apart."""
    own = Tokens(torch.tensor([[0, 1, 2, 3, 5, 30], [-1, -1, 0, 1, 2, -1]]))
    return own, (Tokens(torch.tensor([[0, 1, 2, 3, 4], [0, 1, 2, 3, -1]])) if role == "cross" else own)


def attended(rule: ScoreRule, q: Tensor, k: Tensor, v: Tensor, queries: Tokens, keys: Tokens, *, role: str) -> Tensor:
    """What the library makes of a rule, by the definition."""
    q = rule.prepare_q(q, queries.pos[:, None, :, None]).to(v.dtype)
    k = rule.prepare_k(k, keys.pos[:, None, None, :].transpose(-1, -2)).to(v.dtype)
    scores = plan(rule, queries.fresh(), keys, causal=role == "decoder", num_heads=q.shape[1])
    return attend(q, k, v, scores, scale=q.shape[-1] ** -0.5, backend="eager")


def by_hand(
    case: Case, rule: ScoreRule, q: Tensor, k: Tensor, v: Tensor, queries: Tokens, keys: Tokens, role: str
) -> Tensor:
    """Attention in plain numbers, from the equation of each rule and the softmax's."""
    p = {name.split(".")[-1]: parameter.tolist() for name, parameter in rule.named_parameters()}
    out = torch.zeros_like(q)
    share = q.shape[1] // k.shape[1]
    for b, row in enumerate(q.tolist()):
        for h, head in enumerate(row):
            for n, query in enumerate(head):
                i, weights, seen = int(queries.pos[b, n]), [], []
                for m, j in enumerate(keys.pos[b].tolist()):
                    if j < 0 or (role == "decoder" and j > i):
                        continue
                    logit = case.define(Pair(query, k[b, h // share, m].tolist(), i, j, h, role, p))
                    if logit is not None:
                        weights.append(math.exp(logit))
                        seen.append(v[b, h // share, m].detach())
                total = sum(weights) + sum(math.exp(sink) for sink in case.extra(p, h))
                out[b, h, n] = sum((w / total * x for w, x in zip(weights, seen, strict=True)), torch.zeros(DIM))
    return out
