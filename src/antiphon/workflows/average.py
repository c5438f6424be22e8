"""Checkpoint averaging: over the last snapshots of a run (Vaswani et al. 2017, section 6.1: the last 5 of base, 20 of
big), or over the best validations."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from antiphon.errors import ConfigError, DiskError, ModelError, argument
from antiphon.models.folders.checkpoint import (
    load_parts,
    named_weights,
    put_learned_weights,
    put_weights,
    save_model_folder,
)
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.training.loop import Loop, Validation
from antiphon.training.progress import better
from antiphon.training.resume import snapshot_weights
from antiphon.training.snapshot import Snapshot, SnapshotStore


def average_weights(snapshots: Sequence[Snapshot]) -> dict[str, Tensor]:
    """The mean of the snapshots' weights (of the evaluation weights, if they differ), computed in float64."""
    total: dict[str, Tensor] = {}
    types: dict[str, torch.dtype] = {}
    for snapshot in snapshots:
        for name, tensor in snapshot_weights(snapshot).items():
            types[name] = tensor.dtype
            total[name] = total[name] + tensor.double() if name in total else tensor.double()
    return {name: (tensor / len(snapshots)).to(types[name]) for name, tensor in total.items()}


def average_run(run: str | Path, *, last: int, output: str | Path) -> Path:
    """Write the model whose weights are the mean of the last `last` snapshots of a run folder to `output`."""
    run, output = Path(run), Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(
            f"the output `{output}` must not exist yet, but does. Choose another {argument('output', flag='--output')}."
        )
    if last < 1:
        raise ConfigError(f"`last` must be at least 1, but is {last}.")
    if (run / "adapter").exists():
        raise ModelError(
            f"the run `{run}` must have snapshots of whole weights, but has an adapter's. Train it with "
            "`training.average_last`."
        )
    found = SnapshotStore(run / "snapshots", keep=last).last(last)
    if len(found) < last:
        raise ModelError(
            f"the run `{run}` must have {last} whole snapshots, but has {len(found)}. "
            "Average fewer, or train with a larger `training.keep_last`."
        )
    parts = load_parts(run / "model")
    with torch.no_grad():
        put_weights(parts.network, average_weights(found), where=str(run / "snapshots"))
    try:
        return save_model_folder(output, parts)
    except DiskError:
        shutil.rmtree(output, ignore_errors=True)  # a partial model folder would look valid, and block a second attempt
        raise


def average_and_compare(loop: Loop) -> None:
    """At the end of a run: save the average of the last snapshots, or of the best validations, as the run's model if it
    scores better than the best one, or if there is no validation."""
    world = loop.world
    averages = _averages(loop) if world.main else {}
    counts = world.broadcast({name: count for name, (_, count) in averages.items()})
    if loop.parts.validate is not None and not counts:
        return
    with loop.evaluation() as network:
        if not counts:
            loop.parts.save_best(network)
            return
        evaluated = {name: tensor.detach().clone() for name, tensor in network.named_parameters()}
        rank = loop.progress.best, loop.progress.best_tie
        for name, count in counts.items():
            with torch.no_grad():
                if world.main:
                    put_learned_weights(network, averages[name][0], where=str(loop.parts.store.folder.parent))
                world.copy(named_weights(network).values())
            rank = _compared(loop, network, name, count, rank)
        with torch.no_grad():
            for name, tensor in network.named_parameters():
                tensor.copy_(evaluated[name])


def _compared(
    loop: Loop, network: EncoderDecoder, name: str, count: int, best: tuple[float | None, float | None]
) -> tuple[float | None, float | None]:
    """Save the average in `network` if it is better than the rank `best`; returns the better of the two."""
    rank = (math.inf, 0.0)
    if loop.parts.validate is not None:
        result = loop.parts.validate(network, lambda: False)
        assert result is not None
        rank = result.rank
        _note(loop, result, name, count, kept=better(rank, *best))
    if not better(rank, *best):
        return best
    loop.parts.save_best(network)
    return rank


def _averages(loop: Loop) -> dict[str, tuple[dict[str, Tensor], int]]:
    """The averages that the settings ask for, each with the number of its snapshots; none of a single snapshot."""
    settings, best = loop.settings, (step for _, step in loop.progress.bests)
    found = {
        "last": loop.parts.store.last(settings.average_last) if settings.average_last > 1 else [],
        "best": list(loop.best.valid(best)) if settings.average_best > 1 else [],
    }
    return {name: (average_weights(each), len(each)) for name, each in found.items() if len(each) > 1}


def _note(loop: Loop, result: Validation, which: str, count: int, *, kept: bool) -> None:
    """Display and log the validation figures of an average."""
    record, progress = loop.record, loop.progress
    figures = "  ".join(f"{name} {value:.3f}" for name, value in result.figures.items())
    what = f"last {count} snapshots" if which == "last" else f"{count} best validations"
    record.say(f"average of the {what}: {figures}  ({'kept' if kept else 'not better than the best'})")
    place = {"step": progress.step, "time_seconds": round(progress.seconds, 3)}
    record.note_row({**place, "averaged": count, "averaged_by": which, **result.figures})
