"""Storages of a study: locked, broken, half a line, of another sweep."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import antiphon
from antiphon.errors import ConfigError, WorkError
from antiphon.sweeps import storage as storage_module

SPACE = "space: {training.lr: [1e-3, 3e-3]}\n"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_module, "LOCK_SECONDS", 0.3)


def test_a_locked_storage_is_one_line_and_nothing_is_lost(
    write_sweep: Callable[..., Path], made_runs, folder: Path, impatient: None
) -> None:
    file = write_sweep(SPACE + "storage: sqlite:///study.db\n")
    values = made_runs.values

    def lock(recipe) -> list[float]:
        """From the second run on another process writes for a long time."""
        if len(made_runs.started) == 2:
            other = sqlite3.connect("study.db")
            other.execute("BEGIN EXCLUSIVE")
            locks.append(other)
        return values(recipe)

    locks: list[sqlite3.Connection] = []
    made_runs.values = lock
    with pytest.raises(
        WorkError, match=r"storage `sqlite:///study.db` must be free, but another process has locked"
    ) as e:
        antiphon.sweep(file)
    assert "\n" not in str(e.value) and "Nothing is lost" in str(e.value)
    with pytest.raises(WorkError, match=r"must be free, but another process has locked it for more than 0.3 s"):
        antiphon.sweep(file, resume=True)
    locks[0].close()
    result = antiphon.sweep(file, resume=True)
    assert [setting.state for setting in result.settings] == ["done", "done"]
    assert made_runs.started == ["trial-0000/seed-0", "trial-0001/seed-0", "trial-0001/seed-0"]  # continued, not lost


def test_two_sweeps_do_not_share_a_study(write_sweep: Callable[..., Path], made_runs, folder: Path) -> None:
    antiphon.sweep(write_sweep(SPACE + "storage: journal:j.log\nname: mine\n"))
    other = write_sweep(SPACE.replace("3e-3", "5e-3") + "storage: journal:j.log\nname: mine\n", "other.yaml")
    before = (folder / "j.log").read_bytes()
    for resume in (True, False):
        with pytest.raises(
            ConfigError, match=r"the study `mine` on `journal:j.log` is of another sweep: .*training.lr"
        ) as e:
            antiphon.sweep(other, resume=resume, output="elsewhere")
        assert "Nothing was changed" in str(e.value) and "0.005" in str(e.value)
    assert (folder / "j.log").read_bytes() == before
    recipe = folder / "r.yaml"
    recipe.write_text(recipe.read_text().replace("d_model: 32", "d_model: 64"))
    with pytest.raises(ConfigError, match=r"another sweep: `recipe.model.d_model` is 32 there and 64 in `.*s.yaml`"):
        antiphon.sweep(folder / "s.yaml", resume=True)
    named = antiphon.sweep(write_sweep(SPACE + "storage: journal:j.log\nname: second\n"))
    assert len(named.settings) == 2  # several studies have one storage


def test_half_a_line_of_a_journal_is_removed(write_sweep: Callable[..., Path], made_runs, folder: Path) -> None:
    file = write_sweep(SPACE + "storage: journal:j.log\n")
    whole = antiphon.sweep(file)
    with (folder / "j.log").open("ab") as journal:
        journal.write(b'{"op_code":4,"worker_id":"a"')
    assert antiphon.sweep(file, resume=True).as_json() == whole.as_json()
    assert (folder / "j.log").read_bytes().endswith(b"\n")


def test_storages_that_cannot_be_used(write_sweep: Callable[..., Path], made_runs, folder: Path) -> None:
    (folder / "text.db").write_text("not a database, but a text\n" * 20)
    for url, message in (
        ("sqlite:///text.db", "the study's storage `sqlite:///text.db` cannot be used: .*not a database"),
        ("nothing://x", "storage `nothing://x` "),
        ("sqlite:///p.tsv/study.db", "the folder of the study's storage `p.tsv/study.db` cannot be made"),
    ):
        with pytest.raises((ConfigError, WorkError), match=message) as caught:
            antiphon.sweep(write_sweep(SPACE), storage=url)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"there is no study yet: no file `none.db`"):
        antiphon.sweep(write_sweep(SPACE), storage="sqlite:///none.db", show_only=True)
    assert not (folder / "none.db").exists() and made_runs.started == []


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"needs the package optuna: pip install 'antiphon\[sweep\]'"):
        storage_module.import_optuna()
