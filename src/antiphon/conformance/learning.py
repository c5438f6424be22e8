"""Laws of training: finite and correct gradients, trained parameters, and recomputed (checkpointed) layers."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from antiphon.batch import Batch, Example, collate
from antiphon.conformance.meter import DifferenceMeter
from antiphon.conformance.subject import D_MODEL, AttentionUnit, Subject, draw, padded
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.loss import CrossEntropy
from antiphon.nn.mixers import Memory

STEP = 1e-5  # step of a difference quotient; its truncation error is near STEP ** 2, its rounding error 1e-16 / STEP
QUOTIENT = 1e-6
LENGTHS, SOURCES = (5, 3), (2, 4)


class LearningCase:
    """A unit on rows with padding, whose loss is a fixed sum of its outputs at real tokens."""

    def __init__(self, unit: AttentionUnit, dtype: torch.dtype = torch.float64) -> None:
        self.unit, self.tokens = unit, padded(*LENGTHS)
        self.x = draw(2, 5, D_MODEL).to(dtype).requires_grad_()
        self.memory, self.weights = unit.memory(*SOURCES), draw(2, 5, D_MODEL, seed=1).to(dtype)
        self.named: dict[str, Tensor] = {"x": self.x}
        if self.memory is not None:
            self.memory = Memory(self.memory.hidden.to(dtype).requires_grad_(), self.memory.tokens)
            self.named["memory"] = self.memory.hidden
        self.parameters: dict[str, Tensor] = dict(unit.parameters_by_name())

    def loss(self) -> Tensor:
        """A number that depends on every output at a real token."""
        found = self.unit(self.x, self.tokens, self.memory) * self.weights
        return found.masked_fill(~self.tokens.valid[..., None], 0.0).sum()

    def gradients(self, named: dict[str, Tensor]) -> dict[str, Tensor | None]:
        """The gradient by each of `named`; None where the loss does not depend on it."""
        found = torch.autograd.grad(self.loss(), list(named.values()), allow_unused=True)
        return dict(zip(named, found, strict=True))

    @torch.no_grad()
    def quotient(self, tensor: Tensor, direction: Tensor) -> Tensor:
        """The directional derivative of the loss, by a difference quotient of two forwards."""
        ends = []
        for sign in (1, -1):
            tensor.add_(direction, alpha=sign * STEP)
            ends.append(self.loss())
            tensor.add_(direction, alpha=-sign * STEP)
        return (ends[0] - ends[1]) / (2 * STEP)


def gradients(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """the gradient by the inputs is finite, also next to masked pairs, and equals a difference quotient"""
    for unit in subject.units(role):
        case = LearningCase(unit)
        for dtype in (torch.float64, torch.float32):
            meter.context = unit.label
            each = case if dtype == torch.float64 else LearningCase(unit.to(dtype), dtype)
            for name, gradient in each.gradients({**each.named, **each.parameters}).items():
                if gradient is not None:
                    axes = [f"index {i}" for i in range(gradient.dim())]
                    meter.finite(gradient, axes=axes, what=f"the gradient by `{name}` in {dtype}")
                    if dtype == torch.float64:
                        _quotients(each, name, gradient, meter)


def _quotients(case: LearningCase, name: str, gradient: Tensor, meter: DifferenceMeter) -> None:
    tensor = case.named[name] if name in case.named else case.parameters[name]
    for seed in range(2):
        direction = draw(*tensor.shape, seed=11 + seed)
        direction = direction / direction.norm()
        found, expected = (gradient * direction).sum(), case.quotient(tensor, direction)
        what = f"the gradient by `{name}` and a difference quotient"
        meter.equal(found[None], expected[None], axes=("direction",), what=what, tolerance=QUOTIENT)


def parameters(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """every parameter gets a gradient, and the next forward sees its update"""
    for unit in subject.units(role):
        meter.context = unit.label
        case = LearningCase(unit)
        for name, gradient in case.gradients(case.parameters).items():
            if gradient is None:
                meter.fail(f"`{name}` gets no gradient")
                continue
            direction = draw(*gradient.shape, seed=3)
            direction = direction / direction.norm()
            before, parameter = case.loss().detach(), case.parameters[name]
            with torch.no_grad():
                parameter.add_(direction, alpha=1e-3)
                after = case.loss()
                parameter.add_(direction, alpha=-1e-3)
            # To first order. With a stale cached value the loss would not change at all.
            expected, change = (gradient * direction).sum() * 1e-3, after - before
            if bool(expected.abs() > 1e-6) and bool((change - expected).abs() > 0.5 * expected.abs()):
                meter.equal(change[None], expected[None], axes=("direction",), tolerance=0,
                            what=f"the loss after an update of `{name}` and what its gradient says")  # fmt: skip


def checkpointed(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """with dropout, recomputed (checkpointed) layers have the same loss and gradients as stored ones"""
    settings: dict[str, object] = {f"{name}dropout": 0.2 for name in ("", "attention_", "activation_")}
    settings |= {"encoder_layers": 2, "decoder_layers": 2}
    network = subject.network(role, settings).train()
    names = [name for name, _ in network.named_parameters()]
    plain, again, twice = (_trained(network, again=again) for again in (False, True, False))
    for (name, one), other, same in zip(zip(["loss", *names], plain, strict=True), again, twice, strict=True):
        axes = [f"index {i}" for i in range(one.dim())]
        what = "the loss" if name == "loss" else f"the gradient by `{name}`"
        meter.equal(same, one, axes=axes, what=f"{what} twice with the same dropout key", tolerance=0)
        meter.equal(other, one, axes=axes, what=f"{what} computed again and kept")


def _trained(network: EncoderDecoder, *, again: bool) -> list[Tensor]:
    """The losses and gradients of two forwards with different dropout bits; backward runs after both forwards."""
    network.checkpoint_activations(again)
    loss = torch.zeros((), dtype=torch.float64)
    for micro_batch in range(2):
        network.noise.set(seed=5, step=11, micro_batch=micro_batch)
        loss = loss + network(_batch(), CrossEntropy(0.1)).objective
    named = list(network.parameters())
    found = torch.autograd.grad(loss, named, allow_unused=True)
    whole = [torch.zeros_like(p) if g is None else g for p, g in zip(named, found, strict=True)]
    return [loss.detach()[None], *whole]


def _batch() -> Batch:
    ids = itertools.cycle(range(3, 13))
    rows = [[next(ids) for _ in range(length)] for length in (5, 2, 4, 6)]
    examples = [
        Example([*source, 2], [*target, 2], i)
        for i, (source, target) in enumerate(zip(rows[:2], rows[2:], strict=True))
    ]
    return collate(examples, pad_id=0, start_id=1)
