"""The chunked cross-entropy against PyTorch's, which holds all logits."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from antiphon.nn import loss as module
from antiphon.nn.loss import CrossEntropy


def case(rows: int, *, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    hidden = torch.randn(rows, 16, generator=generator, dtype=dtype) * 3
    weight = torch.randn(50, 16, generator=generator, dtype=dtype)
    labels = torch.randint(0, 50, (rows,), generator=generator)
    return hidden.requires_grad_(), weight.requires_grad_(), labels


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("rows", [1, 7, module.MAX_CHUNK_ROWS, 2 * module.MAX_CHUNK_ROWS + 5])
def test_equals_pytorch_with_all_logits(rows: int, smoothing: float) -> None:
    hidden, weight, labels = case(rows)
    ours = CrossEntropy(smoothing)(hidden, weight, labels)
    (ours.objective / 3).backward()
    gradients = hidden.grad, weight.grad
    hidden.grad = weight.grad = None
    theirs = functional.cross_entropy(hidden @ weight.T, labels, label_smoothing=smoothing, reduction="sum")
    (theirs / 3).backward()
    torch.testing.assert_close(ours.objective, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        ours.nll, functional.cross_entropy(hidden @ weight.T, labels, reduction="sum"), rtol=1e-12, atol=1e-12
    )
    torch.testing.assert_close(gradients[0], hidden.grad, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradients[1], weight.grad, rtol=1e-10, atol=1e-12)
    assert ours.labels == rows


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("rows", [1, module.MAX_CHUNK_ROWS + 5])
def test_capped_logits_equal_pytorch_with_all_of_them(rows: int, smoothing: float) -> None:
    hidden, weight, labels = case(rows)
    ours = CrossEntropy(smoothing)(hidden, weight, labels, cap=4.0)
    found = torch.autograd.grad(ours.objective / 3, (hidden, weight))
    logits = 4 * torch.tanh(hidden @ weight.T / 4)
    theirs = functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="sum")
    torch.testing.assert_close(ours.objective, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.nll, functional.cross_entropy(logits, labels, reduction="sum"))
    torch.testing.assert_close(found, torch.autograd.grad(theirs / 3, (hidden, weight)), rtol=1e-10, atol=1e-12)


def test_gradients_are_those_of_finite_differences() -> None:
    hidden, weight, labels = case(5)
    assert torch.autograd.gradcheck(lambda h, w: CrossEntropy(0.2)(h, w, labels).objective, (hidden, weight))


def test_no_row_is_a_loss_of_zero() -> None:
    hidden, weight, labels = case(3)
    found = CrossEntropy(0.1)(hidden[:0], weight, labels[:0])
    found.objective.backward()
    assert found.objective.item() == 0 and found.labels == 0
    assert weight.grad is not None and not weight.grad.any()


def test_large_logits_stay_finite() -> None:
    hidden, weight, labels = case(9, dtype=torch.float32)
    found = CrossEntropy(0.1)(hidden * 1e4, weight, labels)
    found.objective.backward()
    assert torch.isfinite(found.objective) and torch.isfinite(weight.grad).all()


def test_bfloat16_is_near_float32() -> None:
    hidden, weight, labels = case(300, dtype=torch.float32)
    exact = CrossEntropy(0.1)(hidden, weight, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = CrossEntropy(0.1)(hidden, weight, labels)
    assert near.objective.dtype == torch.float32
    assert abs(float(near.objective / exact.objective) - 1) < 1e-2
