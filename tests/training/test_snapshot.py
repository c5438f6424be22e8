"""Snapshots: damage is found and named, a full disk or a kill inside a save leaves the last good one."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest
from counts import count

from antiphon.errors import DiskError
from antiphon.training.snapshot import MANIFEST, SnapshotStore, damage

FILES = {"weights.safetensors": bytes(range(256)) * 4, "state.json": b'{"step": 1}', "empty": b""}


def test_saved_is_read_and_old_ones_go(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "snapshots", keep=2)
    assert store.newest() is None
    for step in (5, 10, 100):
        store.save(step, {**FILES, "state.json": str(step).encode()})
    assert store.steps() == [10, 100]
    newest = store.newest()
    assert newest is not None and newest.read("state.json") == b"100"
    assert [snapshot.step for snapshot in store.last(5)] == [100, 10]


def test_every_flip_and_truncation_is_found_and_the_one_before_is_used(tmp_path: Path) -> None:
    lines: list[str] = []
    store = SnapshotStore(tmp_path, keep=3, say=lines.append)
    store.save(1, FILES)
    folder = store.save(2, FILES).folder
    chance = random.Random(0)
    for trial in range(count("snapshot_corruption")):
        file = folder / chance.choice(["weights.safetensors", "state.json", MANIFEST])
        whole = file.read_bytes()
        if trial % 2:
            broken = bytearray(whole)
            broken[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
            file.write_bytes(broken)
        else:
            file.write_bytes(whole[: chance.randrange(len(whole))])
        fault = damage(folder)
        assert fault is not None and file.name in fault
        found = store.newest()
        assert found is not None and found.step == 1
        assert str(folder) in lines[-1]
        file.write_bytes(whole)
    assert damage(folder) is None


def test_damaged_ones_push_out_no_whole_one(tmp_path: Path) -> None:
    """A run that goes back behind damaged snapshots keeps what it writes there."""
    store = SnapshotStore(tmp_path, keep=2)
    for step in (40, 60):
        (store.save(step, FILES).folder / "state.json").unlink()
    store.save(20, FILES)
    assert store.steps() == [20] and store.newest() is not None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    folder = SnapshotStore(tmp_path, keep=1).save(1, FILES).folder
    (folder / "state.json").unlink()
    assert damage(folder) == "state.json is missing"
    (folder / MANIFEST).unlink()
    assert damage(folder) == f"{MANIFEST} is missing"


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it and clean up."""


def calls_of_a_save(monkeypatch: pytest.MonkeyPatch, stop_at: int, error: BaseException | None) -> list[str]:
    """Wrap the system calls of a save, so that number `stop_at` raises."""
    seen: list[str] = []

    def wrap(owner: object, name: str) -> None:
        real = getattr(owner, name)

        def call(*arguments: object, **settings: object) -> object:
            seen.append(name)
            if len(seen) == stop_at and error is not None:
                raise error
            return real(*arguments, **settings)

        monkeypatch.setattr(owner, name, call)

    for owner, name in ((os, "fsync"), (os, "rename"), (Path, "mkdir"), (Path, "open")):
        wrap(owner, name)
    return seen


def test_a_kill_or_a_full_disk_at_every_call_keeps_the_last_good_one(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        seen = calls_of_a_save(patch, 0, None)
        SnapshotStore(tmp_path / "count", keep=2).save(1, FILES)
        total = len(seen)
    assert total > 8
    for stop_at in range(1, total + 1):
        for error in (OSError(errno.ENOSPC, "No space left on device"), Killed()):
            store = SnapshotStore(tmp_path / f"{stop_at}-{type(error).__name__}", keep=2)
            store.save(1, FILES)
            with pytest.MonkeyPatch.context() as patch:
                calls_of_a_save(patch, stop_at, error)
                with pytest.raises(DiskError if isinstance(error, OSError) else Killed) as caught:
                    store.save(2, FILES)
            if isinstance(error, OSError):
                # The last calls of a save read it back.
                assert any(part in str(caught.value) for part in ("No space left on device", "does not read back"))
                assert "\n" not in str(caught.value)
                assert not list(store.folder.glob("tmp-*"))
            newest = store.newest()
            assert newest is not None and damage(newest.folder) is None
            assert len(list(store.folder.glob("tmp-*"))) <= 1
            # The next save works, and sweeps what was left.
            store.save(3, FILES)
            assert store.newest().step == 3 and not list(store.folder.glob("tmp-*"))  # type: ignore[union-attr]
