"""The training loop: when to validate, to save and to end. A step is in step.py.

Validation, saving and stopping happen between optimizer steps, so a snapshot is always taken between steps. A resumed
run repeats the uninterrupted one bit by bit: data order, dropout and the random numbers of custom layers are functions
of (seed, step), never of a global random state.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from antiphon.config import TrainingConfig
from antiphon.config.interval import Interval
from antiphon.errors import argument
from antiphon.models.folders.checkpoint import learned_weights
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.training.guards.failures import named_failures
from antiphon.training.guards.rollback import recover
from antiphon.training.parts import LoopParts, Validation
from antiphon.training.reporting.record import METRICS, SAMPLES
from antiphon.training.resume import WEIGHTS, TrainState, load_snapshot, save_snapshot, save_start, snapshot_bytes
from antiphon.training.saving.space import SpaceCheck
from antiphon.training.saving.tensor_file import copied, tensor_file
from antiphon.training.snapshot import SnapshotStore
from antiphon.training.step import TrainStep

__all__ = ["Loop", "LoopParts", "Validation"]


class Loop(TrainStep):
    """Trains `parts.network` with `settings`; `run` returns the reason why training ended."""

    def __init__(self, parts: LoopParts, settings: TrainingConfig, *, validate_every: Interval) -> None:
        super().__init__(parts, settings)
        self.validate_every = validate_every
        state = (self.evaluated, parts.optimizer, self.ahead, self.progress)
        self.now = TrainState(self.network, *state, self.record, self.objective.distillation, self.world)
        self.best = SnapshotStore(parts.store.folder.with_name("best"), keep=None, say=self.record.say)
        self.space = SpaceCheck(parts.store, lambda: snapshot_bytes(self.now))

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
        failures = named_failures(self.parallel.device, lambda: progress.step, self.parts.store)
        with self.stop, torch.random.fork_rng(devices=[]), failures, self.parts.store.background:
            self.protection.recall(self.world)
            if progress.step == 0 and self.world.main:
                save_start(self.record.folder, self.network)
            while True:
                self.recover_from_divergence()
                reason = self.ended()
                if not self.stop.requested and self.validation_due(reason is not None):
                    self.validate()
                    reason = self.ended()
                if self.stop.requested or reason or self.save_due():
                    self.save()
                # Other ranks hear of a failed write at the next save or at the end, where all of them wait.
                failed = self.now.world.size == 1 and self.parts.store.background.failed
                if self.stop.requested or reason or failed:
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
                self.space.before_step(self.now.world)
                self.step()
                self.space.after_step(self.now.world)
                self.record.display.tick(progress.step)
                if any(map(progress.due, self.settings.logs)):
                    self.measure()

    def recover_from_divergence(self) -> None:
        """Go back to the last good snapshot, or raise DivergenceError, if the loss has left its range."""
        found, self.protection.divergence = self.protection.divergence, None
        if found is not None:
            recover(found, self.now, self.parts.store, self.settings, self.protection.events)

    def measure(self) -> None:
        """Log the figures since the last row, and the number of trainable parameters."""
        row = self.progress.row(self.settings)
        self.record.measure({**row, "trainable_parameters": self.trainable})

    def validation_due(self, ending: bool) -> bool:
        """Whether to validate now: at the end of each interval and of the run, at most once a step."""
        step = self.progress.step
        due = step > 0 and (ending or self.progress.due(self.validate_every))
        return self.parts.validate is not None and due and self.progress.validated != step

    def validate(self) -> None:
        """Validate, log the figures, and save the weights if they are the best so far."""
        assert self.parts.validate is not None
        self.network.eval()
        with self.evaluation() as network:
            found = self.parts.validate(network, self.stop.exchanged)
            if found is None:
                return
            progress, count = self.progress, self.settings.average_best
            progress.validated = progress.step
            self.record.validation({**progress.position(), **found.figures}, found.samples)
            if progress.improves(found.rank):
                self.parts.save_best(network)
            if count > 1 and progress.among_best(found.rank, count) and self.world.main:
                self.best.save(progress.step, {WEIGHTS: tensor_file(copied(learned_weights(network)))})
            self.world.barrier()

    @contextmanager
    def evaluation(self) -> Iterator[EncoderDecoder]:
        """The context in which `parts.network` has the weights that are evaluated. It yields that network."""
        with self.evaluated.applied(), self.parallel.evaluation() as network:
            network.eval()
            yield network

    def save_due(self) -> bool:
        # Not while steps are skipped: the weights may be the cause, and must not replace those of older snapshots.
        return self.progress.due(self.settings.saves) and not self.progress.non_finite

    def save(self) -> None:
        """Start to write a snapshot of the current step, unless it exists already."""
        if self.progress.saved == self.progress.step:
            return
        self.parts.check()
        self.progress.saved = self.progress.step
        self.protection.agree(self.world)
        self.parts.store.needed = self.progress.needed_steps() if self.settings.max_loss_rise else ()
        # Those that are no longer among the best go after the snapshot is complete: a run killed before that resumes
        # from an older one, which may refer to them.
        stale = {*self.best.steps()} - {step for _, step in self.progress.bests} if self.world.main else set()
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
