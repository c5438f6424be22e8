"""The same seed gives the same run: each in a process of its own, each ends with the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from counts import count
from recovery.killable import Trainer, account, settings
from torture.figures import FigureRecorder


@pytest.mark.timeout(1200)
def test_equal_seeds_are_equal_runs(tmp_path: Path, figures: FigureRecorder) -> None:
    steps, runs = count("equal_run_steps"), count("equal_runs")
    with Trainer(settings(steps=steps)) as trainer:
        for run in range(runs):
            trainer.train(tmp_path / str(run))
    first, *others = (account(tmp_path / str(run), step=steps) for run in range(runs))
    assert all(other == first for other in others) and first[1][-1]["step"] == steps
    figures.add("runs with equal hashes of weights, optimizer and model, and equal logs", runs)
    figures.add("steps of each", steps)
    with Trainer(settings(steps=steps, seed=2)) as trainer:
        trainer.train(tmp_path / "other")
    assert account(tmp_path / "other", step=steps)[0] != first[0], "another seed must be another run"
