"""Attention: back ends against each other and against a definition in plain loops, masks, gradients."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from counts import parts
from torch import Tensor
from torture.figures import FigureRecorder

import antiphon.runtime  # noqa: F401 (it adds its back end)
from antiphon.batch import Tokens
from antiphon.nn.attend import BACKENDS, attend, logits, plan, weigh
from antiphon.nn.rules import Alibi, Full, Relative, ScoreRule, Window

HEADS, DIM = 4, 8


class Cap(ScoreRule):
    """A rule that is not additive: soft cap."""

    def score(self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return 2.0 * torch.tanh(score / 2.0)


def rules() -> dict[str, ScoreRule]:
    made = {
        "full": Full(),
        "window": Window(3),
        "alibi": Alibi(),
        "relative": Relative(buckets=8, max_distance=20),
        "both": Alibi() & Window(4),
        "cap": Cap(),
        "cap and bias": Cap() & Alibi(),
    }
    for rule in made.values():
        rule.setup(num_heads=HEADS, head_dim=DIM, role="decoder")
        rule.double()
    return made


def tensors(queries: int, keys: int, *, groups: int = HEADS, rows: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(queries * 100 + keys)
    return tuple(  # type: ignore[return-value]
        torch.randn(rows, heads, length, DIM, generator=generator, dtype=torch.float64).requires_grad_()
        for heads, length in ((HEADS, queries), (groups, keys), (groups, keys))
    )


def by_hand(rule: ScoreRule, q: Tensor, k: Tensor, v: Tensor, queries: Tokens, keys: Tokens, *, causal: bool) -> Tensor:
    """One query, one key, one head at a time, as the equation says."""
    out = torch.zeros_like(q)
    share = q.shape[1] // k.shape[1]
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            for i in range(q.shape[2]):
                scores, seen = [], []
                for j in range(k.shape[2]):
                    q_pos = queries.pos[min(b, queries.pos.shape[0] - 1), i]
                    k_pos = keys.pos[min(b, keys.pos.shape[0] - 1), j]
                    place = torch.tensor(b), torch.tensor(h), q_pos, k_pos
                    allowed = rule.mask(*place)
                    if int(k_pos) < 0 or (causal and k_pos > q_pos) or (allowed is not None and not bool(allowed)):
                        continue
                    scores.append(rule.score((q[b, h, i] @ k[b, h // share, j]) / math.sqrt(DIM), *place))
                    seen.append(v[b, h // share, j])
                if seen:
                    out[b, h, i] = torch.stack(scores).softmax(0) @ torch.stack(seen)
    return out


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("name", list(rules()))
def test_equals_the_equation(name: str, groups: int, causal: bool) -> None:
    rule = rules()[name]
    q, k, v = tensors(5, 5, groups=groups)
    tokens = Tokens(torch.tensor([[0, 1, 2, 3, 4], [0, 1, 2, -1, -1]]))
    scores = plan(rule, tokens, tokens, causal=causal, num_heads=HEADS)
    found = attend(q, k, v, scores, scale=DIM**-0.5, backend="eager")
    with torch.no_grad():
        wanted = by_hand(rule, q, k, v, tokens, tokens, causal=causal)
    valid = tokens.valid[:, None, :, None]
    torch.testing.assert_close(found.where(valid, 0), wanted.where(valid, 0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("name", list(rules()))
def test_sdpa_equals_eager_with_gradients(name: str, groups: int) -> None:
    rule = rules()[name]
    if rule.scores and not rule.additive:
        pytest.skip("a rule that needs the logits is computed by eager alone")
    q, k, v = tensors(6, 6, groups=groups)
    # The last row sees nothing at all in its first two places.
    tokens = Tokens(torch.tensor([[0, 1, 2, 3, 4, 5], [-1, -1, 0, 1, 2, 3]]))
    scores = plan(rule, tokens, tokens, causal=True, num_heads=HEADS)
    results = []
    for backend in ("eager", "sdpa"):
        out = attend(q, k, v, scores, scale=0.3, backend=backend)
        results.append(
            [out, *torch.autograd.grad(out.square().sum(), [q, k, v, *rule.parameters()], retain_graph=True)]
        )
    for eager, sdpa in zip(*results, strict=True):
        torch.testing.assert_close(eager, sdpa, rtol=0, atol=1e-10)


def test_a_query_without_keys_gives_zero_and_no_gradient() -> None:
    q, k, v = tensors(3, 3)
    nobody = Tokens(torch.full((2, 3), -1))
    queries = Tokens(torch.arange(3)[None])
    for backend in ("eager", "sdpa"):
        scores = plan(Full(), queries.fresh(), nobody, causal=False, num_heads=HEADS)
        out = attend(q, k, v, scores, scale=1.0, backend=backend)
        assert not out.any()
        assert not any(gradient.any() for gradient in torch.autograd.grad(out.sum(), [q, k, v]))


HALF = (torch.bfloat16, torch.float16)
TYPES = (torch.float32, torch.float64, *HALF)


@pytest.mark.parametrize("masks", parts("random_masks"))
def test_random_masks_stay_finite(masks: range, figures: FigureRecorder) -> None:
    """In each type and each back end that computes the call; `flex`, which traces each rule anew in a second, in one
    type for a mask in 100."""
    generator, tried = torch.Generator(), Counter[str]()
    for number in masks:
        generator.manual_seed(number)
        width = int(torch.randint(1, 9, (), generator=generator))
        tokens = Tokens(torch.where(torch.rand(2, width, generator=generator) < 0.6, torch.arange(width), -1))
        name = list(rules())[int(torch.randint(0, len(rules()), (), generator=generator))]
        for dtype in TYPES:
            rule = rules()[name].to(dtype)
            leaves = [part.detach().to(dtype).requires_grad_() for part in tensors(width, width)]
            outs = {}
            for backend in BACKENDS:
                if backend == "flex" and (number % 100 or dtype != TYPES[number // 100 % len(TYPES)]):
                    continue
                found = finite(rule, tokens, leaves, backend)
                if found is not None:
                    outs[backend] = found
            assert {"eager"} < {*outs} or "cap" in name
            for backend, out in outs.items():
                tolerance = 0.1 if dtype in HALF else 1e-4
                torch.testing.assert_close(
                    out, outs["eager"], rtol=0, atol=tolerance, msg=f"{backend} of mask {number}"
                )
                tried[f"{backend}"] += 1
    figures.add("masks", len(masks))
    for backend, calls in tried.items():
        figures.add(f"calls of {backend}", calls)


def finite(rule: ScoreRule, tokens: Tokens, leaves: list[Tensor], backend: str) -> Tensor | None:
    """The output of a back end, which must be finite as its gradients; None where it refuses."""
    forward_only = backend in ("flex", "kernel")
    leaves = [part.detach() for part in leaves] if forward_only else leaves
    with torch.set_grad_enabled(not forward_only):
        scores = plan(rule, tokens.fresh(), tokens, causal=True, num_heads=HEADS)
        if BACKENDS[backend].refuses(leaves[0], leaves[1], scores) is not None:
            return None
        out = attend(leaves[0], leaves[1], leaves[2], scores, scale=0.5, backend=backend)
    gradients = torch.autograd.grad(out.float().sum(), leaves) if out.requires_grad else ()
    assert all(torch.isfinite(part).all() for part in (out, *gradients)), (backend, tokens.pos)
    blind = ~scores.seeing if scores.seeing is not None else torch.zeros(1, dtype=torch.bool)
    assert not out.masked_select(blind).any(), "a query that sees no key gives zero"
    return out.detach().float()


def test_segments_do_not_see_each_other() -> None:
    q, k, v = tensors(5, 5, rows=1)
    packed = Tokens(torch.tensor([[0, 1, 2, 0, 1]]), segment=torch.tensor([[1, 1, 1, 2, 2]]))
    whole = attend(q, k, v, plan(Full(), packed, packed, causal=True, num_heads=HEADS), scale=1.0)
    for part in (slice(0, 3), slice(3, 5)):
        alone = Tokens(packed.pos[:, part])
        scores = plan(Full(), alone, alone, causal=True, num_heads=HEADS)
        single = attend(q[:, :, part], k[:, :, part], v[:, :, part], scores, scale=1.0)
        torch.testing.assert_close(whole[:, :, part], single, rtol=0, atol=1e-12)


def test_prefix_is_bidirectional() -> None:
    pos = torch.arange(4)[None]
    tokens = Tokens(pos, prefix=torch.tensor([[True, True, False, False]]))
    scores = plan(Full(), tokens, tokens, causal=True, num_heads=1)
    assert scores.visible is not None
    assert scores.visible[0, 0].int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]


def test_layers_share_the_mask_of_a_rule() -> None:
    rule, tokens = Window(2), Tokens(torch.arange(4)[None])
    first = plan(rule, tokens, tokens, causal=True, num_heads=2)
    assert plan(rule, tokens, tokens, causal=True, num_heads=2) is first
    assert plan(rule, tokens.fresh(), tokens, causal=True, num_heads=2) is not first


def test_weigh_and_logits_are_attention_by_parts() -> None:
    q, k, v = tensors(4, 4)
    tokens = Tokens(torch.arange(4)[None])
    scores = plan(Alibi_() & Window(3), tokens, tokens, causal=True, num_heads=HEADS)
    weights = weigh(logits(q, k, scores, scale=0.2), scores.visible, scores.seeing)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights.sum(-1)))
    torch.testing.assert_close(weights @ v, attend(q, k, v, scores, scale=0.2), rtol=0, atol=1e-12)


def Alibi_() -> Alibi:
    rule = Alibi()
    rule.setup(num_heads=HEADS, head_dim=DIM, role="decoder")
    return rule.double()
