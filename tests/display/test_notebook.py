"""A notebook in a real kernel: what shows itself, the one output of a training cell, and an interrupted cell."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import KernelManager, start_new_kernel
from nbclient import NotebookClient

START = """
import antiphon
pairs = [("one two", "two one"), ("three four", "four three"), ("five six", "six five")] * 30
recipe = {
    "data": {"train": pairs, "valid": pairs[:3]},
    "tokenizer": {"kind": "bpe", "vocab_size": 280},
    "model": {"preset": "tiny", "d_model": 32, "ffn_dim": 48, "num_heads": 2},
    "training": {"max_steps": 40, "log_every_steps": 5, "batch_tokens": 100, "save_every_steps": 1000},
    "validation": {"every_steps": 20, "metrics": ["chrf"]},
    "output": "run",
}
"""
CELLS = {  # what a cell ends in -> what its HTML says
    "run": "40 steps are done",
    "run.metrics": "rows of figures",
    "run.model": "self-attention",
    "run.model.tokenizer": "Tokenizer: bpe",
    "run.model.generate(['one two', '<b>'], max_new_tokens=4)": "2 answers",
    "run.model.generate('one two', max_new_tokens=4)[0]": "confidence",
    "run.model.attention('one two', 'two one')": "mean of",
    "antiphon.evaluate(run.model, pairs[:3], metrics=['chrf'], max_new_tokens=4)": "95 % interval",
    "antiphon.check_attention('full', role='decoder')": "0 fail",
}


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's history and files go into the test's own folder."""
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.mark.timeout(600)
def test_everything_shows_itself(tmp_path: Path) -> None:
    cells = [START, "run = antiphon.train(recipe)", *CELLS]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    first, training, *others = [cell["outputs"] for cell in notebook.cells]
    assert first == []
    (only,) = training  # one output, that was updated, and nothing on standard error
    assert only["output_type"] == "display_data"
    page = only["data"]["text/html"]
    assert "step 40 of 40" in page and "width:100.0%" in page and "last validation" in page and "<polyline" in page
    assert "40 steps are done; the model is in `run/model`" in page
    assert only["data"]["text/plain"].startswith("step 40 of 40  epoch ")
    for (code, said), (output,) in zip(CELLS.items(), others, strict=True):
        page = output["data"]["text/html"]
        assert said in page and "<script" not in page, code
        assert len(output["data"]["text/plain"]) < 12_000, code


class Kernel:
    """A kernel to which code is sent, and its messages while that runs."""

    def __init__(self, folder: Path) -> None:
        self.manager, self.client = start_new_kernel(cwd=str(folder))

    def run(self, code: str, *, stop_at: str | None = None) -> list[dict[str, Any]]:
        """The messages of a cell; the kernel is interrupted, once, when one of them shows `stop_at`."""
        assert isinstance(self.manager, KernelManager)
        asked, found = self.client.execute(code), []
        ends = time.monotonic() + 240
        while time.monotonic() < ends:
            message = self.client.get_iopub_msg(timeout=240)
            if message["parent_header"].get("msg_id") != asked:
                continue
            found.append(message)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return found
            if stop_at is not None and stop_at in str(message["content"].get("data", {})):
                self.manager.interrupt_kernel()
                stop_at = None
        raise AssertionError("the cell did not end")


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    found = Kernel(tmp_path)
    yield found
    found.client.stop_channels()
    found.manager.shutdown_kernel(now=True)


@pytest.mark.timeout(600)
def test_an_interrupted_cell_is_saved_and_goes_on(kernel: Kernel, tmp_path: Path) -> None:
    long = START + "\nrecipe['training'] |= {'max_steps': 1000000, 'log_every_steps': 1}"
    assert all(message["msg_type"] != "error" for message in kernel.run(long))
    messages = kernel.run("antiphon.train(recipe)", stop_at="tokens/s")
    errors = [message["content"]["ename"] for message in messages if message["msg_type"] == "error"]
    assert errors == ["KeyboardInterrupt"]
    shown = [message for message in messages if message["msg_type"] in ("display_data", "update_display_data")]
    assert [message["msg_type"] for message in shown].count("display_data") == 1
    last = shown[-1]["content"]["data"]["text/html"]
    assert "which is saved; continue with `antiphon.train(recipe, resume=True)`" in last and "--resume" not in last
    assert "</tbody>" in last and ">left<" not in last, "the display was closed: no time is left"
    (snapshot,) = (tmp_path / "run" / "snapshots").glob("step-*")
    step = int(snapshot.name.removeprefix("step-"))
    assert f"stopped at step {step}, which is saved" in last

    resumed = f"recipe['training']['max_steps'] = {step + 5}\nrun = antiphon.train(recipe, resume=True)\nrun"
    messages = kernel.run(resumed)
    assert [message["content"] for message in messages if message["msg_type"] == "error"] == []
    (result,) = [message for message in messages if message["msg_type"] == "execute_result"]
    shown = [message for message in messages if message["msg_type"] in ("display_data", "update_display_data")]
    points = re.findall(r'<polyline points="(.*?)"', shown[-1]["content"]["data"]["text/html"])[0].split()
    assert len(points) > 5, "the curve is that of the whole run, not of the five steps since"
    assert f"{step + 5} steps are done" in result["content"]["data"]["text/html"]
