"""Cross-entropy with label smoothing over a large vocabulary, computed in chunks, so that
the logits are never stored as a whole.

The gradient is computed in the same pass as the loss, from the probabilities of a chunk, so that backward needs no
second softmax. Shapes: n positions with a label, D features, V ids.

Label smoothing (Szegedy et al. 2016, section 7): (1 − ε)·nll + ε·(mean over all V ids of −log p), as PyTorch's
`cross_entropy`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Limits of a chunk. Products with the output table run faster on 512 rows than on
# 128 (benchmarks/NOTES.md), and 512 x 8000 float32 are 16 MiB.
MAX_CHUNK_ROWS, MAX_CHUNK_LOGITS = 512, 2**23


@dataclass(frozen=True, slots=True)
class LossSum:
    """Sums over the `labels` labels of a batch, in nats: `objective` (differentiable) and the plain `nll`."""

    objective: Tensor
    nll: Tensor
    labels: int


class FusedCriterion:
    """Base of criteria that compute the logits themselves, in chunks, from hidden vectors and the output table:
    `criterion(hidden, weight, labels)`, with `cap` if the logits are capped."""

    __slots__ = ()


class CrossEntropy(FusedCriterion):
    """Cross-entropy of the next token, the default criterion of `EncoderDecoder.forward`."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def __call__(self, hidden: Tensor, weight: Tensor, labels: Tensor, *, cap: float | None = None) -> LossSum:
        """hidden (n, D), weight (V, D), labels (n,) int64; `cap` bounds the logits as `antiphon.nn.layers.capped`."""
        rows, train = cast_for_products(hidden), torch.is_grad_enabled()
        if cap is None:
            objective, nll = _Chunked.apply(rows, weight, labels, self.label_smoothing, train)
        else:
            objective, nll = _Capped.apply(rows, weight, labels, self.label_smoothing, cap, train)
        return LossSum(objective, nll, labels.numel())


def cast_for_products(hidden: Tensor) -> Tensor:
    """`hidden` in the type in which autocast, if enabled, computes matrix products."""
    kind = hidden.device.type
    return hidden.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else hidden


class SavedGradientLoss(torch.autograd.Function):
    """A loss of (hidden, weight, …) whose forward computes and saves both gradients."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, d_table = ctx.saved_tensors
        outer = gradients[0]
        others = [None] * (len(ctx.needs_input_grad) - 2)
        return d_hidden * outer.to(d_hidden.dtype), d_table * outer.to(d_table.dtype), *others


def chunk_rows(vocab_size: int) -> int:
    """The number of rows in a chunk of logits over `vocab_size` ids."""
    return max(32, min(MAX_CHUNK_ROWS, MAX_CHUNK_LOGITS // vocab_size))


def allocate_gradients(
    hidden: Tensor, weight: Tensor, *, train: bool
) -> tuple[Tensor, torch.dtype, Tensor | None, Tensor | None]:
    """The output table in the type of `hidden`, the type of sums (float32 or wider), and in training memory for the
    gradients of `hidden` (uninitialized) and of the table (zeros)."""
    wide = torch.promote_types(hidden.dtype, torch.float32)
    d_hidden = torch.empty_like(hidden) if train else None
    d_table = torch.zeros(weight.shape, dtype=wide, device=weight.device) if train else None
    return weight.to(hidden.dtype), wide, d_hidden, d_table


class _Chunked(SavedGradientLoss):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, smoothing: float, train: bool
    ) -> tuple[Tensor, Tensor]:
        table, wide, d_hidden, d_table = allocate_gradients(hidden, weight, train=train)
        nll, uniform = hidden.new_zeros((), dtype=wide), hidden.new_zeros((), dtype=wide)
        mean_row = table.mean(0)  # its product with a hidden vector is the mean of the logits of that position
        step = chunk_rows(table.shape[0])
        for start in range(0, hidden.shape[0], step):
            rows, gold = hidden[start : start + step], labels[start : start + step]
            logits = (rows @ table.T).to(wide)
            top = logits.amax(-1, keepdim=True)
            right = logits.gather(1, gold[:, None])
            powers = logits.sub_(top).exp_()
            total = powers.sum(-1, keepdim=True)
            log_sum = top + total.log()
            nll += (log_sum - right).sum()
            if smoothing:
                uniform += (log_sum - (rows @ mean_row).to(wide)[:, None]).sum()
            if d_hidden is None or d_table is None:
                continue
            # The derivative by the logits is p − (1 − ε)·onehot − ε/V with p = powers / total. The division and the
            # two other terms are taken out of the products, so that no further pass over (rows, V) is needed.
            powers = powers.to(hidden.dtype)
            scaled = (rows / total).to(hidden.dtype)
            if rows.dtype == wide:
                d_table.addmm_(powers.T, scaled)
            else:
                d_table += powers.T @ scaled
            d_table.index_add_(0, gold, rows.to(wide), alpha=smoothing - 1)
            d_hidden[start : start + step] = (powers @ table) / total - (1 - smoothing) * table[gold]
        if d_hidden is not None and d_table is not None:
            if smoothing:
                d_hidden -= smoothing * mean_row
                d_table -= hidden.to(wide).sum(0) * (smoothing / table.shape[0])
            ctx.save_for_backward(d_hidden, d_table)
        objective = (1 - smoothing) * nll + smoothing * uniform
        ctx.mark_non_differentiable(nll)
        return objective, nll


class _Capped(SavedGradientLoss):
    """As `_Chunked`, with logits cap · tanh(z / cap). Their derivative 1 − tanh² differs for every id, so no factor of
    the gradient can be moved out of the products."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, smoothing: float, cap: float, train: bool
    ) -> tuple[Tensor, Tensor]:
        table, wide, d_hidden, d_table = allocate_gradients(hidden, weight, train=train)
        nll, uniform = hidden.new_zeros((), dtype=wide), hidden.new_zeros((), dtype=wide)
        step = chunk_rows(table.shape[0])
        for start in range(0, hidden.shape[0], step):
            rows, gold = hidden[start : start + step], labels[start : start + step, None]
            bent = (rows @ table.T).to(wide).div_(cap).tanh_()
            log_p = (bent * cap).log_softmax(-1)
            nll -= log_p.gather(1, gold).sum()
            uniform -= log_p.mean(-1).sum()
            if d_hidden is None or d_table is None:
                continue
            gradient = log_p.exp_().sub_(smoothing / table.shape[0])
            gradient.scatter_add_(1, gold, torch.full_like(gold, 1, dtype=wide) * (smoothing - 1))
            gradient = gradient.mul_(1 - bent.square_()).to(hidden.dtype)
            d_hidden[start : start + step] = gradient @ table
            d_table += gradient.T @ rows
        if d_hidden is not None and d_table is not None:
            ctx.save_for_backward(d_hidden, d_table)
        objective = (1 - smoothing) * nll + smoothing * uniform
        ctx.mark_non_differentiable(nll)
        return objective, nll
