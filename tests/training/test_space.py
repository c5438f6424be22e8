"""The space for the next two snapshots is checked at the start, after the first step, and while a run trains."""

from __future__ import annotations

from pathlib import Path

import pytest
from training.runs import Said, make_loop

from antiphon.errors import DiskError
from antiphon.training.resume import snapshot_bytes
from antiphon.training.saving import space
from antiphon.training.saving.space import MARGIN, SECONDS, SpaceCheck
from antiphon.training.snapshot import SnapshotStore


def test_what_two_snapshots_need(tmp_path: Path) -> None:
    """An old one goes only when a new one is complete."""
    for keep, needs in [(3, [2, 2, 2, 1, 1]), (1, [2, 1, 1]), (None, [2, 2, 2])]:
        store = SnapshotStore(tmp_path / str(keep), keep=keep)
        for step, copies in enumerate(needs):
            assert SpaceCheck(store, lambda: 1000).needed() == copies * 1000 + MARGIN
            store.save(step, {"state.json": b"{}"})


def test_the_size_is_that_of_the_files(tmp_path: Path) -> None:
    made = make_loop(tmp_path / "run", max_steps=2, ema=0.5)
    made.run()
    files = (tmp_path / "run" / "snapshots" / "step-2").glob("*.safetensors")
    size = sum(file.stat().st_size for file in files)
    assert 0 < size - snapshot_bytes(made.now) < 60_000  # the headers


def test_a_run_without_space_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "free_bytes", lambda folder: 1_500_000)
    made = make_loop(tmp_path / "run")
    made.space.size = lambda: 1_000_000
    with pytest.raises(DiskError) as caught:
        made.run()
    assert str(caught.value) == (
        f"the disk of `{tmp_path / 'run' / 'snapshots'}` must have 3.0 MB free for the next two snapshots, but has "
        "1.5 MB. Free space, then continue with `resume=True`, or choose another `output`."
    )
    assert made.progress.step == 0


def test_the_state_of_the_optimizer_counts_after_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_loop(tmp_path / "run")
    weights = snapshot_bytes(made.now)
    monkeypatch.setattr(space, "free_bytes", lambda folder: 4 * weights + MARGIN)  # two of weights alone would fit
    with pytest.raises(DiskError, match=r"must have .* free for the next two snapshots"):
        made.run()
    assert made.progress.step == 1 and snapshot_bytes(made.now) > 2.9 * weights


def test_a_disk_that_fills_is_reported_long_before_the_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, and again after there was space; the run goes on."""
    free = {**dict.fromkeys(range(31), 10**9), **dict.fromkeys(range(12, 16), 10), **dict.fromkeys(range(24, 31), 10)}
    made = make_loop(tmp_path / "run", save_every_steps=30)
    monkeypatch.setattr(space, "free_bytes", lambda folder: free[made.progress.step])
    made.space.clock = lambda: made.progress.step * SECONDS
    made.run()
    assert isinstance(made.record.display, Said)
    lines = [line for line in made.record.display.lines if "two snapshots" in line]
    assert len(lines) == 2 and lines[0] == lines[1]
    assert "has 0.0 MB free, but the next two snapshots need" in lines[0] and "Free space now" in lines[0]
    assert made.parts.store.steps() == [30]
