"""docs/sweeps.md: its sweep, its commands and its Python, with made-up runs; its table of settings is complete."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from antiphon.cli.main import main
from antiphon.settings import hints
from antiphon.sweeps.definition import SweepConfig
from antiphon.workflows.finding import find_batch as find_batch_module
from antiphon.workflows.finding import find_lr as find_lr_module

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sweeps.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def page_folder(folder: Path) -> Path:
    """The current folder, with the page's sweep over the recipe."""
    (folder / "recipe.yaml").write_text((folder / "r.yaml").read_text())
    (folder / "sweep.yaml").write_text(blocks("yaml")[0])
    return folder


def type_block(text: str, run: Callable[[list[str]], int] = main) -> None:
    for line in text.splitlines():
        program, *words = shlex.split(line, comments=True)
        assert program == "antiphon" and run(words) == 0, line


def test_the_sweep_is_run_as_printed(
    page_folder: Path, made_runs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bash = blocks("bash")
    trained: list[list[str]] = []

    def run(words: list[str]) -> int:
        return main(words) if words[0] == "sweep" else trained.append(words) or 0

    type_block(bash[0], run)
    assert len(made_runs.started) == 36 and "12 settings, 36 runs" in bash[0]
    said = capsys.readouterr().out
    assert said.count("| trial |") == 3 and said.count("12 settings (12 done), 36 runs.") == 3
    [[_, recipe, *_]] = trained
    assert (page_folder / recipe).is_file()
    exec(compile(blocks("python")[0], "docs/sweeps.md", "exec"), {})
    assert "best.yaml" in capsys.readouterr().out and len(made_runs.started) == 36
    type_block(bash[1].replace("journal:study.log --resume", "journal:study.log --resume --output runs/other"))
    assert len(made_runs.started) == 72 and (page_folder / "study.log").is_file()
    written = {file.name for file in (page_folder / "runs/sweep").iterdir() if not file.name.startswith("trial-")}
    assert written == {"study.db", "sweep.json", "sweep.html", "sweep.svg", "best.yaml"}


def test_the_commands_that_find_are_typed_as_printed(page_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    result = find_lr_module.RateTest([(1.0, 2.0)], [(1.0, 2.0), (2.0, 1.0)], 1.0, 2.0, None)
    monkeypatch.setattr(find_lr_module, "find_lr", lambda config, **more: asked.append((config, more)) or result)
    row = {"batch_tokens": 256, "fits": True, "tokens_per_second": 9.0, "step_seconds": 1.0}
    row |= {"padding_waste": 0.1, "peak_memory_bytes": 5, "batches_per_pass": 1}
    monkeypatch.setattr(
        find_batch_module, "_in_process", lambda request, report: asked.append(request) or report(row) or [row]
    )
    for block in blocks("bash")[2:4]:
        type_block(block)
    assert (page_folder / "lr.svg").read_text().startswith("<svg")
    assert asked[1][0].training.optimizer == "muon" and asked[1][1]["steps"] == 200
    assert asked[3].memory_bytes == 2**32 and asked[3].overrides == {"model.d_model": "512"}


def test_the_table_has_every_setting() -> None:
    shown = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE))))
    assert set(hints(SweepConfig)) - {"recipe", "space"} <= shown
