"""A trial of a run: a few real steps of its own loop, at its own shapes, with their time and memory.

    trial = try_run(config, device=torch.device("cpu"), base_bytes=0)
    trial.measured.step_seconds, trial.measured.peak_bytes, trial.measured.padding_waste

The parts are those that `train` builds, in a temporary folder. Timed are batches from the whole range of sizes, so that
their mean is that of an epoch; then the largest one, for the peak of memory; one validation on some of its pairs; and
one snapshot.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import torch

from antiphon.batch import Example
from antiphon.config import BaseConfig, TrainConfig
from antiphon.data import Batches, LoadedBatches, padding_waste
from antiphon.errors import AntiphonError, memory_ran_out, one_line
from antiphon.generation.model import Model
from antiphon.inputs import InputKind
from antiphon.inspection.estimate import Conditions, Measured
from antiphon.inspection.processor import Stopwatch
from antiphon.inspection.scaling.shape import NetworkShape, network_shape
from antiphon.text import Tokenizer
from antiphon.training.resume import save_snapshot
from antiphon.workflows.base import find_base
from antiphon.workflows.job import TrainingJob

WARM_UP_STEPS = 3
TIMED_STEPS, TIMED_SECONDS = 24, 8.0  # steps that are timed, at most, and the time after which no further one begins
FEWEST_TIMED = 6
ANSWERED = 96  # validation sources that are answered
LOSS_PAIRS = 512  # validation pairs whose loss is computed
GROUPS = 3  # of the answered sources by length, as in a validation, which answers sources of similar length together


@dataclass(frozen=True)
class Trial:
    """The figures of a trial, the tokenizers of the run, the kind of its sources if they are files, the micro-batches
    of an epoch, and the sizes of the network and of the teacher, if there is one."""

    measured: Measured
    tokenizers: tuple[Tokenizer, Tokenizer]
    kind: InputKind[Any] | None
    epoch: list[list[Example]]
    shape: NetworkShape
    teacher: NetworkShape | None


def try_run(config: TrainConfig, *, device: torch.device, base_bytes: int) -> Trial:
    """Build the parts of the run and try them. Raises what `train` would raise before its first step.

    `base_bytes`: the memory of this process that a run would not need.
    """
    folder = Path(tempfile.mkdtemp(prefix="antiphon-trial-"))
    try:
        return _tried(replace(config, output=str(folder / "run")), device, base_bytes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tried(config: TrainConfig, device: torch.device, base_bytes: int) -> Trial:
    watch = Stopwatch()
    _reset_peak(device)
    base = find_base(config, None) if isinstance(config.model, BaseConfig) else None
    job = TrainingJob(config, Path(config.output), device, base=base, quiet=True)
    job.loop.protection.splitter.enabled = False  # memory that runs out is a result
    try:
        return _measured(job, device, base_bytes, start_seconds=watch.seconds)
    finally:
        if isinstance(job.batches, LoadedBatches):
            job.batches.close()


def _measured(job: TrainingJob, device: torch.device, base_bytes: int, *, start_seconds: float) -> Trial:
    config, media = job.config, job.data.media
    epoch = epoch_of(Batches(job.data.train, batch_tokens=config.training.batch_tokens, seed=config.training.seed))
    largest = [max(epoch, key=_positions)] * config.training.accumulate
    watch, notes = Stopwatch(), []
    with torch.random.fork_rng(devices=[]):
        # The largest first: what it allocates is used by all others, as in the run.
        _step(job, ChosenBatches(largest))
        seconds = _time_steps(job, epoch)
        job.network.eval()
        validation_seconds = _without_failing("a validation", notes, lambda: _time_validation(job))
        save_seconds = _without_failing("a snapshot", notes, lambda: _time_save(job))
        job.network.train()
        _step(job, ChosenBatches(largest))
    teacher, kind = job.loop.parts.teacher, None if media is None else media["train"].kind
    shape = network_shape(job.network)
    taught = None if teacher is None else network_shape(teacher)
    positions, waste = statistics.mean(map(_positions, epoch)), padding_waste(epoch)
    measured = Measured(
        device=device.type if device.type == "cpu" else torch.cuda.get_device_name(device),
        parameters=shape.parameters,
        trainable=job.loop.trainable,
        max_length=config.data.max_length or job.model.max_length,
        start_seconds=start_seconds,
        step_seconds=statistics.mean(seconds),
        timed_steps=len(seconds),
        validation_seconds=validation_seconds,
        save_seconds=save_seconds,
        peak_bytes=max(0, _peak_bytes(device) - base_bytes),
        pairs=job.data.train.report.kept,
        batches=len(epoch),
        positions=positions,
        tokens=positions * (1 - waste),
        padding_waste=waste,
        conditions=Conditions(watch.waited / watch.elapsed, notes, _unit(kind)),
    )
    return Trial(measured, job.data.tokenizers, kind, epoch, shape, taught)


def _unit(kind: InputKind[Any] | None) -> str:
    """What the positions of a batch are."""
    return "tokens" if kind is None or kind.joins_text else f"{kind.unit} and tokens"


def _without_failing(what: str, notes: list[str], measure: Callable[[], float]) -> float:
    """The seconds of `measure`; 0 and a note if it fails, so that the rest of the estimate remains."""
    try:
        return measure()
    except (AntiphonError, OSError, MemoryError, RuntimeError) as error:
        if type(error) is RuntimeError and not memory_ran_out(error):
            raise
        notes.append(f"The time of {what} is not known, since trying one failed: {one_line(error).rstrip('.')}.")
        return 0.0


def epoch_of(batches: Batches) -> list[list[Example]]:
    """The batches of the first epoch."""
    found = []
    while batches.epoch == 0:
        found.append(next(batches))
    return found


def _positions(batch: Sequence[Example]) -> int:
    """The positions of a batch on both sides, padding included."""
    return len(batch) * (max(len(one.source) for one in batch) + max(len(one.target) for one in batch))


class ChosenBatches:
    """A stream of given batches, again and again, in place of that of a run."""

    epoch = position = 0
    batches_per_epoch = None

    def __init__(self, batches: Sequence[list[Example]]) -> None:
        self._first, self._batches = batches[0], cycle(batches)

    def __next__(self) -> list[Example]:
        return next(self._batches)

    def peek(self) -> list[Example]:
        return self._first

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        raise NotImplementedError


def _step(job: TrainingJob, stream: ChosenBatches | LoadedBatches) -> float:
    """The seconds of a step of the run on the next batches of `stream`, one for each micro-batch."""
    ahead, usual = job.loop.ahead, job.loop.ahead.stream
    ahead.stream, ahead.prepared = stream, None
    watch = Stopwatch()
    job.loop.step()
    seconds = watch.seconds
    ahead.stream, ahead.prepared = usual, None
    return seconds


def _time_steps(job: TrainingJob, epoch: Sequence[list[Example]]) -> list[float]:
    """The seconds of steps on batches that are spread evenly over those of the epoch, sorted by size."""
    count = job.config.training.accumulate
    ordered = sorted(epoch, key=_positions)
    wanted = TIMED_STEPS * count
    chosen = [ordered[int((number + 0.5) * len(ordered) / wanted)] for number in range(wanted)]
    steps = [chosen[number::TIMED_STEPS] for number in range(TIMED_STEPS)]  # each with batches of all sizes
    steps = [steps[(number * 7) % TIMED_STEPS] for number in range(TIMED_STEPS)]  # small and large ones in turn
    for number in range(WARM_UP_STEPS):
        _step(job, ChosenBatches(steps[number]))
    began, seconds, sizes = time.perf_counter(), [], []
    loaded = _loaded(job, steps)
    for step in steps:
        if len(seconds) >= FEWEST_TIMED and time.perf_counter() - began > TIMED_SECONDS:
            break
        seconds.append(_step(job, ChosenBatches(step) if loaded is None else loaded))
        sizes.append(sum(map(_positions, step)))
    # Where time ran out, the steps may be larger or smaller than those of the epoch.
    share = statistics.mean(map(_positions, epoch)) * count / statistics.mean(sizes)
    return [each * share for each in seconds]


def _loaded(job: TrainingJob, steps: Sequence[list[list[Example]]]) -> LoadedBatches | None:
    """The batches of `steps`, loaded ahead by the processes of the run; None without them."""
    if not isinstance(job.batches, LoadedBatches):
        return None
    return job.batches.over(ChosenBatches([batch for step in steps for batch in step]))


def _time_validation(job: TrainingJob) -> float:
    """The estimated seconds of one validation: the loss, and answers as long as the references."""
    validate = job.validate
    if validate is None:
        return 0.0
    sample = validate.examples[:: max(1, len(validate.examples) // LOSS_PAIRS)]
    few = replace(validate, examples=sample)
    watch = Stopwatch()
    few.loss(job.network, lambda: False)
    seconds = watch.seconds * len(validate.examples) / len(sample)
    asked = validate.pairs if validate.metrics else validate.pairs[: validate.settings.samples]
    if asked:
        seconds += _time_answers(job, sorted(asked, key=lambda each: len(each[0])), validate.search)
    return seconds


def _time_answers(job: TrainingJob, asked: Sequence[Any], search: Any) -> float:
    chosen = asked[:: max(1, len(asked) // ANSWERED)]
    model, tokenizer, seconds = Model.from_parts(job.parts), job.data.tokenizers[1], 0.0
    size = -(-len(chosen) // GROUPS)
    for group in (chosen[first : first + size] for first in range(0, len(chosen), size)):
        # An untrained model does not end its answers: they are as long as the references.
        length = max(len(ids) for ids in tokenizer.encode_batch([targets[0] for _, targets in group]))
        length = max(1, min(length, job.model.max_length - 1))
        sources = [source for source, _ in group]
        watch = Stopwatch()
        try:
            model.generate(sources, **{**search, "max_new_tokens": length, "min_new_tokens": length})
        except AntiphonError:  # the search does not let lengths be set, as that of a classification
            model.generate(sources, **search)
        seconds += watch.seconds
    return seconds * len(asked) / len(chosen)


def _time_save(job: TrainingJob) -> float:
    """The seconds for which a snapshot stops the training: it is written beside it."""
    (job.folder / "snapshots").mkdir(parents=True, exist_ok=True)
    watch = Stopwatch()
    save_snapshot(job.loop.parts.store, job.loop.now)
    seconds = watch.seconds
    job.loop.parts.store.wait()
    return seconds


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak of this process counts from now (Linux)
    except OSError:
        pass


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return memory_of_process("VmHWM") or 0


def memory_of_process(key: str = "VmRSS") -> int | None:
    """The bytes of this process that are in memory (VmRSS) or were at most (VmHWM); None if unknown."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    if key == "VmRSS":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
