"""Which setting is tried next: the trials of a study, those to continue first.

    for claim in claims(study, definition, say=print):
        claim.trial, claim.params, claim.folder

A setting is tried once, by whatever machine: a draw that repeats another trial ends at once. A trial belongs to the
process that holds the lock of its folder; after a kill the lock is free, and `--resume` continues the trial.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from antiphon.errors import ConfigError
from antiphon.sweeps.definition import Definition
from antiphon.sweeps.space import Params, grid_of
from antiphon.sweeps.storage import import_optuna, patiently, suggest
from antiphon.training.lock import exclusive_lock

if TYPE_CHECKING:
    import optuna

FOLDER, HOST, DUPLICATE, FAILED = "folder", "host", "same_as", "failed"  # attributes of trials
TAKING_SECONDS = 60  # after which a trial without a host was left by a process that was killed
MOST_DRAWS = 50  # draws in a row that repeat another trial, after which a search ends


@dataclass(frozen=True)
class Claim:
    """A trial that this process runs: its parameters and its folder, which is locked."""

    trial: optuna.Trial
    params: Params
    folder: Path


def make_pruner(definition: Definition) -> Any:
    """The pruner of Optuna."""
    optuna = import_optuna()
    name, settings = definition.config.pruner
    if name == "median":
        return optuna.pruners.MedianPruner(settings["startup_trials"], settings["warmup_steps"], n_min_trials=2)
    if name == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(max(1, settings["min_steps"]), max(2, settings["reduction"]))
    return optuna.pruners.NopPruner()


def make_sampler(definition: Definition, *, number: int) -> Any:
    """The sampler for the trial after `number` others. Seeded anew for each trial, so that a search that is continued
    draws what an uninterrupted one would."""
    optuna = import_optuna()
    seed = (definition.config.seed * 1_000_003 + number) % 2**32
    return (
        optuna.samplers.TPESampler(seed=seed)
        if definition.config.search == "tpe"
        else optuna.samplers.RandomSampler(seed)
    )


def enqueue_grid(study: optuna.Study, definition: Definition) -> None:
    """Put every setting of a grid that has no trial yet into the study, at most `trials`."""
    url = definition.storage
    trials = patiently(lambda: study.get_trials(deepcopy=False), url)
    failed = import_optuna().trial.TrialState.FAIL  # those are tried again
    known = {key_of(_params(trial)) for trial in trials if trial.state != failed}
    for number, params in enumerate(grid_of(definition.space)):
        if definition.most_trials is not None and number >= definition.most_trials:
            return
        if key_of(params) not in known:
            patiently(lambda params=params: study.enqueue_trial(params), url)


def _params(trial: Any) -> Params:
    """The parameters of a trial, also of one that waits."""
    return dict(trial.params) or dict(trial.system_attrs.get("fixed_params", {}))


def key_of(params: Mapping[str, Any]) -> str:
    """A text that is equal for equal settings."""
    return repr(sorted((key, value) for key, value in params.items()))


def claims(study: optuna.Study, definition: Definition, *, say: Callable[[str], None]) -> Iterator[Claim]:
    """The trials for this process, each with its folder locked until the next is taken."""
    yield from _interrupted(study, definition, say)
    url, repeated = definition.storage, 0
    while repeated < MOST_DRAWS and _is_left(study, definition):
        number = len(patiently(lambda: study.get_trials(deepcopy=False), url))
        study.sampler = make_sampler(definition, number=number)
        trial = patiently(study.ask, url)
        patiently(lambda trial=trial: trial.set_user_attr(HOST, platform.node()), url)
        params = patiently(lambda trial=trial: suggest(trial, definition.space), url)
        if (other := _same(study, definition, trial.number, params)) is not None:
            repeated += 1
            _end_repeated(study, definition, trial, other)
            continue
        repeated = 0
        folder = _folder(study, definition, trial.number, params)
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(folder):
            patiently(lambda trial=trial, folder=folder: trial.set_user_attr(FOLDER, folder.name), url)
            yield Claim(trial, params, folder)


def _is_left(study: optuna.Study, definition: Definition) -> bool:
    """Whether another setting is to be tried: one that waits, or by the number of those that were."""
    state = import_optuna().trial.TrialState
    trials = patiently(lambda: study.get_trials(deepcopy=False), definition.storage)
    if any(trial.state == state.WAITING for trial in trials):
        return True
    if definition.config.search == "grid":
        return False
    tried = [trial for trial in trials if DUPLICATE not in trial.user_attrs]
    return definition.most_trials is None or len(tried) < definition.most_trials


def _same(study: optuna.Study, definition: Definition, number: int, params: Params) -> int | None:
    """The number of an earlier trial of the same setting that did not fail."""
    state = import_optuna().trial.TrialState
    for trial in patiently(lambda: study.get_trials(deepcopy=False), definition.storage):
        if trial.number < number and trial.state != state.FAIL and key_of(trial.params) == key_of(params):
            return trial.number
    return None


def _folder(study: optuna.Study, definition: Definition, number: int, params: Params) -> Path:
    """The folder of a new trial: that of a failed one of the same setting, whose runs are continued, else a new one."""
    trials = patiently(lambda: study.get_trials(deepcopy=False), definition.storage)
    same = (trial for trial in trials if trial.number < number and key_of(trial.params) == key_of(params))
    names = [trial.user_attrs[FOLDER] for trial in same if FOLDER in trial.user_attrs]
    found = [definition.folder / name for name in names if (definition.folder / name).is_dir()]
    return found[-1] if found else definition.folder / f"trial-{number:04}"


def _end_repeated(study: optuna.Study, definition: Definition, trial: optuna.Trial, other: int) -> None:
    """End a trial that repeats the setting of another: with its value where it has one."""
    optuna, url = import_optuna(), definition.storage
    patiently(lambda: trial.set_user_attr(DUPLICATE, other), url)
    found = patiently(lambda: study.get_trials(deepcopy=False), url)[other]
    value = found.value if found.state == optuna.trial.TrialState.COMPLETE else None
    state = optuna.trial.TrialState.FAIL if value is None else None
    patiently(lambda: study.tell(trial, value, state=state), url)


def _interrupted(study: optuna.Study, definition: Definition, say: Callable[[str], None]) -> Iterator[Claim]:
    """The trials that were running in folders of this machine when their process ended."""
    optuna, url = import_optuna(), definition.storage
    for known in patiently(lambda: study.get_trials(deepcopy=False), url):
        if known.state != optuna.trial.TrialState.RUNNING:
            continue
        folder = definition.folder / known.user_attrs.get(FOLDER, f"trial-{known.number:04}")
        if not folder.is_dir():
            if FOLDER not in known.user_attrs and _was_here(known):
                folder.mkdir(parents=True, exist_ok=True)  # killed before it made its folder
            else:
                say(f"trial {known.number} runs on {known.user_attrs.get(HOST, 'another machine')}, or was left there")
                continue
        with _lock_if_free(folder) as locked:
            if not locked or not _still_runs(study, definition, known.number):
                continue
            trial = optuna.Trial(study, known._trial_id)
            params = patiently(lambda trial=trial: suggest(trial, definition.space), url)
            say(f"trial {known.number} was interrupted and is continued")
            yield Claim(trial, params, folder)


def _was_here(trial: Any) -> bool:
    """Whether a trial that has no folder was taken by this machine, or by one that was killed as it took it."""
    if HOST in trial.user_attrs:
        return trial.user_attrs[HOST] == platform.node()
    return (datetime.now() - trial.datetime_start).total_seconds() > TAKING_SECONDS


def _still_runs(study: optuna.Study, definition: Definition, number: int) -> bool:
    state = import_optuna().trial.TrialState
    return patiently(lambda: study.get_trials(deepcopy=False), definition.storage)[number].state == state.RUNNING


@contextmanager
def _lock_if_free(folder: Path) -> Iterator[bool]:
    """Lock a folder; yields False if another process holds it."""
    lock = exclusive_lock(folder)
    try:
        lock.__enter__()
    except ConfigError:
        yield False
        return
    try:
        yield True
    finally:
        lock.__exit__(None, None, None)
