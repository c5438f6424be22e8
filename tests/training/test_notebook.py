"""The display of a run in a notebook: how often it draws, what it shows, and where it finds a notebook."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from antiphon.training.reporting import notebook
from antiphon.training.reporting.notebook import (
    MAX_CURVE_ROWS,
    MAX_MESSAGES,
    Jupyter,
    Marimo,
    NotebookDisplay,
    notebook_output,
)
from antiphon.training.reporting.record import LineDisplay, RunLog, SilentDisplay, make_display


class Pages:
    """An output that remembers what it showed."""

    def __init__(self) -> None:
        self.pages: list[str] = []
        self.lines: list[str] = []

    def show(self, page: str, line: str) -> None:
        self.pages.append(page)
        self.lines.append(line)


def row(step: int, **more: Any) -> dict[str, Any]:
    return {
        "step": step, "epoch": 1, "time_seconds": step / 10, "loss": 5 / step, "tokens_per_second": 1234.5,
        "seconds_left": 65.0, **more,
    }  # fmt: skip


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test sets."""
    time = [100.0]
    monkeypatch.setattr(notebook.time, "monotonic", lambda: time[0])
    return time


def test_it_is_drawn_seldom_and_once_more_at_the_end(now: list[float]) -> None:
    pages = Pages()
    display = NotebookDisplay(pages, 10_000)
    for step in range(1, 10_001):
        now[0] += 0.001
        display.tick(step)
    assert len(pages.pages) == 25, "ten seconds, a drawing each 0.4 s"
    display.say("10000 steps are done")
    display.close()
    display.close()
    assert len(pages.pages) == 26 and "step 10,000 of 10,000" in pages.pages[-1]
    assert "10000 steps are done" in pages.pages[-1]


def test_what_it_shows(tmp_path: Path, now: list[float]) -> None:
    pages = Pages()
    display = NotebookDisplay(pages, 100)
    record = RunLog(tmp_path, display)
    record.say("a <b> of messages")
    record.measure(row(10))
    record.validation({"step": 20, "epoch": 1, "time_seconds": 2.0, "valid_loss": 0.75, "chrf": 33.3}, [])
    now[0] += 1
    record.measure(row(25))
    page = pages.pages[-1]
    for messages in (
        "step 25 of 100",
        "width:25.0%",
        "1,23",
        "1:05",
        "step 20: valid_loss 0.750, chrf 33.300",
        "&lt;b&gt;",
    ):
        assert messages in page, messages
    assert page.count("<polyline") == 1 and "valid_loss" in page and "<b>" not in page
    assert "epoch 1  loss 0.200  tokens/s 1,23" in pages.lines[-1]
    display.close()
    assert ">left<" not in pages.pages[-1] and "step 25 of 100" in pages.pages[-1]


@pytest.mark.parametrize(("left", "share"), [(30.0, "width:25.0%"), (None, "repeating-linear-gradient")])
def test_without_a_number_of_steps_the_bar_goes_by_time(left: float | None, share: str, now: list[float]) -> None:
    pages = Pages()
    display = NotebookDisplay(pages, None)
    display.add(row(100, seconds_left=left))
    assert share in pages.pages[-1] and "step 100<" in pages.pages[-1]


def test_a_long_run_is_kept_short(now: list[float]) -> None:
    pages = Pages()
    display = NotebookDisplay(pages, None)
    for step in range(1, 5000):
        display.add(row(step) if step % 50 else {"step": step, "epoch": 1, "time_seconds": 1.0, "valid_loss": 1.0})
        assert display.rows[-1]["step"] == step
        display.say(f"message {step}")
    display.close()
    assert (
        MAX_CURVE_ROWS / 2 <= len(display.rows.curve("loss")) <= MAX_CURVE_ROWS
        and len(display.messages) == MAX_MESSAGES
    )
    assert len(display.rows.curve("valid_loss")) == 99, "no validation is left out"
    for step in range(5000, 6000):
        display.add({"step": step, "epoch": 1, "time_seconds": 1.0, "valid_loss": 1.0})
    assert len(display.rows.curve("valid_loss")) <= MAX_CURVE_ROWS
    assert len(display.rows.curve("loss")) >= MAX_CURVE_ROWS / 2, "many validations take nothing of the loss"
    assert "message 4999" in pages.pages[-1] and "earlier messages" in pages.pages[-1]
    assert len(pages.pages[-1]) < 60_000


def test_a_run_that_begins_anew_shows_its_own_curve(now: list[float]) -> None:
    display = NotebookDisplay(Pages(), None)
    display.add(row(50))
    display.add(row(10))
    assert [found["step"] for found in display.rows] == [10]


def test_a_run_that_goes_on_shows_its_whole_curve(now: list[float]) -> None:
    pages = Pages()
    display = NotebookDisplay(pages, 100)
    display.begin([row(10), row(20)])
    assert pages.pages == []
    display.add(row(30))
    assert [step for step, _ in display.rows.curve("loss")] == [10, 20, 30]


def test_outside_of_a_notebook_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IPython", "marimo"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert notebook_output() is None
    assert isinstance(make_display(total_steps=1), LineDisplay)
    terminal = SimpleNamespace(get_ipython=SimpleNamespace)
    script = SimpleNamespace(running_in_notebook=lambda: False)
    for name, module in (("IPython", terminal), ("marimo", script)):
        monkeypatch.setitem(sys.modules, name, module)
        assert notebook_output() is None


def test_jupyter_and_marimo_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[str, Any]] = []
    handle = SimpleNamespace(update=lambda content, raw: shown.append(("update", content)))

    def display(content: Any, *, raw: bool, display_id: bool) -> Any:
        shown.append(("display", content))
        return handle

    shell = SimpleNamespace(kernel=object())
    jupyter = SimpleNamespace(get_ipython=lambda: shell, display=SimpleNamespace(display=display))
    monkeypatch.setitem(sys.modules, "IPython", jupyter)
    monkeypatch.delitem(sys.modules, "marimo", raising=False)
    output = notebook_output()
    assert isinstance(output, Jupyter)
    output.show("<p>1</p>", "1")
    output.show("<p>2</p>", "2")
    assert shown == [
        ("display", {"text/html": "<p>1</p>", "text/plain": "1"}),
        ("update", {"text/html": "<p>2</p>", "text/plain": "2"}),
    ]
    assert isinstance(make_display(total_steps=1), NotebookDisplay)
    assert isinstance(make_display(total_steps=1, quiet=True), SilentDisplay)

    replaced: list[str] = []
    marimo = SimpleNamespace(
        running_in_notebook=lambda: True, Html=lambda text: text, output=SimpleNamespace(replace=replaced.append)
    )
    monkeypatch.setitem(sys.modules, "marimo", marimo)
    output = notebook_output()
    assert isinstance(output, Marimo)
    output.show("<p>3</p>", "3")
    assert replaced == ["<p>3</p>"]


def test_training_imports_no_notebook_library() -> None:
    code = (
        "import sys, antiphon.workflows.train as t; from antiphon.training.reporting.record import make_display; "
        "make_display(total_steps=1); print(sorted({'IPython', 'marimo', 'ipykernel'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
