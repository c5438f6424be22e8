"""The training loop, on one page.

Between two optimizer steps it validates, saves and stops; so a snapshot always stands between steps, and a resumed run
repeats the uninterrupted one bit by bit: data order, dropout and foreign layers' random numbers are functions of (seed,
step), never of a global state that went on.

A GPU computes while its host goes on. Within a step the host waits for it once, to learn whether the gradient is
finite; before that it has made the next step's batches.
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
from antiphon.training.ahead import BatchPrefetcher, BatchStream, Made
from antiphon.training.evaluated import EvaluationWeights
from antiphon.training.objectives.distillation import Distillation
from antiphon.training.objectives.r_drop import PairedCrossEntropy, twice
from antiphon.training.progress import LogWindow, Progress
from antiphon.training.reporting.record import METRICS, SAMPLES, RunLog, Sample
from antiphon.training.resume import WEIGHTS, TrainState, load_snapshot, save_snapshot, save_start, weights_file
from antiphon.training.signals import StopSignal
from antiphon.training.snapshot import SnapshotStore

NON_FINITE_LIMIT = 5  # steps in a row whose loss or gradient is not finite, after which a run gives up


@dataclass(frozen=True, slots=True)
class Validation:
    """What a validation found: figures by name, answers to show, and the score that chooses the best model.

    A higher score is better; of equal scores, the one with the lower `valid_loss`.
    """

    figures: dict[str, float]
    samples: Sequence[Sample]
    score: float

    @property
    def rank(self) -> tuple[float, float]:
        """The score, and what decides between equal ones; higher is better, and what is not a number is the worst."""
        found = (self.score, -self.figures.get("valid_loss", 0.0))
        return -math.inf if math.isnan(found[0]) else found[0], -math.inf if math.isnan(found[1]) else found[1]


Validator = Callable[[EncoderDecoder, Callable[[], bool]], Validation | None]  # None: it was asked to stop


@dataclass(frozen=True, slots=True)
class LoopParts:
    """What the loop works with.

    `schedule` gives the rate of a step, `validate` may be None, `keep` saves the weights as the best so far. `teacher`
    is the network that the settings distil from.
    """

    network: EncoderDecoder
    batches: BatchStream
    optimizer: torch.optim.Optimizer
    schedule: Callable[[int], float]
    validate: Validator | None
    keep: Callable[[EncoderDecoder], None]
    record: RunLog
    store: SnapshotStore
    pad_id: int
    start_id: int
    teacher: EncoderDecoder | None = None


class Loop:
    """Trains `parts.network` by `settings`; `run` returns why it ended."""

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
                f"(`model.output_cap` is {parts.network.output_cap:g}). Its loss knows of no cap."
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
        """Continue from the newest snapshot that verifies; False where there is none."""
        snapshot = self.parts.store.newest()
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
                if not self.stop.asked and self.validation_due(reason is not None):
                    self.validate()
                    reason = self.ended()
                if self.stop.asked or reason or self.save_due():
                    self.save()
                if self.stop.asked:
                    how = argument("antiphon.train(recipe, resume=True)", flag="--resume")
                    self.record.say(f"stopped at step {progress.step}, which is saved; continue with {how}")
                self.stop.obey()
                if reason:
                    if (
                        progress.window.seconds
                    ):  # behind the snapshot, so that a run that goes on does not hold this row
                        self.measure()
                    return reason
                self.step()
                self.record.display.tick(progress.step)
                if any(map(progress.due, self.settings.logs)):
                    self.measure()

    def measure(self) -> None:
        """Write the figures since the last row, and how many parameters learn."""
        row = self.progress.row(self.settings)
        self.record.measure({**row, "trainable_parameters": self.trainable})

    def step(self) -> None:
        """One optimizer step over `accumulate` micro-batches, each label weighing the same."""
        began, settings, progress = time.perf_counter(), self.settings, self.progress
        torch.manual_seed(
            settings.seed * 1_000_003 + progress.step
        )  # for layers of the user's own that draw by themselves
        self.network.train()
        passes = self.ahead.epoch
        made = self.ahead.take()
        progress.enter(self.ahead.pass_of_last, passes_before=passes, passes=self.ahead.epoch)
        window = LogWindow(labels=sum(batch.label_places.numel() for _, batch in made))
        losses = []
        for number, (rows, batch) in enumerate(made):
            self.network.noise.set(seed=settings.seed, step=progress.step, micro_batch=number)
            with self.precision():
                criterion = self.criterion if self.distillation is None else self.distillation.criterion(batch)
                loss = self.forward(twice(batch) if settings.r_drop else batch, criterion)
            (loss.objective / window.labels).backward()
            window.count(rows, batch)
            losses.append(loss)
        lr = self.update(window, losses, [rows for rows, _ in made])
        progress.step += 1
        progress.add(window, lr=lr, seconds=time.perf_counter() - began)

    def update(self, window: LogWindow, losses: list[LossSum], examples: list[list[Example]]) -> float:
        """Clip, check and apply the gradient; the rate that was used."""
        optimizer, progress = self.parts.optimizer, self.progress
        lr = self.parts.schedule(progress.step + 1)
        bound = self.settings.clip_norm or math.inf
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), bound)
        if self.network.device.type != "cpu" and progress.step + 1 != self.settings.max_steps:
            self.ahead.prepare()  # a CPU has computed the gradient by now, and would gain nothing
        window.read(losses, norm)
        if math.isfinite(window.grad_norm) and math.isfinite(window.loss):
            for group in optimizer.param_groups:
                group["lr"] = lr * group.get("lr_scale", 1.0)
            optimizer.step()
            progress.non_finite = 0
        else:
            self.refuse(window, examples)
        optimizer.zero_grad(set_to_none=True)
        self.evaluated.update(progress.step + 1)
        return lr

    def refuse(self, window: LogWindow, examples: list[list[Example]]) -> None:
        """Leave the weights as they are; give up after too many in a row."""
        self.progress.non_finite += 1
        seen = (window.loss / max(1, window.labels), window.grad_norm)
        window.loss = window.nll = 0.0
        window.counted = 0  # a figure that is not finite says nothing of the steps around it
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
        """At the end of each interval, and of the run; not twice at one step."""
        step = self.progress.step
        due = step > 0 and (ending or self.progress.due(self.validate_every))
        return self.parts.validate is not None and due and self.progress.validated != step

    def validate(self) -> None:
        """Measure, and keep the weights if they are the best so far."""
        assert self.parts.validate is not None
        self.network.eval()
        with self.evaluated.shown():
            found = self.parts.validate(self.network, lambda: self.stop.asked)
            if found is None:
                return
            progress, count = self.progress, self.settings.average_best
            progress.validated = progress.step
            self.record.validation({**progress.place(), **found.figures}, found.samples)
            if progress.improves(found.rank):
                self.parts.keep(self.network)
            if count > 1 and progress.among_best(found.rank, count):
                self.best.save(progress.step, {WEIGHTS: weights_file(learned_weights(self.network))})

    def save_due(self) -> bool:
        return self.progress.due(self.settings.saves)

    def save(self) -> None:
        """Write a snapshot of this moment, unless it is there."""
        if self.progress.saved == self.progress.step:
            return
        self.progress.saved = self.progress.step
        save_snapshot(self.parts.store, self.now)
        # Only now, since a run that is killed before goes on from a snapshot that may still count on them.
        self.best.prune([step for _, step in self.progress.bests])

    def ended(self) -> str | None:
        """Why the run is over, or None."""
        progress, settings = self.progress, self.settings
        if settings.max_steps is not None and progress.step >= settings.max_steps:
            return f"{progress.step} steps are done"
        if settings.max_epochs is not None and progress.passes >= settings.max_epochs:
            return f"{settings.max_epochs:g} epochs are done"
        if settings.max_minutes is not None and progress.seconds >= 60 * settings.max_minutes:
            return f"{settings.max_minutes:g} minutes of training are over"
        if settings.patience is not None and progress.worse >= settings.patience:
            return f"{settings.patience} validations in a row brought nothing better"
        return None

    def make(self) -> list[Made]:
        """The micro-batches of the stream's next step, on the network's device."""
        examples = [self.ahead.draw() for _ in range(self.settings.accumulate)]
        return [(rows, self.collate(rows).to(self.network.device)) for rows in examples]

    def collate(self, rows: list[Example]) -> Batch:
        return collate(rows, pad_id=self.parts.pad_id, start_id=self.parts.start_id)

    def precision(self) -> AbstractContextManager[Any]:
        """bfloat16 computes in bfloat16 with float32 weights, sums and updates."""
        if self.settings.precision == "bfloat16":
            return torch.autocast(self.network.device.type, dtype=torch.bfloat16)
        return nullcontext()
