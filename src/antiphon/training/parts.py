"""What the training loop connects, and the result of a validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from antiphon.models.seq2seq import EncoderDecoder
from antiphon.training.ahead import BatchStream
from antiphon.training.parallel.single import SingleProcess
from antiphon.training.reporting.record import RunLog, Sample
from antiphon.training.snapshot import SnapshotStore


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
    best model so far. `parallel` is how `network` trains on several ranks, with the weights that `optimizer` updates;
    None: in this process. `check` is called before anything is saved, and raises if the run folder does not belong to
    this run any more. `special_ids` are ids of targets without text, such as the end token.
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
    special_ids: tuple[int, ...] = ()
    teacher: EncoderDecoder | None = None
    parallel: SingleProcess | None = None
    check: Callable[[], None] = lambda: None
