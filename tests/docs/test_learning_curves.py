"""The pictures of runs: they show what the logs hold, are small, stand alone, and are the same twice."""

from __future__ import annotations

import importlib.util
import json
import math
import random
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("matplotlib", reason="needs matplotlib (extra [dev])")

TOOL = Path(__file__).resolve().parents[2] / "docs" / "learning_curves.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    import sys

    spec = importlib.util.spec_from_file_location("learning_curves", TOOL)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["learning_curves"] = module  # its dataclass looks there
    spec.loader.exec_module(module)
    return module


def log(folder: Path, *, steps: int = 40_000, metrics: tuple[str, ...] = ("bleu", "chrf"), seed: int = 0) -> Path:
    draw = random.Random(seed)
    folder.mkdir()
    with (folder / "metrics.jsonl").open("w") as file:
        for step in range(50, steps + 1, 50):
            row: dict = {"step": step, "epoch": 0, "time_seconds": step * 0.3}
            row["loss"] = row["nll"] = 2 + 6 * math.exp(-step / 3000) + draw.gauss(0, 0.05)
            file.write(json.dumps(row) + "\n")
            if step % 1000 == 0:
                found = {name: 40 - 30 * math.exp(-step / 5000) for name in metrics}
                row = {"step": step, "epoch": 0, "time_seconds": step * 0.3, "valid_loss": 2.0, **found}
                file.write(json.dumps(row) + "\n")
        file.write(json.dumps({"step": steps, "averaged": 5, "valid_loss": 1.0, "bleu": 99.0}) + "\n")
    return folder


def words(picture: str) -> list[str]:
    texts = ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(element.itertext()).strip() for element in texts]


def test_one_run(tool: ModuleType, tmp_path: Path) -> None:
    run = log(tmp_path / "run")
    for name in ("one", "two"):
        assert tool.main([str(run), "--output", str(tmp_path / "images" / f"{name}.svg")]) == 0
    one, two = ((tmp_path / "images" / f"{name}.svg").read_bytes() for name in ("one", "two"))
    assert one == two
    assert len(one) < 60_000
    assert {"step", "training loss (thin)", "validation bleu", "minutes of training"} <= set(words(one.decode()))
    assert "200" in words(one.decode())  # minutes
    text = one.decode().split("<defs>")[-1]
    assert "http" not in text.replace("http://www.w3.org/", "") and "dc:date" not in text


def test_several_runs_share_a_metric(tool: ModuleType, tmp_path: Path) -> None:
    runs = [log(tmp_path / name, seed=seed) for seed, name in enumerate(("adamw", "muon", "lion", "sgd", "a", "b"))]
    assert tool.main([*map(str, runs), "--metric", "chrf", "--output", str(tmp_path / "all.svg")]) == 0
    picture = (tmp_path / "all.svg").read_text()
    assert len(picture.encode()) < 60_000
    shown = words(picture)
    assert "validation chrf" in shown
    assert [text for text in shown if "min)" in text] == [f"{run.name} (200 min)" for run in runs]


def test_the_curves_are_the_log(tool: ModuleType, tmp_path: Path) -> None:
    curves, metric = tool.read(log(tmp_path / "run", steps=3000), None)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert metric == "bleu"
    assert curves.metric == [(row["step"], row["bleu"]) for row in rows if "bleu" in row and "averaged" not in row]
    assert curves.loss == [(row["step"], row["loss"]) for row in rows if "loss" in row]
    assert curves.minutes == pytest.approx(15)


def test_thinning_keeps_the_mean(tool: ModuleType) -> None:
    points = [(float(step), float(step % 7)) for step in range(1200)]
    thin = tool.thinned(points, 150)
    assert len(thin) == 150
    assert sum(value for _, value in thin) / 150 == pytest.approx(sum(value for _, value in points) / 1200)
    assert tool.thinned(points[:149], 150) == points[:149]


def test_a_run_that_was_resumed_has_each_step_once(tool: ModuleType, tmp_path: Path) -> None:
    run = log(tmp_path / "run", steps=2000)
    file = run / "metrics.jsonl"
    again = [{"step": step, "time_seconds": step * 0.3, "loss": 1.0} for step in (1950, 2000)]
    file.write_text(file.read_text() + "".join(json.dumps(row) + "\n" for row in again))
    assert tool.read(run, None)[0].loss[-2:] == [(1950, 1.0), (2000, 1.0)]


@pytest.mark.parametrize(
    ("words", "said"),
    [(["none"], "cannot be read"), (["run", "--metric", "blue"], "the metric `blue`, but has bleu, chrf")],
)
def test_what_is_wrong_is_one_line(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, words: list[str], said: str
) -> None:
    log(tmp_path / "run", steps=2000)
    monkeypatch.chdir(tmp_path)
    assert tool.main([*words, "--output", "x.svg"]) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1
    assert not (tmp_path / "x.svg").exists()
