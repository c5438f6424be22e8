"""A notebook of marimo: the training cell's output is the display, drawn in place, with the cell's value below it."""

from __future__ import annotations

import html
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("marimo", reason="needs marimo, which is no dependency: with its own it takes 220 MB")

NOTEBOOK = """
import marimo

app = marimo.App()


@app.cell
def _():
    import antiphon
    pairs = [("one two", "two one"), ("three four", "four three")] * 20
    run = antiphon.train({
        "data": {"train": pairs, "valid": pairs[:2]},
        "tokenizer": {"kind": "bytes"},
        "model": {"preset": "tiny", "d_model": 16, "ffn_dim": 16, "num_heads": 2},
        "training": {"max_steps": 30, "log_every_steps": 5, "batch_tokens": 100},
        "validation": {"every_steps": 15, "metrics": ["chrf"]},
        "output": "run",
    })
    return (run,)


@app.cell
def _(run):
    run.model
    return


if __name__ == "__main__":
    app.run()
"""


@pytest.mark.timeout(300)
def test_a_training_cell_in_marimo(tmp_path: Path) -> None:
    (tmp_path / "notebook.py").write_text(NOTEBOOK)
    command = [sys.executable, "-m", "marimo", "-y", "export", "html", "notebook.py", "-o", "out.html"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    page = html.unescape((tmp_path / "out.html").read_text(encoding="utf-8"))
    assert "step 30 of 30" in page and "30 steps are done; the model is in" in page and "last validation" in page
    assert "step 5 of 30" not in page, "an earlier drawing was not replaced"
    assert "self-attention" in page, "the model shows itself"
    assert "step 5  epoch" not in done.stderr, "plain lines, as outside of a notebook"
