"""R-Drop: each batch passes twice with different dropout, and the two output distributions are pulled together.

Liang et al. 2021, R-Drop: Regularized Dropout for Neural Networks, section 2::

    loss = network(twice(batch), PairedCrossEntropy(label_smoothing=0.1, alpha=5.0))

As in the paper, both passes are rows of one forward. Dropout and word dropout differ between them; layer drop and
mixout, which are drawn once a forward, agree. With a and b the label-smoothed cross-entropies of the passes, and p and
q their distributions, the objective is half of the paper's, so that it is on the scale of a single pass:

    1/2 · [a + b + α · 1/2 · (KL(p‖q) + KL(q‖p))]

`nll` is the mean of the two passes, `labels` the count of one. As in `CrossEntropy`, the full logits are never
materialized, and the gradient is computed in the same pass: with Δ = log p − log q, the derivative of KL(p‖q) + KL(q‖p)
with respect to the logits of p is p·(Δ − KL(p‖q)) + p − q.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from antiphon.batch import Batch, Tokens
from antiphon.nn.loss import (
    FusedCriterion,
    LossSum,
    SavedGradientLoss,
    allocate_gradients,
    cast_for_products,
    chunk_rows,
)


def twice(batch: Batch) -> Batch:
    """The rows of `batch` twice: all rows, followed by all rows again."""

    def tokens(value: Tokens) -> Tokens:
        pos, segment, prefix = (
            None if part is None else torch.cat([part, part]) for part in (value.pos, value.segment, value.prefix)
        )
        assert pos is not None
        return Tokens(pos, segment, prefix, in_order=value.in_order)

    names = ("source", "target_ids", "labels", "label_mask", "index")
    return replace(
        batch,
        source_tokens=tokens(batch.source_tokens),
        target_tokens=tokens(batch.target_tokens),
        label_places=torch.cat([batch.label_places, batch.label_places + batch.labels.numel()]),
        **{name: torch.cat([getattr(batch, name)] * 2) for name in names},
    )


class PairedCrossEntropy(FusedCriterion):
    """The criterion for a batch from `twice`."""

    def __init__(self, label_smoothing: float, alpha: float) -> None:
        self.label_smoothing, self.alpha = label_smoothing, alpha

    def __call__(self, hidden: Tensor, weight: Tensor, labels: Tensor) -> LossSum:
        """hidden (2·n, D), weight (V, D), labels (2·n,) int64: n rows of the first pass, then n of the second."""
        labels = labels[: labels.numel() // 2]
        settings = (self.label_smoothing, self.alpha, torch.is_grad_enabled())
        objective, nll = _Pair.apply(cast_for_products(hidden), weight, labels, *settings)
        return LossSum(objective, nll, labels.numel())


class _Pair(SavedGradientLoss):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, smoothing: float, alpha: float, train: bool
    ) -> tuple[Tensor, Tensor]:
        table, wide, d_hidden, d_table = allocate_gradients(hidden, weight, train=train)
        nll, uniform, divergence = (hidden.new_zeros((), dtype=wide) for _ in range(3))
        total = labels.numel()
        step = chunk_rows(table.shape[0])
        for start in range(0, total, step):
            end = min(start + step, total)
            gold = labels[start:end, None]
            places = [slice(start, end), slice(total + start, total + end)]
            logs = [(hidden[place] @ table.T).to(wide).log_softmax(-1) for place in places]
            p, q = (log.exp() for log in logs)
            gap = logs[0] - logs[1]
            forth, back = (p * gap).sum(-1, keepdim=True), -(q * gap).sum(-1, keepdim=True)
            divergence += forth.sum() + back.sum()
            for log in logs:
                nll -= log.gather(1, gold).sum()
                uniform -= log.mean(-1).sum()
            if d_hidden is None or d_table is None:
                continue
            pulls = (p * (gap - forth) + p - q, q * (-gap - back) + q - p)
            for place, own, pull in zip(places, (p, q), pulls, strict=True):
                gradient = own.sub_(smoothing / table.shape[0])
                gradient.scatter_add_(1, gold, torch.full_like(gold, 1, dtype=wide) * (smoothing - 1))
                gradient = gradient.add_(pull, alpha=alpha / 2).div_(2).to(hidden.dtype)
                d_hidden[place] = gradient @ table
                d_table += gradient.T @ hidden[place]
        if d_hidden is not None and d_table is not None:
            ctx.save_for_backward(d_hidden, d_table)
        objective = ((1 - smoothing) * nll + smoothing * uniform + alpha / 2 * divergence) / 2
        nll = nll / 2
        ctx.mark_non_differentiable(nll)
        return objective, nll
