"""Reading the log of a run: half a last line is left out, and anything else that is no row is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from antiphon.errors import DataError
from antiphon.training.progress import LogWindow, Progress
from antiphon.training.reporting.record import read_rows

ROWS = [{"step": 1, "loss": 2.0}, {"step": 2, "name": "ü"}]


def test_a_log_that_is_cut_anywhere_has_its_whole_rows(tmp_path: Path) -> None:
    assert read_rows(tmp_path) == []
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
    first = len(data.split(b"\n")[0])
    for end in range(len(data) + 1):
        (tmp_path / "metrics.jsonl").write_bytes(data[:end])
        assert read_rows(tmp_path) == ROWS[: (end >= first) + (end >= len(data) - 1)]  # whole without its line end too


@pytest.mark.parametrize("line", [b'{"step": 1', b"[]", b"\xff", b'{"loss": 1}', b'{"step": "1"}'])
def test_another_line_that_is_no_row_is_named(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
    with pytest.raises(DataError, match=r"line 2 of .*metrics\.jsonl` must be a JSON object with a `step`"):
        read_rows(tmp_path)


def test_tokens_are_counted_over_snapshots_and_not_invented() -> None:
    progress = Progress()
    step = LogWindow(tokens=100, positions=120, counted=10)
    progress.add(step, lr=1e-3, seconds=0.5)
    again = Progress()
    again.restore(json.loads(json.dumps(progress.state())))
    again.add(step, lr=1e-3, seconds=0.5)
    assert again.tokens == 200
    older = {name: value for name, value in progress.state().items() if name != "tokens"}
    again.restore(older)
    again.add(step, lr=1e-3, seconds=0.5)
    assert again.tokens is None  # the page integrates the rate instead
