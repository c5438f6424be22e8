"""The two passes of R-Drop against autograd over all logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from training.runs import make_loop

from antiphon.batch import Example, collate
from antiphon.nn.loss import MAX_CHUNK_ROWS, CrossEntropy, FusedCriterion
from antiphon.training.objectives.r_drop import PairedCrossEntropy, twice


def case(rows: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    hidden = torch.randn(2 * rows, 16, generator=generator, dtype=dtype)
    weight = torch.randn(50, 16, generator=generator, dtype=dtype)
    labels = torch.randint(0, 50, (rows,), generator=generator).repeat(2)
    return hidden.requires_grad_(), weight.requires_grad_(), labels


def reference(hidden: Tensor, weight: Tensor, labels: Tensor, smoothing: float, alpha: float) -> Tensor:
    """Equation 4 of the paper, halved, by what PyTorch has."""
    logits = hidden @ weight.T
    entropy = functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="sum")
    one, two = logits.log_softmax(-1).chunk(2)
    there = functional.kl_div(two, one, log_target=True, reduction="sum")
    back = functional.kl_div(one, two, log_target=True, reduction="sum")
    return (entropy + alpha / 2 * (there + back)) / 2


@pytest.mark.parametrize("alpha", [0.7, 5.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("rows", [1, MAX_CHUNK_ROWS, MAX_CHUNK_ROWS + 5])
def test_equals_autograd(rows: int, smoothing: float, alpha: float) -> None:
    hidden, weight, labels = case(rows)
    ours = PairedCrossEntropy(smoothing, alpha)(hidden, weight, labels)
    found = torch.autograd.grad(ours.objective / 3, (hidden, weight))
    theirs = reference(hidden, weight, labels, smoothing, alpha)
    wanted = torch.autograd.grad(theirs / 3, (hidden, weight))
    torch.testing.assert_close(ours.objective, theirs, rtol=1e-12, atol=1e-12)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    plain = functional.cross_entropy(hidden @ weight.T, labels, reduction="sum") / 2
    torch.testing.assert_close(ours.nll, plain.detach(), rtol=1e-12, atol=1e-12)
    assert ours.labels == rows


def test_two_equal_passes_are_one_cross_entropy() -> None:
    hidden, weight, labels = case(9)
    same = torch.cat([hidden[:9], hidden[:9]])
    pair = PairedCrossEntropy(0.1, 5.0)(same, weight, labels)
    torch.testing.assert_close(pair.objective, CrossEntropy(0.1)(hidden[:9], weight, labels[:9]).objective)


def test_no_row_and_large_logits_and_bfloat16() -> None:
    hidden, weight, labels = case(3, torch.float32)
    none = PairedCrossEntropy(0.1, 5.0)(hidden[:0], weight, labels[:0])
    none.objective.backward()
    assert none.objective.item() == 0 and none.labels == 0
    large = PairedCrossEntropy(0.1, 5.0)(hidden * 1e4, weight, labels)
    large.objective.backward()
    assert torch.isfinite(large.objective) and weight.grad is not None and torch.isfinite(weight.grad).all()
    hidden, weight, labels = case(300, torch.float32)
    exact = PairedCrossEntropy(0.1, 5.0)(hidden, weight, labels).objective.detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = PairedCrossEntropy(0.1, 5.0)(hidden, weight, labels).objective.detach()
    assert near.dtype == torch.float32 and abs(float(near / exact) - 1) < 1e-2


class Given(FusedCriterion):
    """What a criterion is given: the hidden vectors and the labels."""

    def __call__(self, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> Any:
        return hidden, labels


def test_rows_of_the_second_pass_draw_other_bits_and_nothing_else_differs(tmp_path: Path) -> None:
    made = make_loop(tmp_path / "run", r_drop=5.0)
    batch = collate([Example([4, 5, 6, 2], [6, 5, 2], 0), Example([7, 2], [7, 8, 9, 2], 1)], pad_id=0, start_id=1)
    for training in (True, False):
        made.network.train(training)
        hidden, labels = made.network(twice(batch), Given())
        one, two = hidden.chunk(2)
        assert torch.equal(labels[: len(one)], labels[len(one) :])
        assert torch.allclose(one, two, atol=1e-6) != training


def test_figures_are_those_of_one_pass(tmp_path: Path) -> None:
    one, two = make_loop(tmp_path / "one"), make_loop(tmp_path / "two", r_drop=1e-9)
    for made in (one, two):
        for part in made.network.modules():
            if type(part).__name__ in ("Dropout", "LayerDrop"):
                part.p = 0.0
        made.step()
    a, b = one.progress.window, two.progress.window
    assert (a.counted, a.tokens, a.positions) == (b.counted, b.tokens, b.positions)
    assert a.loss == pytest.approx(b.loss, rel=1e-5) and a.nll == pytest.approx(b.nll, rel=1e-5)
    assert a.grad_norm == pytest.approx(b.grad_norm, rel=1e-4)
