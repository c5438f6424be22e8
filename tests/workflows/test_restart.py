"""Ranks that torchrun has started again continue the run that they began, whatever the command says."""

from __future__ import annotations

from pathlib import Path

import pytest
from training.runs import make_loop

from antiphon.errors import ConfigError, on_command_line
from antiphon.training.lease import LeaseLostError
from antiphon.workflows.folder import CONFIG, after_restart, recipe_head


def launched(monkeypatch: pytest.MonkeyPatch, *, restarts: int, name: str | None = "job-7") -> None:
    known = {"RANK": "0", "WORLD_SIZE": "2", "TORCHELASTIC_RESTART_COUNT": str(restarts)}
    for key, value in {**known, **({} if name is None else {"TORCHELASTIC_RUN_ID": name})}.items():
        monkeypatch.setenv(key, value)


def begun(folder: Path) -> None:
    (folder / CONFIG).write_text(f"{recipe_head()}task: translation\n", encoding="utf-8")


@pytest.mark.parametrize("given", [(False, False), (True, False), (False, True)])
def test_a_first_start_does_what_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: tuple[bool, bool]
) -> None:
    begun(tmp_path)
    assert (tmp_path / CONFIG).read_text() == "task: translation\n"  # no launcher: no line of one
    for restarts in (None, 0):
        if restarts is not None:
            launched(monkeypatch, restarts=restarts)
        assert after_restart(tmp_path, resume=given[0], overwrite=given[1]) == given


def test_a_restart_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, restarts=1)
    assert after_restart(tmp_path, resume=False, overwrite=False) == (True, False)
    begun(tmp_path)
    assert (tmp_path / CONFIG).read_text() == "# launch job-7\ntask: translation\n"
    assert after_restart(tmp_path, resume=False, overwrite=False) == (True, False)


def test_a_run_is_replaced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / CONFIG).write_text("task: text\n", encoding="utf-8")  # the old run
    launched(monkeypatch, restarts=1)
    assert after_restart(tmp_path, resume=False, overwrite=True) == (False, True)  # killed before it replaced it
    begun(tmp_path)
    assert after_restart(tmp_path, resume=False, overwrite=True) == (True, False)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job-8")  # the run of another launch
    assert after_restart(tmp_path, resume=False, overwrite=True) == (False, True)
    (tmp_path / CONFIG).unlink()
    assert after_restart(tmp_path, resume=False, overwrite=True) == (False, True)


def test_without_a_name_it_cannot_be_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, restarts=1, name="none")
    begun(tmp_path)
    with (
        on_command_line(),
        pytest.raises(ConfigError, match=r"--rdzv-id is not set.* Continue with --resume instead of"),
    ):
        after_restart(tmp_path, resume=False, overwrite=True)
    assert after_restart(tmp_path, resume=False, overwrite=False) == (True, False)


def test_nothing_is_saved_in_a_folder_that_was_lost(tmp_path: Path) -> None:
    def lost() -> None:
        raise LeaseLostError("another process has taken the folder over")

    loop = make_loop(tmp_path, max_steps=4, save_every_steps=2)
    object.__setattr__(loop.parts, "check", lost)
    with pytest.raises(LeaseLostError):
        loop.run()
    assert loop.parts.store.steps() == []
