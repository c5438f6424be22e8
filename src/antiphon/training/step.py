"""One optimizer step: forward and backward over its micro-batches, clipping, the check that all is finite, the update.

The host synchronizes with a GPU once a step, to check that the gradient is finite. Before that it makes the batches of
the next step.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from antiphon.batch import Batch, Example, collate
from antiphon.config import TrainingConfig
from antiphon.distributed.world import World
from antiphon.errors import ConfigError, NonFiniteError
from antiphon.nn.loss import LossSum
from antiphon.nn.noise import RowRanges
from antiphon.splitmix import mix
from antiphon.training.ahead import BatchPrefetcher, MicroBatch
from antiphon.training.evaluated import EvaluationWeights
from antiphon.training.guards.protection import RunProtection
from antiphon.training.objectives.step_objective import StepObjective
from antiphon.training.parallel.exchange import StepExchange
from antiphon.training.parallel.single import SingleProcess
from antiphon.training.parts import LoopParts
from antiphon.training.progress import LogWindow, Progress
from antiphon.training.signals import StopSignal

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
        self.parts, self.settings, self.record = parts, settings, parts.record
        self.parallel = parts.parallel or SingleProcess(parts.network, settings, World())
        self.world, self.network, self.forward = self.parallel.world, self.parallel.network, self.parallel.forward
        self.objective = StepObjective(parts.network, settings, teacher=parts.teacher, left_out=parts.special_ids)
        self.progress = Progress()
        self.trainable = sum(weight.numel() for weight in self.network.parameters() if weight.requires_grad)
        self.evaluated = EvaluationWeights(self.network, parts.optimizer, decay=settings.ema)
        self.ahead = BatchPrefetcher(parts.batches, self.make)
        self.stop = StopSignal(self.record.say, self.world)
        self.protection = RunProtection(self.progress, settings, self.record)
        self.exchange = StepExchange(self.world, self.stop, self.parallel.device)

    def step(self) -> None:
        """One optimizer step over `accumulate` micro-batches; every target token of the step has the same weight."""
        progress = self.progress
        self.exchange.begin()
        self.network.train()
        passes = self.ahead.epoch
        micro_batches = self.ahead.take()
        progress.enter(self.ahead.pass_of_last, passes_before=passes, passes=self.ahead.epoch)
        window = LogWindow()
        for rows, _ in micro_batches:
            window.count(rows)
        losses = self.protection.in_parts(lambda: self.gradients(micro_batches, window.labels), self.parallel)
        window.split = self.protection.splitter.count
        lr = self.update(window, losses, [rows for rows, _ in micro_batches])
        progress.step += 1
        progress.add(window, lr=lr, seconds=self.protection.counted(self.exchange.end()))
        if window.counted:
            self.protection.judge(window.nll / window.labels)

    def gradients(self, micro_batches: list[MicroBatch], labels: int) -> list[LossSum]:
        """Forward and backward of this rank's micro-batches, of a step with `labels` labels; returns their losses."""
        losses = []
        numbers = self.parallel.share(len(micro_batches))
        for place, number in enumerate(numbers, start=1):
            ending = place == len(numbers)
            batch = None if number is None else micro_batches[number][1]
            beside = self.parallel.beside(place - 1, len(micro_batches))
            least = self.protection.passes([micro_batches[other][0] for other in beside])
            for part in self.protection.parts(batch, least=least):
                with self.parallel.synchronizing(last=ending and part.last):
                    if part.batch is None:
                        # One example that counts nothing: the other ranks wait for the collectives of this pass.
                        empty = self.collate(micro_batches[0][0][:1]).to(self.parallel.device)
                        (self.loss(empty, number=len(micro_batches)).objective * 0.0).backward()
                        continue
                    assert number is not None
                    loss = self.loss(part.batch, number=number, rows=part.rows)
                    (loss.objective / labels).backward()
                    losses.append(loss)
        self.parallel.drop_unused(step=self.progress.step, count=len(micro_batches))
        return losses

    def loss(self, batch: Batch, *, number: int, rows: RowRanges | None = None) -> LossSum:
        """The loss of micro-batch `number` of the step, or of its `rows`. Its random bits depend on the number, not on
        the rank."""
        settings, step = self.settings, self.progress.step
        # For custom layers that use PyTorch's global generator. On a CPU not by `torch.manual_seed`, which also formats
        # the stack of this call for each kind of device that is not there.
        manual_seed = torch.default_generator.manual_seed if self.parallel.device.type == "cpu" else torch.manual_seed
        manual_seed(mix(settings.seed, step, number) if number else settings.seed * 1_000_003 + step)
        self.network.noise.set(seed=settings.seed, step=step, micro_batch=number, rows=rows)
        with self.precision(), self.protection.splitter.watching(rows, self.parallel.device):
            return self.objective.loss(self.forward, batch)

    def update(self, window: LogWindow, losses: list[LossSum], examples: list[list[Example]]) -> float:
        """Clip, check and apply the gradient. Returns the learning rate."""
        optimizer, progress = self.parts.optimizer, self.progress
        lr = self.parts.schedule(progress.step + 1)
        sums = self.exchange.sums(losses, self.parallel.square())
        norm = self.parallel.clip(self.settings.clip_norm or math.inf, sums.square)
        if self.parallel.device.type != "cpu" and progress.step + 1 != self.settings.max_steps:
            self.ahead.prepare()  # on a CPU the gradient is complete by now: nothing to overlap
        window.loss, window.nll, window.grad_norm = self.exchange.read(sums, norm)
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
        """Read the micro-batches of the next step, and collate those of this rank, on its device.

        Every rank reads all of them: so each knows the labels, the tokens and the examples of the whole step.
        """
        examples = [self.ahead.draw() for _ in range(self.settings.accumulate)]
        own = {*self.parallel.share(len(examples))}
        return [
            (rows, self.collate(rows).to(self.parallel.device) if number in own else None)
            for number, rows in enumerate(examples)
        ]

    def collate(self, rows: list[Example]) -> Batch:
        return collate(rows, pad_id=self.parts.pad_id, start_id=self.parts.start_id)

    def precision(self) -> AbstractContextManager[Any]:
        """The autocast context: with bfloat16, weights, reductions and updates stay in float32."""
        if self.settings.precision == "bfloat16":
            return torch.autocast(self.parallel.device.type, dtype=torch.bfloat16)
        return nullcontext()
