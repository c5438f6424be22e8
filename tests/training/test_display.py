"""What a run shows in a terminal: no line is wider than it, nothing is left behind, no time is negative."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pseudo_terminal import blocks
from rich.cells import cell_len
from training.runs import Said

from antiphon.config import TrainingConfig
from antiphon.training.progress import Progress
from antiphon.training.reporting.formats import clock, fit, live_line, sample_line
from antiphon.training.reporting.record import RunLog, Sample

ROW = {
    "step": 123_456, "epoch": 3, "loss": 3.2101, "nll": 2.9, "lr": 1.2e-3, "tokens_per_second": 12_345.0,
    "padding_waste": 0.07, "seconds_left": 36_123.0,
}  # fmt: skip

# Two runs in one process, whose imports take longer than both: one to its end, and one that Ctrl-C ends.
SCRIPT = """
import sys
import antiphon
words = [f"{a} {b} {c}" for a in ("one", "two") for b in ("three", "four") for c in ("five", "six")]
pairs = [(text, text.replace(" ", "\\n\\t")) for text in words]
def train(folder, steps): antiphon.train({
    "data": {"train": pairs * 4, "valid": pairs},
    "tokenizer": {"kind": "characters"}, "model": {"preset": "tiny", "d_model": 16, "num_heads": 2},
    "training": {"max_steps": steps, "batch_tokens": 120, "log_every": 3, "warmup_steps": 2},
    "validation": {"every": 5, "metrics": ["chrf", "bleu", "exact_match", "ter"], "samples": 3},
    "output": folder,
}, device="cpu")
train(sys.argv[1] + "/whole", 20)
print("THE OTHER", file=sys.stderr, flush=True)
train(sys.argv[1] + "/stopped", 100000)
"""


@pytest.mark.parametrize("width", [20, 40, 60, 79, 100, 200])
@pytest.mark.parametrize("total", [None, 200_000])
def test_the_live_line_keeps_the_step_and_the_time_left(width: int, total: int | None) -> None:
    line = live_line(123_456, total, ROW, "valid_loss 3.123  chrf 12.345", width)
    assert cell_len(line) <= width and line.startswith("step 123,456")
    assert width < 40 or "10:02:03 left" in line
    assert width < 60 or "loss 3.210" in line
    assert width < 200 or ("chrf 12.345" in line and "padding 7%" in line and ("━" in line) == (total is not None))


def test_no_time_is_negative() -> None:
    progress = Progress(step=7, seconds=61.3)
    progress.window.seconds, progress.window.positions = [1.0], 1
    assert progress.row(TrainingConfig(max_minutes=1))["seconds_left"] == 0
    assert clock(-1.2) == "0:00" and clock(3661) == "1:01:01"


def test_samples_are_two_lines_and_all_are_kept(tmp_path: Path) -> None:
    long = "Dear all,\n\n\tplease " + "find attached " * 40 + "\x1b[31m"
    record = RunLog(tmp_path, display := Said())
    record.validation({"step": 1, "valid_loss": 1.0}, [Sample(long, long, "a\nb"), *[Sample("a", "b", "b")] * 4])
    assert len(display.lines) == 3 and all(cell_len(line) <= 80 for line in display.lines)
    assert display.lines[1].startswith("    Dear all, please find") and "…" in display.lines[1]
    assert "  →  a b  ≠  Dear all," in display.lines[1] and display.lines[2] == "    a  →  b  =  b"
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == 5


def test_wide_characters_take_two_columns() -> None:
    assert fit("日本語日本語", 7) == "日本語…" and fit("a\tb\nc\x07", 9) == "a b c\\x07"
    line = sample_line("日本語" * 30, "短い", "日本語" * 30, 80)
    assert 70 <= cell_len(line) <= 80 and "短い" in line


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """What both runs write to a terminal of 80 columns; Ctrl-C at the first validation of the second."""
    host, terminal = pty.openpty()
    os.system(f"stty cols 80 rows 24 -onlcr < {os.ttyname(terminal)}")
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path_factory.mktemp("terminal"))],
        stderr=terminal,
        env={**environment, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1"},
    )
    os.close(terminal)
    found, began, stopped = b"", time.monotonic(), False
    for block in blocks(host):
        found += block
        if time.monotonic() - began > 240:
            break
        if not stopped and b"validation: " in found.partition(b"THE OTHER")[2]:
            process.send_signal(signal.SIGINT)
            stopped = True
    os.close(host)
    process.wait(timeout=60)
    whole, mark, rest = found.decode().partition("THE OTHER")
    assert mark, whole
    return whole, rest


def lines_of(written: str) -> list[str]:
    """The lines as a terminal shows them at one time or another, without colours and moves."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    return [line for line in re.split(r"[\r\n]+", plain) if line]


@pytest.fixture(scope="module")
def terminal_lines(written: tuple[str, str]) -> list[str]:
    return lines_of(written[0])


def test_nothing_wraps_in_80_columns(terminal_lines: list[str]) -> None:
    assert [line for line in terminal_lines if cell_len(line) > 80] == []
    assert any(line.startswith("step 15  validation: ") for line in terminal_lines)
    assert any(re.match(r"step \d+/20 .*left", line) for line in terminal_lines)


def test_the_curves_stand_below_the_progress_and_remain(terminal_lines: list[str]) -> None:
    curves = [line for line in terminal_lines if re.match(r"loss [\d.]+ [▁▂▃▄▅▆▇█]+ [\d.]+", line)]
    assert curves and re.search(r"   chrf [\d.]+ [▁▂▃▄▅▆▇█]+ [\d.]+$", curves[-1])
    assert terminal_lines[-1] == curves[-1]


def test_ctrl_c_is_answered_at_once_and_leaves_no_line(written: tuple[str, str]) -> None:
    stopped = written[1]
    lines = lines_of(stopped)
    [place] = [number for number, line in enumerate(lines) if line.startswith("saving after this step …")]
    [saved] = [number for number, line in enumerate(lines) if line.startswith("stopped at step")]
    assert place < saved and [line for line in lines if cell_len(line) > 80 and "/" not in line] == []
    assert stopped.rfind("\x1b[2K") > stopped.rfind("stopped at step") and "\x1b[?25h" in stopped  # erased; cursor back
