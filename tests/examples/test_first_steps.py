"""The way of docs/first-steps.md: as a notebook, as one file, and the tutorial's script; fewer epochs than printed."""

from __future__ import annotations

import importlib.util
import math
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from counts import count
from models.test_hub import T5
from nbclient import NotebookClient
from safetensors.torch import load_file
from workflows.test_fine_tuning import published

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PAIRS = count("first_steps_pairs")
FRENCH, TEST = count("first_steps_french"), count("first_steps_test")


def run(file: str, *arguments: str, folder: Path) -> str:
    """What an example prints, run in an empty folder."""
    command = [sys.executable, str(EXAMPLES / file), *arguments]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_notebook_is_that_of_the_page() -> None:
    spec = importlib.util.spec_from_file_location("make_notebook", ROOT / "docs" / "make_notebook.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.main(["--check"]) == 0, "run python docs/make_notebook.py"


def fewer(cell, *changes: tuple[str, str]) -> None:
    """Shorten a cell, which must have what is replaced."""
    for full, short in changes:
        assert full in cell["source"]
        cell["source"] = cell["source"].replace(full, short)


@pytest.mark.timeout(900)
def test_every_cell_of_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    notebook = nbformat.read(EXAMPLES / "first_steps.ipynb", as_version=4)
    training = next(cell for cell in notebook.cells if cell["source"].startswith("epochs = 10"))
    fewer(training, ("epochs = 10", "epochs = 1"), ("corpus.train", f"corpus.train[:{PAIRS}]"))
    french = next(cell for cell in notebook.cells if "french.train[:8000]" in cell["source"])
    fewer(french, ("french.train[:8000]", f"french.train[:{FRENCH}]"))
    evaluated = next(cell for cell in notebook.cells if "antiphon.evaluate(model, corpus.test" in cell["source"])
    fewer(evaluated, ("corpus.test", f"corpus.test[:{TEST}]"))
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = ["".join(out.get("text", "") for out in cell.get("outputs", ())) for cell in notebook.cells]
    said = "".join(outputs)
    assert "epoch 1  mean loss" in said
    assert "nc:6" in said  # the metric's signature
    assert "'positive': 0.9" in said and "Oslo says no to a tram" in said
    assert (tmp_path / "first-model" / "model.safetensors").is_file() and (tmp_path / "weights.pt").is_file()
    shown = [cell["outputs"] for cell in notebook.cells if "antiphon.train(recipe" in cell["source"]]
    assert len(shown) == 3
    for outputs_of_a_task in shown:
        assert any("text/html" in out.get("data", {}) for out in outputs_of_a_task), "the bar"


@pytest.mark.timeout(600)
def test_the_notebook_that_compares_and_explains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    notebook = nbformat.read(EXAMPLES / "compare_and_explain.ipynb", as_version=4)
    steps = count("compared_steps")
    changes = ('max_steps": 150', f'max_steps": {steps}'), ('every_steps": 75', f'every_steps": {steps // 2}')
    fewer(next(cell for cell in notebook.cells if "antiphon.train(recipe)" in cell["source"]), *changes)
    NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = {
        cell["source"].splitlines()[-1]: "".join(out.get("data", {}).get("text/html", "") for out in cell["outputs"])
        for cell in notebook.cells
        if cell["cell_type"] == "code"
    }
    assert "<iframe" in shown["page"] and "<svg" in shown["page"]
    assert "chrF" in shown["comparison"]
    assert "deletion test" in shown["explanation"] and "Caveat" in shown["explanation"]
    assert "scored pairs" in shown["answers"]
    assert shown["antiphon.report(run)"]


def code_lines(text: str) -> list[str]:
    """The lines of code, without comments and the spaces before them."""
    lines = [re.sub(r"\s*#.*", "", line).strip() for line in text.splitlines()]
    return [line for line in lines if line]


def test_the_file_is_short_and_that_of_the_page() -> None:
    file = code_lines((EXAMPLES / "first_steps.py").read_text(encoding="utf-8"))
    assert len(file) <= 60
    page = (ROOT / "docs" / "first-steps.md").read_text(encoding="utf-8")
    attention, parts, training = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[1:4]
    own = {"epochs = 10", "batches = antiphon.batches(corpus.train, tokenizer, batch_tokens=2048)"}
    missing = [line for line in code_lines(attention + parts + training) if line not in file]
    assert {line for line in missing if not line.startswith(("print(", "from antiphon.nn import"))} == own


def test_the_file_runs(tmp_path: Path) -> None:
    said = run("first_steps.py", "1", str(PAIRS), folder=tmp_path)
    first = re.search(r"^epoch 1  first loss ([\d.]+)", said)
    assert first and abs(float(first[1]) / math.log(1133) - 1) < 0.1  # of all 1,133 tokens: a guess
    assert "% exact" in said and (tmp_path / "first-model" / "config.json").is_file()


def test_the_tutorials_script(tmp_path: Path) -> None:
    """Its attention is part of the network, learns and answers; the saved model loads where the name is registered."""
    published(tmp_path / "t5", "t5", T5)
    said = run("tutorial.py", "t5", "10", folder=tmp_path)
    losses = [float(found) for found in re.findall(r"^epoch \d+  loss ([\d.]+)$", said, re.MULTILINE)]
    assert len(losses) == 10 and losses[-1] < 0.98 * losses[0]
    assert said.count(" -> ") == 2
    weights = load_file(tmp_path / "custom-model" / "model.safetensors")
    own = [name for name in weights if name.startswith("encoder.") and ".attention." in name]
    assert len(own) == 4 * 2, "two layers, each with two linear layers"
