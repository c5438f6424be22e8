"""The law of back ends: each computes the same as `eager`, or reports why it cannot."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, cuda

from antiphon.batch import Tokens
from antiphon.conformance.meter import TOLERANCE, DifferenceMeter, Skip
from antiphon.conformance.scoring import HALF, NO_RULE
from antiphon.conformance.subject import GROUPS, HEAD_DIM, HEADS, Subject, draw, padded
from antiphon.nn.attend import BACKENDS, plan
from antiphon.nn.rules import ScoreRule
from antiphon.nn.scores import Scores


def backend(subject: Subject, role: str, meter: DifferenceMeter, *, name: str) -> None:
    """it computes the same as `eager`, including gradients if it supports them"""
    if not subject.is_rule:
        raise Skip(NO_RULE)
    reason = None
    for device, dtype, tolerance in forms():
        for learns in (True, False):
            for groups in (HEADS, GROUPS):
                meter.context = f"{groups} heads of keys"
                sides = _Sides(subject.rule(role), role, groups, torch.device(device), dtype, learns)
                reason = sides.refuses(name)
                if reason is None:
                    _compare(sides, meter, name=name, tolerance=tolerance)
            if reason is None:
                return
    raise Skip(str(reason))


def forms() -> list[tuple[str, torch.dtype, float]]:
    """(device, type, tolerance) in which back ends are compared: on this machine, then on a GPU. A back end must
    support only the first one."""
    exact = [("cpu", torch.float64, TOLERANCE), ("cpu", torch.float32, 1e-4)]
    return [*exact, ("cuda", torch.float32, 1e-4), ("cuda", torch.bfloat16, HALF)] if cuda.is_available() else exact


class _Sides:
    """Queries, keys and values with padding for all back ends; rows are long enough that banded back ends split them
    into blocks."""

    def __init__(
        self, rule: ScoreRule, role: str, groups: int, device: torch.device, dtype: torch.dtype, learns: bool
    ) -> None:
        self.rule, self.role, self.learns = rule.to(device=device, dtype=dtype), role, learns
        pos = padded(200, 131).pos.to(device)
        self.queries = Tokens(pos)
        self.keys = Tokens(padded(140, 170).pos.to(device)) if role == "cross" else self.queries
        sizes = ((HEADS, self.queries), (groups, self.keys), (groups, self.keys))
        drawn = [draw(2, heads, side.pos.shape[1], HEAD_DIM, seed=i) for i, (heads, side) in enumerate(sizes)]
        self.inputs = [each.to(device=device, dtype=dtype).requires_grad_(learns) for each in drawn]

    def scores(self) -> Scores:
        """The masks and biases of the rule, not computed yet."""
        queries = self.queries.fresh()
        keys = queries if self.keys is self.queries else self.keys
        return plan(self.rule, queries, keys, causal=self.role == "decoder", num_heads=HEADS)

    def refuses(self, name: str) -> str | None:
        """The reason why a back end cannot compute this; None if it can."""
        with torch.set_grad_enabled(self.learns):
            return BACKENDS[name].refuses(self.inputs[0], self.inputs[1], self.scores(), dropout=None)

    def run(self, name: str) -> Tensor:
        """The output (B,H,Q,D) of a back end, zero at padding."""
        with torch.set_grad_enabled(self.learns), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            q, k, v = self.inputs
            out = BACKENDS[name](q, k, v, self.scores(), scale=0.4, dropout=None)[0]
            return out.masked_fill(~self.queries.valid[:, None, :, None], 0.0)


def _compare(sides: _Sides, meter: DifferenceMeter, *, name: str, tolerance: float) -> None:
    """Compare the outputs of a back end and of eager, and their gradients by all inputs and parameters."""
    found, expected = sides.run(name), sides.run("eager")
    axes = ("row", "head", "query position", "feature")
    meter.equal(found, expected, axes=axes, what=f"the output of {name} and of eager", tolerance=tolerance)
    if not sides.learns:
        return
    named = dict(zip("qkv", sides.inputs, strict=True)) | dict(sides.rule.named_parameters())
    weights = draw(*found.shape, seed=7).to(found)
    every = [
        torch.autograd.grad((out * weights).sum(), list(named.values()), allow_unused=True) for out in (found, expected)
    ]
    for key, one, other in zip(named, *every, strict=True):
        if one is not None or other is not None:
            pair = [torch.zeros_like(named[key]) if each is None else each for each in (one, other)]
            what = f"the gradient by `{key}` of {name} and of eager"
            meter.equal(*pair, axes=[f"index {i}" for i in range(pair[0].dim())], what=what, tolerance=tolerance)
