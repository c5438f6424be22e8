"""The training loop.

Validation, saving and stopping happen between optimizer steps, so a snapshot is always taken between steps. A resumed
run repeats the uninterrupted one bit by bit: data order, dropout and the random numbers of custom layers are functions
of (seed, step), never of a global random state.

The host synchronizes with a GPU once a step, to check that the gradient is finite. Before that it makes the batches of
the next step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from antiphon.batch import Batch, Example, collate
from antiphon.config import TrainingConfig
from antiphon.config.interval import Interval
from antiphon.errors import ConfigError, NonFiniteError, argument
from antiphon.models.folders.checkpoint import learned_weights
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.loss import CrossEntropy, LossSum
from antiphon.nn.mixout import add_mixout
from antiphon.nn.noise import number_sites
from antiphon.training.ahead import BatchPrefetcher, BatchStream, MicroBatch
from antiphon.training.evaluated import EvaluationWeights
from antiphon.training.objectives.distillation import Distillation
from antiphon.training.objectives.r_drop import PairedCrossEntropy, twice
from antiphon.training.progress import LogWindow, Progress
from antiphon.training.reporting.record import METRICS, SAMPLES, RunLog, Sample
from antiphon.training.resume import WEIGHTS, TrainState, load_snapshot, save_snapshot, save_start
from antiphon.training.saving.tensor_file import copied, tensor_file
from antiphon.training.signals import StopSignal
from antiphon.training.snapshot import SnapshotStore

NON_FINITE_LIMIT = 5  # consecutive steps with a non-finite loss or gradient after which a run fails


@dataclass(frozen=True, slots=True)
class Validation:
    """The result of a validation: figures by name, sample answers, and the score that selects the best model.

    A higher score is better; among equal scores the lower `valid_loss` is better.
    """

    figures: dict[str, float]
    samples: Sequence[Sample]
    score: float

    @property
    def rank(self) -> tuple[float, float]:
        """The score and a tie-breaker (the negated `valid_loss`); higher is better, and NaN is worst."""
        found = (self.score, -self.figures.get("valid_loss", 0.0))
        return -math.inf if math.isnan(found[0]) else found[0], -math.inf if math.isnan(found[1]) else found[1]


Validator = Callable[[EncoderDecoder, Callable[[], bool]], Validation | None]  # returns None if it was interrupted


@dataclass(frozen=True, slots=True)
class LoopParts:
    """The parts that the loop connects.

    `schedule` returns the learning rate of a step, from 1. `validate` may be None. `save_best` saves the weights as the
    best model so far. `teacher` is the teacher network of distillation.
    """

    network: EncoderDecoder
    batches: BatchStream
    optimizer: torch.optim.Optimizer
    schedule: Callable[[int], float]
    validate: Validator | None
    save_best: Callable[[EncoderDecoder], None]
    record: RunLog
    store: SnapshotStore
    pad_id: int
    start_id: int
    teacher: EncoderDecoder | None = None


class Loop:
    """Trains `parts.network` with `settings`; `run` returns the reason why training ended."""

    def __init__(self, parts: LoopParts, settings: TrainingConfig, *, validate_every: Interval) -> None:
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
        self.parts, self.settings, self.validate_every = parts, settings, validate_every
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
        state = (self.evaluated, parts.optimizer, self.ahead, self.progress)
        self.now = TrainState(self.network, *state, self.record, self.distillation)
        self.best = SnapshotStore(parts.store.folder.with_name("best"), keep=None, say=self.record.say)
        self.stop = StopSignal(self.record.say)

    def resume(self) -> bool:
        """Continue from the newest valid snapshot; False if there is none."""
        snapshot = self.parts.store.newest(self.now.world)
        if snapshot is None:
            self.record.say("there is no whole snapshot to continue; starting from the beginning")
            self.record.cut({METRICS: 0, SAMPLES: 0})
            return False
        load_snapshot(snapshot, self.now)
        return True

    def run(self) -> str:
        """Train to the end. Ctrl-C or SIGTERM: save, then KeyboardInterrupt or SystemExit(143)."""
        progress = self.progress
        with self.stop, torch.random.fork_rng(devices=[]):
            if progress.step == 0:
                save_start(self.record.folder, self.network)
            while True:
                reason = self.ended()
                if not self.stop.requested and self.validation_due(reason is not None):
                    self.validate()
                    reason = self.ended()
                if self.stop.requested or reason or self.save_due():
                    self.save()
                if self.stop.requested or reason or self.parts.store.background.failed:
                    self.parts.store.wait()
                if self.stop.requested:
                    how = argument("antiphon.train(recipe, resume=True)", flag="--resume")
                    self.record.say(f"stopped at step {progress.step}, which is saved; continue with {how}")
                self.stop.raise_if_requested()
                if reason:
                    # After the snapshot, so that this partial row is dropped if the run is continued.
                    if progress.window.seconds:
                        self.measure()
                    return reason
                self.step()
                self.record.display.tick(progress.step)
                if any(map(progress.due, self.settings.logs)):
                    self.measure()

    def measure(self) -> None:
        """Log the figures since the last row, and the number of trainable parameters."""
        row = self.progress.row(self.settings)
        self.record.measure({**row, "trainable_parameters": self.trainable})

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

    def validation_due(self, ending: bool) -> bool:
        """Whether to validate now: at the end of each interval and of the run, at most once a step."""
        step = self.progress.step
        due = step > 0 and (ending or self.progress.due(self.validate_every))
        return self.parts.validate is not None and due and self.progress.validated != step

    def validate(self) -> None:
        """Validate, log the figures, and save the weights if they are the best so far."""
        assert self.parts.validate is not None
        self.network.eval()
        with self.evaluated.applied():
            found = self.parts.validate(self.network, lambda: self.stop.requested)
            if found is None:
                return
            progress, count = self.progress, self.settings.average_best
            progress.validated = progress.step
            self.record.validation({**progress.position(), **found.figures}, found.samples)
            if progress.improves(found.rank):
                self.parts.save_best(self.network)
            if count > 1 and progress.among_best(found.rank, count):
                self.best.save(progress.step, {WEIGHTS: tensor_file(copied(learned_weights(self.network)))})

    def save_due(self) -> bool:
        return self.progress.due(self.settings.saves)

    def save(self) -> None:
        """Start to write a snapshot of the current step, unless it exists already."""
        if self.progress.saved == self.progress.step:
            return
        self.progress.saved = self.progress.step
        # Those that are no longer among the best go after the snapshot is complete: a run killed before that resumes
        # from an older one, which may refer to them.
        stale = {*self.best.steps()} - {step for _, step in self.progress.bests}
        save_snapshot(self.parts.store, self.now, then=lambda: self.best.drop(stale))

    def ended(self) -> str | None:
        """The reason why the run is complete, or None."""
        progress, settings = self.progress, self.settings
        if settings.max_steps is not None and progress.step >= settings.max_steps:
            return f"{progress.step} steps are done"
        if settings.max_epochs is not None and progress.passes >= settings.max_epochs:
            return f"{settings.max_epochs:g} epochs are done"
        if settings.max_minutes is not None and progress.seconds >= 60 * settings.max_minutes:
            return f"{settings.max_minutes:g} minutes of training are over"
        if settings.patience is not None and progress.worse >= settings.patience:
            return f"{settings.patience} validations in a row without improvement"
        return None

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
