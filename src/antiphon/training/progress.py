"""The counters of a run, saved in its snapshots, and the sums since the last row of `metrics.jsonl`."""

from __future__ import annotations

import math
import resource
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from antiphon.batch import Example
from antiphon.config import TrainingConfig
from antiphon.config.interval import Interval
from antiphon.training.guards.state import ProtectionState

SHORTEST = 1e-9  # seconds: a clock may not advance between two readings


@dataclass(slots=True)
class LogWindow:
    """Sums over the steps since the last logged row.

    `loss` (the objective) and `nll` are in nats, summed over `labels` target tokens. `tokens` is the number of real
    tokens among `positions`, source and target together. `split` is the number of micro-batches that were computed in
    parts, for lack of memory.
    """

    loss: float = 0.0
    nll: float = 0.0
    labels: int = 0
    counted: int = 0
    tokens: int = 0
    positions: int = 0
    grad_norm: float = 0.0
    split: int = 0
    seconds: list[float] = field(default_factory=list)

    def count(self, examples: Sequence[Example]) -> None:
        """Count the tokens of a micro-batch, on whichever rank it is computed. Each target token has a label."""
        for side in ([len(example.source) for example in examples], [len(example.target) for example in examples]):
            self.tokens += sum(side)
            self.positions += len(side) * max(side, default=0)
        self.labels += sum(side)
        self.counted += sum(side)


@dataclass(slots=True)
class Progress:
    """The counters of a run.

    `epoch` is the pass over the data, from 1, of the last batch of the last step; `passes` is the number of passes
    complete after that step, `passes_before` before it. `seconds` is training time over all resumes. `worse` is the
    number of validations since the best one. `validated` and `saved` are the steps of the last validation and snapshot.
    `tokens` are the real source and target tokens of all steps; None if the run was resumed from a snapshot without
    this count.
    `protection` is the state of the guards.
    `bests` are the scores and steps of the best validations, best first. `best_tie` and `ties` are the tie-breakers of
    `best` and `bests`.
    """

    step: int = 0
    epoch: int = 0
    passes: int = 0
    passes_before: int = 0
    seconds: float = 0.0
    tokens: int | None = 0
    validated: int = -1
    saved: int = -1
    best: float | None = None
    best_tie: float | None = None
    worse: int = 0
    non_finite: int = 0
    lr: float = 0.0
    bests: list[tuple[float, int]] = field(default_factory=list)
    ties: list[float] = field(default_factory=list)
    window: LogWindow = field(default_factory=LogWindow)
    protection: ProtectionState = field(default_factory=ProtectionState)

    def needed_steps(self) -> tuple[int, ...]:
        """The steps for which the newest snapshot of that step or an older one must be retained: weights from before
        the loss may have begun to rise, and from before steps were skipped."""
        return *self.protection.loss_range.needed_steps(self.step), self.step - self.non_finite

    def add(self, step: LogWindow, *, lr: float, seconds: float) -> None:
        """Add the sums of one optimizer step."""
        window = self.window
        window.loss += step.loss
        window.nll += step.nll
        window.counted += step.counted
        window.tokens += step.tokens
        window.positions += step.positions
        window.grad_norm = step.grad_norm
        window.split += step.split
        window.seconds.append(seconds)
        self.lr, self.seconds = lr, self.seconds + seconds
        self.tokens = None if self.tokens is None else self.tokens + step.tokens

    def enter(self, epoch: int, *, passes_before: int, passes: int) -> None:
        """Set the pass of the last step, and the numbers of passes complete before and after it."""
        self.epoch, self.passes_before, self.passes = epoch, passes_before, passes

    def due(self, interval: Interval) -> bool:
        """Whether the last step completed an interval. An interval of epochs completes when a pass over the data
        ends."""
        if interval.unit == "steps":
            return self.step > 0 and self.step % interval.count == 0
        return self.passes // interval.count > self.passes_before // interval.count

    def position(self) -> dict[str, Any]:
        """The step, epoch and training time, for a row of figures."""
        return {"step": self.step, "epoch": self.epoch, "time_seconds": round(self.seconds, 3)}

    def row(self, settings: TrainingConfig) -> dict[str, Any]:
        """The figures since the last row. Resets the window."""
        window, self.window = self.window, LogWindow()
        median = statistics.median(window.seconds)
        return {
            **self.position(),
            "loss": window.loss / max(1, window.counted),
            "nll": window.nll / max(1, window.counted),
            "lr": self.lr,
            "grad_norm": window.grad_norm,
            **({} if self.tokens is None else {"tokens": self.tokens}),
            "tokens_per_second": round(window.tokens / max(sum(window.seconds), SHORTEST), 1),
            "padding_waste": round(1 - window.tokens / window.positions, 4),
            **({"split_micro_batches": window.split} if window.split else {}),
            **({"rollbacks": self.protection.rollbacks} if self.protection.rollbacks else {}),
            "step_seconds": round(median, 4),
            "seconds_left": self._left(settings, median),
            "peak_memory_bytes": peak_memory(),
        }

    def improves(self, rank: tuple[float, float]) -> bool:
        """Record a validation's rank (score and tie-breaker); True if it is the best so far."""
        if not better(rank, self.best, self.best_tie):
            self.worse += 1
            return False
        (self.best, self.best_tie), self.worse = rank, 0
        return True

    def among_best(self, rank: tuple[float, float], count: int) -> bool:
        """Record the rank of this step's validation; True if it is one of the `count` best so far.

        Among equal ones the first wins. NaN is never among the best.
        """
        if rank[0] != -math.inf:
            found = [*zip(self.bests, self.ties, strict=True), ((rank[0], self.step), rank[1])]
            found = sorted(found, key=lambda best: (-best[0][0], -best[1], best[0][1]))[:count]
            self.bests, self.ties = [best for best, _ in found], [tie for _, tie in found]
        return any(step == self.step for _, step in self.bests)

    def state(self) -> dict[str, Any]:
        """All counters as plain JSON values."""
        return asdict(self)

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.tokens = None  # older snapshots have no count
        for name, value in state.items():
            setattr(self, name, _PARTS[name](value) if name in _PARTS else value)
        self.bests = [(score, step) for score, step in self.bests]
        self.ties += [0.0] * (len(self.bests) - len(self.ties))  # older snapshots have none

    def _left(self, settings: TrainingConfig, step_seconds: float) -> float | None:
        """The estimated seconds until the end, if it is known."""
        ends = []
        if settings.max_steps is not None:
            ends.append((settings.max_steps - self.step) * step_seconds)
        if settings.max_minutes is not None:
            ends.append(60 * settings.max_minutes - self.seconds)
        return max(0.0, round(min(ends), 1)) if ends else None  # the last step may end after `max_minutes`


_PARTS: dict[str, Callable[[Any], Any]] = {
    "window": lambda state: LogWindow(**state),
    "protection": ProtectionState.read,
}


def better(rank: tuple[float, float], best: float | None, tie: float | None) -> bool:
    """Whether a rank beats the best score `best`, or equals it and beats its tie-breaker `tie` (None: never)."""
    if best is None or rank[0] > best:
        return True
    return rank[0] == best and tie is not None and rank[1] > tie


def peak_memory() -> int:
    """The peak memory in bytes so far: of the GPU if there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
