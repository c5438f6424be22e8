"""The catalogue of score rules: each against its equation in plain loops, as scalars, composed, in small types."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
import torch
from rule_cases import CASES, DIM, HEADS, ROLES, attended, bucket, by_hand, places, rule_of, tensors
from torch import Tensor, vmap

from antiphon.batch import Tokens
from antiphon.errors import AttentionError, ConfigError
from antiphon.models.attentions import build_rule
from antiphon.nn import Alibi, Relative, ScoreRule, SoftCap, Window
from antiphon.nn.attend import plan
from antiphon.nn.rules import TermTable, parts_of, score_after


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", list(CASES))
def test_equals_its_equation(name: str, role: str, groups: int) -> None:
    case, rule = CASES[name], rule_of(CASES[name].spec, role)
    queries, keys = places(role)
    q, k, v = tensors(2, 6, keys.pos.shape[1], groups=groups)
    with torch.no_grad():
        found, wanted = (
            attended(rule, q, k, v, queries, keys, role=role),
            by_hand(case, rule, q, k, v, queries, keys, role),
        )
    real = queries.valid[:, None, :, None]
    torch.testing.assert_close(found.where(real, 0), wanted.where(real, 0), rtol=0, atol=case.near)


class OneTable:
    """The terms of one query, (R,), as a back end that calls a rule pair by pair gives them."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __getitem__(self, index: Tensor) -> Tensor:
        return self.values[index]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", list(CASES))
