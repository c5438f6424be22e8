"""Word-level knowledge distillation: the student is trained towards the teacher's distribution of each target token.

    distillation = Distillation(teacher, settings)
    loss = student(batch, distillation.criterion(batch))

Kim and Rush 2016, Sequence-Level Knowledge Distillation, section 3.1, with the temperature of Hinton et al. 2015,
section 2. Both networks read the same source and the same target prefix (teacher forcing). With p and q the teacher's
and the student's distributions at temperature T, w the weight, and label-smoothed cross-entropy as in `CrossEntropy`,
the objective is

    (1 − w)·cross-entropy + w·T²·KL(p‖q)

It differs from the papers' by the teacher's entropy, a constant, so that it is 0 where the two agree. `nll` is the
student's plain negative log-likelihood. As in `CrossEntropy`, the full logits of neither network are materialized: rows
are processed in chunks, and the gradient is computed in the same pass. With respect to the student's logits it is

    (1 − w)·(q₁ − target) + w·T·(q − p)

with q₁ the student's distribution at temperature 1.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from antiphon.batch import Batch
from antiphon.config import TrainingConfig
from antiphon.errors import ModelError
from antiphon.models.folders.checkpoint import named_weights
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.loss import (
    FusedCriterion,
    LossSum,
    SavedGradientLoss,
    allocate_gradients,
    cast_for_products,
    chunk_rows,
)

LogitsOf = Callable[[Tensor], Tensor]


class Distillation:
    """Distillation by `settings.distillation` from a frozen teacher: no dropout, no gradient."""

    def __init__(self, teacher: EncoderDecoder, settings: TrainingConfig) -> None:
        assert settings.distillation is not None
        self.teacher = teacher.eval().requires_grad_(False)
        self.settings, self.label_smoothing = settings.distillation, settings.label_smoothing

    def criterion(self, batch: Batch) -> DistilledCrossEntropy:
        """The criterion of `EncoderDecoder.forward` for this batch only. Runs the teacher on it."""
        with torch.no_grad():
            memory = self.teacher.encode(batch.source, batch.source_tokens)
            hidden, _ = self.teacher.decode(batch.target_ids, batch.target_tokens, memory, None)
        weight, temperature = self.settings.weight, self.settings.temperature
        theirs = hidden.flatten(0, 1).index_select(0, batch.label_places)
        return DistilledCrossEntropy(theirs, self.teacher.logits, weight, temperature, self.label_smoothing)

    @functools.cached_property
    def digest(self) -> str:
        """A hash of the teacher's weights."""
        found = hashlib.sha256()
        for name, weight in named_weights(self.teacher).items():
            found.update(f"{name} {tuple(weight.shape)}".encode())
            found.update(weight.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return found.hexdigest()

    def refuse_another(self, digest: str | None) -> None:
        """Raise ModelError unless `digest`, from a snapshot, is that of this teacher."""
        if digest != self.digest:
            raise ModelError(
                f"a resumed run must find its teacher as it was, but the weights in "
                f"`{'` and `'.join(self.settings.teachers)}` are others. Put them back, or start a new run."
            )


@dataclass(frozen=True, slots=True)
class DistilledCrossEntropy(FusedCriterion):
    """The criterion of one batch. `hidden` are the teacher's vectors for its target positions; `logits` maps them."""

    hidden: Tensor
    logits: LogitsOf
    weight: float
    temperature: float
    label_smoothing: float

    def __call__(self, hidden: Tensor, weight: Tensor, labels: Tensor) -> LossSum:
        """hidden (n, D), weight (V, D), labels (n,) int64; the teacher's own `hidden` (n, its width)."""
        objective, nll = _Distilled.apply(
            cast_for_products(hidden), weight, labels, self.hidden, self, torch.is_grad_enabled()
        )
        return LossSum(objective, nll, labels.numel())


class _Distilled(SavedGradientLoss):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        labels: Tensor,
        theirs: Tensor,
        settings: DistilledCrossEntropy,
        train: bool,
    ) -> tuple[Tensor, Tensor]:
        smoothing, share, heat = settings.label_smoothing, settings.weight, settings.temperature
        table, wide, d_hidden, d_table = allocate_gradients(hidden, weight, train=train)
        nll, uniform, divergence = (hidden.new_zeros((), dtype=wide) for _ in range(3))
        mean_row = table.mean(0)  # its product with a hidden vector is the mean of the logits of that position
        step = chunk_rows(table.shape[0])
        for start in range(0, hidden.shape[0], step):
            place = slice(start, start + step)
            rows, gold = hidden[place], labels[place]
            logits = (rows @ table.T).to(wide)
            log_sum = logits.logsumexp(-1, keepdim=True)
            nll += (log_sum - logits.gather(1, gold[:, None])).sum()
            if smoothing:
                uniform += (log_sum - (rows @ mean_row).to(wide)[:, None]).sum()
            asked = settings.logits(theirs[place]).to(wide)
            wanted = (asked if heat == 1 else asked / heat).log_softmax(-1)
            own = logits.sub_(log_sum)
            softer = own if heat == 1 else (own / heat).log_softmax(-1)
            p = wanted.exp()
            divergence += torch.linalg.vecdot(p, wanted.sub_(softer)).sum()
            if d_hidden is None or d_table is None:
                continue
            # The gradient of the smoothed targets: the one-hot and the uniform part are subtracted here.
            if heat == 1:
                gradient = own.exp_().sub_(p, alpha=share)
            else:
                gradient = softer.exp_().sub_(p).mul_(share * heat).add_(own.exp_(), alpha=1 - share)
            gradient = gradient.to(hidden.dtype)
            d_table += gradient.T @ rows
            d_table.index_add_(0, gold, rows.to(wide), alpha=(1 - share) * (smoothing - 1))
            d_hidden[place] = gradient @ table - (1 - share) * (1 - smoothing) * table[gold]
        if d_hidden is not None and d_table is not None:
            if smoothing:
                d_hidden -= (1 - share) * smoothing * mean_row
                d_table -= hidden.to(wide).sum(0) * ((1 - share) * smoothing / table.shape[0])
            ctx.save_for_backward(d_hidden, d_table)
        objective = (1 - share) * ((1 - smoothing) * nll + smoothing * uniform) + share * heat**2 * divergence
        ctx.mark_non_differentiable(nll)
        return objective, nll
