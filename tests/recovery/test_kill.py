"""SIGKILL at a random moment: the run that goes on ends with the same bytes as the one that was not killed."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from counts import count, parts
from recovery.killable import Trainer, account, settings
from torture.figures import FigureRecorder
from training.in_memory import folder_in_memory

from antiphon.training.snapshot import SnapshotStore

STEPS = count("kill_steps")
KILLS_A_RUN = 10


@pytest.fixture(scope="module")
def trainer() -> Iterator[Trainer]:
    with Trainer(settings(steps=STEPS)) as trainer:
        yield trainer


@pytest.fixture(scope="module")
def whole(trainer: Trainer) -> Iterator[tuple[Path, float]]:
    """The run that is left alone, and its seconds, on the same kind of file system as those that are killed."""
    with folder_in_memory() as folder:
        yield folder / "run", trainer.train(folder / "run")


def newest(folder: Path) -> int:
    """The step of the newest valid snapshot; 0 if there is none."""
    found = SnapshotStore(folder / "snapshots", keep=None).newest()
    return 0 if found is None else found.step


def begun(folder: Path) -> list[int]:
    """The step from which each start of the run went on, as run.json has it."""
    try:
        return [start["first_step"] for start in json.loads((folder / "run.json").read_text())["starts"]]
    except FileNotFoundError:
        return []


def kill_once(trainer: Trainer, folder: Path, seconds: float) -> bool:
    """Starts the run and kills it after so many seconds; False where it had ended by then."""
    before, starts = newest(folder), len(begun(folder))
    pid = trainer.start(folder)
    time.sleep(seconds)
    there = [int(path.parent.name[5:]) for path in folder.glob("snapshots/step-*/manifest.json")]
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    if (code := trainer.wait()) == 0:
        return False
    assert code == -signal.SIGKILL, "the training failed; its error is above"
    assert newest(folder) >= max([before, *there]), "a snapshot was lost"
    assert begun(folder)[starts:] in ([], [before]), "the run must go on from the newest snapshot"
    return True


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kills", parts("kills", most=KILLS_A_RUN))
def test_killed_and_resumed_is_uninterrupted(
    kills: range, trainer: Trainer, whole: tuple[Path, float], tmp_path: Path, figures: FigureRecorder
) -> None:
    """A run is killed several times, at moments that are spread over all that it does from its start to its end."""
    (alone, seconds), chance, left = whole, random.Random(kills.start), len(kills)
    wanted, folders = account(alone, step=STEPS), [tmp_path / "0"]
    while left:
        if kill_once(trainer, folders[-1], chance.random() * 2 * seconds / KILLS_A_RUN):
            left -= 1
        else:
            folders.append(tmp_path / str(len(folders)))
    for folder in folders:
        before = newest(folder)
        trainer.train(folder)
        assert begun(folder)[-1] == before or before == STEPS
        assert account(folder, step=STEPS) == wanted
    figures.add("kills", len(kills))
    figures.add("killed runs, each with the hashes and the log of the run that was left alone", len(folders))
