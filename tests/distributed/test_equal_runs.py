"""A run on several ranks is the run of one process: the same losses at each step, the same weights at the end.

In float64, with a step whose micro-batches are no multiple of the ranks, under DDP and FSDP2, with every regularizer
that has a state. `make test` tries two recipes that have them all together, `make torture` each by itself too.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import worlds
from counts import count
from distributed import rank_runs
from distributed.rank_runs import BASE, CASES, gap, run_case
from torture.figures import FigureRecorder
from worlds import run_world

TOGETHER = ["most", "rest"]
LOSS, WEIGHT = 1e-10, 1e-9  # the largest differences that are allowed


def train_alone(folder: Path, steps: int) -> None:
    run_case(folder, BASE, steps=4, parallel="auto")
    for name in cases():
        run_case(folder, name, steps=steps, parallel="auto")


def train_together(folders: dict[str, Path], steps: int) -> None:
    """By kind; the folders are there, with the base."""
    for kind, folder in folders.items():
        for name in cases():
            run_case(folder, name, steps=steps, parallel=kind)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of all cases: `one/CASE` in one process, and `ddp-2/CASE` and the like."""
    folder, steps = tmp_path_factory.mktemp("equal"), count("rank_run_steps")
    (folder / "one").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worlds, "SECONDS", max(worlds.SECONDS, 500.0))  # several runs in each world
        run_world(1, train_alone, folder / "one", steps)
        for size in sizes():
            places = {kind: folder / f"{kind}-{size}" for kind in ("ddp", "fsdp")}
            for place in places.values():
                shutil.copytree(folder / "one" / BASE, place / BASE)
            run_world(size, train_together, places, steps)
    return folder


def sizes() -> range:
    return range(2, count("rank_run_ranks") + 1)


def cases() -> list[str]:
    return [*CASES][-count("rank_run_cases") :]


@pytest.mark.timeout(14400)
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
@pytest.mark.parametrize("size", sizes())
@pytest.mark.parametrize("name", cases())
def test_ranks_are_one_process(name: str, size: int, kind: str, runs: Path, figures: FigureRecorder) -> None:
    loss, weight = gap(runs / "one" / name, runs / f"{kind}-{size}" / name, count("rank_run_steps"))
    assert loss <= LOSS and weight <= WEIGHT
    figures.add(f"runs of {kind}", 1)
    figures.most("difference of a loss", loss)
    figures.most("difference of a weight at the end", weight)


def test_the_comparison_sees_another_run(runs: Path) -> None:
    """Two recipes that differ are far apart: the bounds above are no accident."""
    one, two = (rank_runs.losses(runs / "one" / name) for name in TOGETHER)
    assert abs(one[0] - two[0]) > 1e-3
    first = rank_runs.weights(runs / "one" / "most", count("rank_run_steps"))
    begun = torch.cat([each.flatten().double() for name, each in first.items() if name.startswith("snapshot.")])
    assert float(begun.std()) > 1e-3