def test_scalars_are_as_broadcast_tensors(name: str, role: str) -> None:
    rule = rule_of(CASES[name].spec, role)
    queries, keys = places(role)
    q, _, _ = tensors(2, 6, keys.pos.shape[1])
    scores = plan(rule, queries.fresh(), keys, causal=False, num_heads=HEADS)
    shape = scores.shape
    logits = torch.randn(shape, dtype=torch.float64)
    whole = scores.apply(logits, q)
    allowed = rule.mask(*scores.places)
    terms = [part.terms(q) for part in parts_of(rule)]

    def pair(b: Tensor, h: Tensor, n: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        place = b, h, queries.pos[b, n], keys.pos[b, m]
        tables = [None if values is None else OneTable(values[b, h, n]) for values in terms]
        seen = rule.mask(*place)
        return score_after(rule, logits[b, h, n, m], place, tables), torch.tensor(True) if seen is None else seen

    # As FlexAttention maps it: nothing may look at a value, and each result is a scalar.
    mapped: Any = pair
    for axis in (3, 2, 1, 0):
        mapped = vmap(mapped, tuple(0 if axis == at else None for at in range(4)))
    score, seen = mapped(*(torch.arange(size) for size in shape))
    torch.testing.assert_close(score, whole, rtol=0, atol=1e-12)
    assert torch.equal(seen, torch.tensor(True).expand(shape) if allowed is None else allowed.expand(shape))
    one, here = pair(*(torch.tensor(size - 1) for size in shape))
    assert one.shape == here.shape == () and here.dtype == torch.bool
    torch.testing.assert_close(one, whole[-1, -1, -1, -1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", list(CASES))
def test_additive_rules_add(name: str) -> None:
    rule = rule_of(CASES[name].spec)
    queries, keys = places("decoder")
    q, _, _ = tensors(2, 6, 6)
    scores = plan(rule, queries, keys, causal=True, num_heads=HEADS)
    logits = 2 * torch.randn(scores.shape, dtype=torch.float64)
    tables = [None if part.terms(q) is None else torch.zeros(scores.shape) for part in parts_of(rule)]
    if any(table is not None for table in tables):
        assert not rule.additive  # what it adds depends on the query
        return
    after, at_zero = (score_after(rule, score, scores.places, tables) for score in (logits, torch.zeros(())))
    assert torch.allclose(after, logits + at_zero, rtol=0, atol=1e-12) == rule.additive


def test_order_matters() -> None:
    first, second = rule_of({"all": [{"soft_cap": 1.5}, "alibi"]}), rule_of({"all": ["alibi", {"soft_cap": 1.5}]})
    queries, keys = places("encoder")
    scores = plan(first, queries, keys, causal=False, num_heads=HEADS)
    logits = torch.randn(scores.shape, dtype=torch.float64)
    slopes = torch.tensor([1 / 4, 1 / 16, 1 / 64, 1 / 256], dtype=torch.float64)[None, :, None, None]
    bias = -slopes * (queries.pos[:, None, :, None] - keys.pos[:, None, None, :]).abs()
    found = [score_after(rule, logits, scores.places, [None, None]) for rule in (first, second)]
    torch.testing.assert_close(found[0], 1.5 * torch.tanh(logits / 1.5) + bias)
    torch.testing.assert_close(found[1], 1.5 * torch.tanh((logits + bias) / 1.5))
    assert not torch.allclose(found[0], found[1], atol=0.1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", list(CASES))
def test_half_precision_is_finite_and_near(name: str, dtype: torch.dtype) -> None:
    rule = rule_of(CASES[name].spec)
    tokens = Tokens(torch.tensor([[0, 1, 2, 3, 4000, 8192], [-1, -1, 0, 1, 2, -1]]))
    plain = [x.detach().to(dtype).requires_grad_() for x in tensors(2, 6, 6, groups=2)]
    with torch.no_grad():
        plain[0][0, :, 2] = 0.0  # a query and a key of zeros
        plain[1][0, :, 1] = 0.0
        wanted = attended(rule, *(x.double() for x in plain), tokens, tokens, role="decoder")
    rule.to(dtype)
    assert all(parameter.dtype == torch.float32 for parameter in rule.parameters())
    found = attended(rule, *plain, tokens, tokens, role="decoder")
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=0.06 if dtype == torch.bfloat16 else 0.01)
    gradients = torch.autograd.grad(found.float().square().sum(), [*plain, *rule.parameters()])
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", list(CASES))
def test_finite_at_hidden_pairs(name: str, role: str) -> None:
    rule = rule_of(CASES[name].spec, role)
    tokens = Tokens(torch.tensor([[-1, 0, 1, 7, 100_000]]))
    q, _, _ = tensors(1, 5, 5)
    logits = torch.randn(1, HEADS, 5, 5, dtype=torch.float64, requires_grad=True)
    scores = plan(rule, tokens, tokens, causal=False, num_heads=HEADS)
    found = scores.apply(logits, q)
    assert torch.isfinite(found).all()
    inputs = [logits, q, *rule.parameters()]
    for gradient in torch.autograd.grad(found.sum(), inputs, allow_unused=True):
        assert gradient is None or torch.isfinite(gradient).all()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", list(CASES))
def test_gradients(name: str, role: str) -> None:
    rule = rule_of(CASES[name].spec, role, num_heads=2, head_dim=2)
    keys = Tokens(torch.tensor([[0, 1, 2, -1]]))
    queries = Tokens(torch.tensor([[1, 2, 4]])) if role == "cross" else keys
    q = tensors(1, queries.pos.shape[1], 4, dim=2)[0][:, :2].detach().requires_grad_()
    k, v = (x[:, :1].detach().requires_grad_() for x in tensors(1, 4, 4, dim=2)[1:])

    def run(*inputs: Tensor) -> Tensor:
        return attended(rule, *inputs[:3], queries, keys, role=role)

    assert torch.autograd.gradcheck(run, (q, k, v, *rule.parameters()))


def settings(rule: ScoreRule) -> list[tuple[type, dict[str, object]]]:
    """The settings of each part of a rule."""
    return [
        (
            type(part),
            {name: getattr(part, name) for name in list(inspect.signature(type(part).__init__).parameters)[1:]},
        )
        for part in parts_of(rule)
        if "__init__" in vars(type(part))
    ]


@pytest.mark.parametrize("name", list(CASES))
def test_specs_go_round(name: str) -> None:
    spec = CASES[name].spec
    rule = build_rule(spec)
    assert isinstance(rule, ScoreRule) and rule.spec == spec
    again = build_rule(json.loads(json.dumps(rule.spec)))
    assert isinstance(again, ScoreRule) and settings(again) == settings(rule)


def test_specs_of_objects() -> None:
    rule = SoftCap(2.0) & Relative(per_layer=True) & Window(3, dilation=2)
    assert rule.spec == {
        "all": [{"soft_cap": 2.0}, {"relative": {"per_layer": True}}, {"window": {"window": 3, "dilation": 2}}]
    }
    again = build_rule(rule.spec)
    assert isinstance(again, ScoreRule) and settings(again) == settings(rule) and again.per_layer


def beyond(rule: ScoreRule, i: int, j: int) -> bool:
    """Whether a key is out of the reach that the rule declares."""
    assert rule.reach is not None
    left, right, first = rule.reach
    return j >= first and ((left is not None and i - j > left) or (right is not None and j - i > right))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "spec",
    [
        *(case.spec for name, case in CASES.items() if name in ("window", "dilated", "dilated, sinks", "blocks")),
        {"prefix_lm": 2},
        {"block_local": {"size": 3, "neighbours": 2, "global_tokens": 2}},
        {"all": [{"window": {"window": 2, "sinks": 4}}, {"window": 9}]},
        {"all": ["alibi", {"block_local": {"size": 3, "global_tokens": 2}}]},
        {"all": [{"block_local": {"size": 3, "global_tokens": 2}}, {"window": {"window": 5, "sinks": 1}}, "alibi"]},
    ],
    ids=str,
)
def test_nothing_beyond_the_reach_is_visible(spec: object, role: str) -> None:
    rule = rule_of(spec, role)
    at, size = torch.arange(24), 24
    seen = rule.mask(torch.tensor(0), torch.tensor(0), at[:, None], at[None, :])
    assert seen is not None
    pairs = [(i, j) for i in range(size) for j in range(size) if seen[i, j] and (role != "decoder" or j <= i)]
    if rule.reach is None:  # a global query sees every key
        assert role != "decoder" and {(0, j) for j in range(size)} <= set(pairs)
        return
    assert not [pair for pair in pairs if beyond(rule, *pair)]
    assert len(parts_of(rule)) > 1 or rule.reach[0] in (None, max(i - j for i, j in pairs if j >= rule.reach[2]))


def test_alibi_has_the_slopes_of_the_paper() -> None:
    def slopes(num_heads: int) -> list[float]:
        rule = Alibi()
        rule.setup(num_heads=num_heads, head_dim=DIM, role="decoder")
        return rule.slopes.tolist()

    assert slopes(8) == [2**-n for n in range(1, 9)]
    assert slopes(16) == pytest.approx([2 ** (-n / 2) for n in range(1, 17)])
    assert slopes(12) == pytest.approx(slopes(8) + slopes(16)[0::2][:4])  # the rule of its code


@pytest.mark.parametrize("both_sides", [True, False])
def test_relative_has_the_buckets_of_the_paper(both_sides: bool) -> None:
    rule = Relative()
    rule.both_sides = both_sides
    offsets = list(range(-300, 301))
    for offset, found in zip(offsets, rule.bucket(torch.tensor(offsets)).tolist(), strict=True):
        # Its code takes the logarithm in float32, which at the edge of a bucket falls on either side.
        edges = {bucket(offset, 32, most, both_sides) for most in (128 - 1e-3, 128, 128 + 1e-3)}  # type: ignore[arg-type]
        assert found in edges


def test_cosine_has_a_largest_scale_and_knows_no_length() -> None:
    rule = rule_of("cosine")
    q, k, _ = tensors(1, 3, 3)
    with torch.no_grad():
        rule.log_scale.fill_(9.0)  # type: ignore[operator]
    pos = torch.arange(3)[None, None, :, None]
    products = rule.prepare_q(5 * q, pos) @ rule.prepare_k(0.1 * k, pos).mT * DIM**-0.5
    wanted = 100 * torch.nn.functional.cosine_similarity(q[:, :, :, None], k[:, :, None], dim=-1)
    torch.testing.assert_close(products, wanted, rtol=0, atol=0.02)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"window": True}, "`window` must be a whole number of at least 1, but is True"),
        ({"window": {"window": 2, "dilation": 0}}, "`dilation` must be a whole number of at least 1, but is 0"),
        ({"window": {"window": 2, "sinks": -1}}, "`sinks` must be a whole number of at least 0, but is -1"),
        ({"block_local": 2.5}, "`size` must be a whole number of at least 1, but is 2.5"),
        ({"block_local": {"size": 2, "neighbours": -1}}, "`neighbours` must be a whole number of at least 0"),
        ({"block_local": {"size": 2, "global_tokens": "1"}}, "`global_tokens` must be .* but is '1'"),
        ("block_local", "it takes size, neighbours, global_tokens"),
        ({"prefix_lm": -1}, "`length` must be a whole number of at least 0, but is -1"),
        ({"relative": {"buckets": 7}}, "`buckets` must be even and at least 4"),
        ({"relative": {"buckets": "8"}}, "`buckets` must be a whole number of at least 4, but is '8'"),
        ({"relative": {"per_layer": 1}}, "`per_layer` must be true or false, but is 1"),
        ({"shaw": 0}, "`max_distance` must be a whole number of at least 1, but is 0"),
        ({"soft_cap": 0}, "`cap` must be a number above 0, but is 0"),
        ({"soft_cap": float("inf")}, "`cap` must be a number above 0, but is inf"),
        ("soft_cap", "it takes cap"),
        ({"temperature": -1.0}, r"`value` must be a number above 0, but is -1.0"),
        ({"sinks": 0}, "`count` must be a whole number of at least 1, but is 0"),
        ({"cosine": {"scale": 3}}, "it takes no settings"),
    ],
)
def test_wrong_settings_are_one_line(spec: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build_rule(spec)
    assert "\n" not in str(caught.value)


def test_the_score_of_a_composition_is_that_of_its_parts_one_after_the_other() -> None:
    rule = rule_of({"all": [{"shaw": 3}, {"soft_cap": 2.0}, "relative"]})
    queries, keys = places("decoder")
    q, _, _ = tensors(2, 6, 6)
    scores = plan(rule, queries, keys, causal=True, num_heads=HEADS)
    logits = 2 * torch.randn(2, HEADS, 6, 6, dtype=torch.float64)
    shaw, cap, relative = parts_of(rule)
    table = TermTable(shaw.terms(q))
    expected = relative.score(cap.score(shaw.score(logits, *scores.places, table), *scores.places), *scores.places)
    assert torch.equal(rule.score(logits, *scores.places, [table, None, None]), expected)
    with pytest.raises(AttentionError, match=r"`score` of the rule `Shaw & .* needs the terms of `Shaw`, but was"):
        rule.score(logits, *scores.places)
    with pytest.raises(AttentionError, match=r"has no terms but those of its parts. Ask its `Shaw` for them"):
        rule.terms(q)
    plain = rule_of({"all": [{"soft_cap": 2.0}, "relative"]})
    assert plain.terms(q) is None
    assert torch.equal(plain.score(logits, *scores.places), score_after(plain, logits, scores.places, [None, None]))
