"""Divergence: the run stops with its last good snapshot, or goes back to it and skips the data in between.

    recover(found, now, store, settings, events)       # found: a Divergence

The good snapshot is the newest one from before the loss rose (`LossRange.safe_step`); those after it hold weights that
have diverged, and are deleted. Going back restores everything but the position in the data, which stays behind the
steps that diverged, the training time, and the best validations, whose weights are still there. Nothing of it depends
on anything but the state of the run: a run that is killed later and resumed diverges, goes back and ends alike.
"""

from __future__ import annotations

from antiphon.config import TrainingConfig
from antiphon.errors import DivergenceError, argument
from antiphon.training.guards.events import RunEvents
from antiphon.training.guards.loss_range import Divergence
from antiphon.training.progress import Progress
from antiphon.training.resume import TrainState, load_snapshot
from antiphon.training.snapshot import Snapshot, SnapshotStore

_CARRIED = ("seconds", "best", "best_tie", "worse", "bests", "ties")  # of `Progress`


def recover(
    found: Divergence, now: TrainState, store: SnapshotStore, settings: TrainingConfig, events: RunEvents
) -> None:
    """Go back to the last good snapshot, `settings.max_rollbacks` times at most in a run.

    DivergenceError if there is none, or no further time is allowed.
    """
    progress, world = now.progress, now.world
    store.wait()
    safe = [step for step in reversed(store.steps()) if step <= progress.protection.loss_range.safe_step]
    good = next(store.valid(safe, world), None)
    dropped = [] if good is None else world.broadcast([step for step in store.steps() if step > good.step])
    if world.main:
        store.drop(dropped)
    world.barrier()
    facts = {"step": found.step, "began": found.began, "level": found.level, "lowest": found.lowest, "end": found.end}
    if good is None or progress.protection.rollbacks >= settings.max_rollbacks:
        events.add("divergence", **facts, back_to=None)
        raise DivergenceError(f"{describe(found)}. {_kept(good, dropped)} {_remedy(progress, settings, good)}")
    events.add(
        "divergence",
        f"{describe(found)}; going back to the snapshot of step {good.step} and on with the data after step "
        f"{found.step} ({progress.protection.rollbacks + 1} of {settings.max_rollbacks} times)",
        **facts,
        back_to=good.step,
    )
    go_back(good, now)


def go_back(good: Snapshot, now: TrainState) -> None:
    """Restore the state of a snapshot, but for the position in the data and what stays true (`_CARRIED`)."""
    progress, position, known = now.progress, now.batches.state(), now.progress.protection
    carried = {name: getattr(progress, name) for name in _CARRIED}
    load_snapshot(good, now)
    now.batches.restore(position)
    for name, value in carried.items():
        setattr(progress, name, value)
    state = progress.protection
    state.split, state.rollbacks = known.split, known.rollbacks + 1
    state.loss_range.safe_step = max(state.loss_range.safe_step, good.step)  # later steps have shown that it is


def describe(found: Divergence) -> str:
    """What has happened, with the figures."""
    return (
        f"the training loss has left its range at step {found.step}: {found.level:.3g} nats a token, where the lowest "
        f"level was {found.lowest:.3g} and {found.end:.3g} is the end of the range (since step {found.began})"
    )


def _kept(good: Snapshot | None, dropped: list[int]) -> str:
    if good is None:
        return "There is no snapshot from before; the best model so far is kept."
    later = f", those after it, of diverged weights ({', '.join(map(str, dropped))}), are deleted" if dropped else ""
    return f"The snapshot of step {good.step} and the best model are kept{later}."


def _remedy(progress: Progress, settings: TrainingConfig, good: Snapshot | None) -> str:
    lower = "Start a new run with a lower `training.lr`, more `training.warmup_steps` or a smaller `training.clip_norm`"
    if good is None:
        return f"{lower}."
    times = progress.protection.rollbacks + 1
    further = argument(f"training.max_rollbacks={times}", flag=f"--training.max-rollbacks {times}")
    on = argument("resume=True", flag="--resume")
    off = argument("training.max_loss_rise=0", flag="--training.max-loss-rise 0")
    return (
        f"{lower}; or continue with {on} and {further}, which skips the data that led here, or, if your data explains "
        f"the rise, with {on} and {off}."
    )
