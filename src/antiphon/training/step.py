"""One optimizer step: forward and backward over its micro-batches, clipping, the check that all is finite, the update.

The host synchronizes with a GPU once a step, to check that the gradient is finite. Before that it makes the batches of
the next step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from antiphon.batch import Batch, Example, collate
from antiphon.config import TrainingConfig
from antiphon.errors import ConfigError, NonFiniteError
from antiphon.nn.loss import CrossEntropy, LossSum
from antiphon.nn.mixout import add_mixout
from antiphon.nn.noise import number_sites
from antiphon.training.ahead import BatchPrefetcher, MicroBatch
from antiphon.training.evaluated import EvaluationWeights
from antiphon.training.objectives.distillation import Distillation
from antiphon.training.objectives.r_drop import PairedCrossEntropy, twice
from antiphon.training.parts import LoopParts
from antiphon.training.progress import LogWindow, Progress

NON_FINITE_LIMIT = 5  # consecutive steps with a non-finite loss or gradient after which a run fails


class TrainStep:
    """Trains `parts.network` with `settings`, a `step` at a time."""

    def __init__(self, parts: LoopParts, settings: TrainingConfig) -> None:
        if settings.precision == "float16":
            raise ConfigError(
                "`training.precision` must be float32 or bfloat16, but is float16. "
                "Its range is too small for gradients; take bf16."
            )
        if parts.network.output_cap is not None and (settings.r_drop or parts.teacher is not None):
            name = "r_drop" if settings.r_drop else "distillation"
            raise ConfigError(
                f"`training.{name}` must be left out for a network whose logits are capped "
                f"(`model.output_cap` is {parts.network.output_cap:g}). Its loss does not support a cap."
            )
        self.parts, self.settings = parts, settings
        self.network, self.record = parts.network, parts.record
        if settings.mixout:
            add_mixout(self.network, settings.mixout, self.network.noise)
            number_sites(self.network)
        self.network.checkpoint_activations(settings.checkpoint_activations)
        self.forward: nn.Module | Callable[..., Any] = (
            torch.compile(parts.network, dynamic=True) if settings.compile else parts.network
        )
        smoothing = settings.label_smoothing
        self.criterion = PairedCrossEntropy(smoothing, settings.r_drop) if settings.r_drop else CrossEntropy(smoothing)
        self.distillation = None if parts.teacher is None else Distillation(parts.teacher, settings)
        self.progress = Progress()
        self.trainable = sum(weight.numel() for weight in self.network.parameters() if weight.requires_grad)
        self.evaluated = EvaluationWeights(self.network, parts.optimizer, decay=settings.ema)
        self.ahead = BatchPrefetcher(parts.batches, self.make)

    def step(self) -> None:
        """One optimizer step over `accumulate` micro-batches; every target token of the step has the same weight."""
        began, settings, progress = time.perf_counter(), self.settings, self.progress
        # For custom layers that use PyTorch's global generator.
        torch.manual_seed(settings.seed * 1_000_003 + progress.step)
        self.network.train()
        passes = self.ahead.epoch
        micro_batches = self.ahead.take()
        progress.enter(self.ahead.pass_of_last, passes_before=passes, passes=self.ahead.epoch)
        window = LogWindow(labels=sum(batch.label_places.numel() for _, batch in micro_batches))
        losses = []
        for number, (rows, batch) in enumerate(micro_batches):
            self.network.noise.set(seed=settings.seed, step=progress.step, micro_batch=number)
            with self.precision():
                criterion = self.criterion if self.distillation is None else self.distillation.criterion(batch)
                loss = self.forward(twice(batch) if settings.r_drop else batch, criterion)
            (loss.objective / window.labels).backward()
            window.count(rows, batch)
            losses.append(loss)
        lr = self.update(window, losses, [rows for rows, _ in micro_batches])
        progress.step += 1
        progress.add(window, lr=lr, seconds=time.perf_counter() - began)

    def update(self, window: LogWindow, losses: list[LossSum], examples: list[list[Example]]) -> float:
        """Clip, check and apply the gradient. Returns the learning rate."""
        optimizer, progress = self.parts.optimizer, self.progress
        lr = self.parts.schedule(progress.step + 1)
        bound = self.settings.clip_norm or math.inf
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), bound)
        if self.network.device.type != "cpu" and progress.step + 1 != self.settings.max_steps:
            self.ahead.prepare()  # on a CPU the gradient is complete by now: nothing to overlap
        window.read(losses, norm)
        if math.isfinite(window.grad_norm) and math.isfinite(window.loss):
            for group in optimizer.param_groups:
                group["lr"] = lr * group.get("lr_scale", 1.0)
            optimizer.step()
            progress.non_finite = 0
        else:
            self.skip_step(window, examples)
        optimizer.zero_grad(set_to_none=True)
        self.evaluated.update(progress.step + 1)
        return lr

    def skip_step(self, window: LogWindow, examples: list[list[Example]]) -> None:
        """Leave the weights unchanged after a non-finite gradient. NonFiniteError after too many steps in a row."""
        self.progress.non_finite += 1
        seen = (window.loss / max(1, window.labels), window.grad_norm)
        window.loss = window.nll = 0.0
        window.counted = 0  # exclude the step from the averages of the log window
        indices = [example.index for rows in examples for example in rows]
        some = ", ".join(map(str, indices[:8])) + (", …" if len(indices) > 8 else "")
        what = (
            f"the loss ({seen[0]:g}) and gradient norm ({seen[1]:g}) of step {self.progress.step + 1} "
            f"must be finite (examples {some})"
        )
        if self.progress.non_finite >= NON_FINITE_LIMIT:
            raise NonFiniteError(
                f"{what}; {NON_FINITE_LIMIT} steps in a row were not. Lower `training.lr` or look at these examples; "
                "the last snapshot is untouched."
            )
        self.record.say(
            f"{what}; the step changed nothing ({self.progress.non_finite} of {NON_FINITE_LIMIT} in a row)."
        )

    def make(self) -> list[MicroBatch]:
        """Read and collate the micro-batches of the next step, on the network's device."""
        examples = [self.ahead.draw() for _ in range(self.settings.accumulate)]
        return [(rows, self.collate(rows).to(self.network.device)) for rows in examples]

    def collate(self, rows: list[Example]) -> Batch:
        return collate(rows, pad_id=self.parts.pad_id, start_id=self.parts.start_id)

    def precision(self) -> AbstractContextManager[Any]:
        """The autocast context: with bfloat16, weights, reductions and updates stay in float32."""
        if self.settings.precision == "bfloat16":
            return torch.autocast(self.network.device.type, dtype=torch.bfloat16)
        return nullcontext()
