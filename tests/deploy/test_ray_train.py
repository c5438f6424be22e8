"""deploy/ray_train.py with two workers, where Ray is installed (`pip install "ray[train]"`, 617 MB)."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import ray_cluster

import antiphon

ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'ray[train]', 617 MB)")
FILE = Path(__file__).resolve().parents[2] / "deploy" / "ray_train.py"
RECIPE = """
data: {train: {path: train.tsv}, valid: {path: train.tsv}}
tokenizer: {kind: characters}
model: {preset: tiny, d_model: 32}
training: {max_steps: 6, batch_tokens: 100, accumulate: 3, save_every_steps: 2, log_every_steps: 1}
validation: {every_steps: 3}
"""


@pytest.fixture(scope="module")
def ray_train() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ray_train", FILE)
    assert spec is not None and spec.loader is not None
    module = sys.modules["ray_train"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cluster(ray_train: ModuleType) -> Iterator[None]:
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(ray_train)  # the workers do not know the folder deploy/
    with ray_cluster.cluster():
        yield


@pytest.mark.usefixtures("cluster")
def test_two_workers_train_the_run_of_one_process(ray_train: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("".join(f"{n} {n + 1}\t{n + 1} {n}\n" for n in range(40)), encoding="utf-8")
    losses = {}
    for name in ("ray", "one"):
        recipe = tmp_path / f"{name}.yaml"
        recipe.write_text(f"{RECIPE}output: {tmp_path / name}\n", encoding="utf-8")
        if name == "ray":
            ray_train.fit(recipe, workers=2, storage=str(tmp_path / "state"), restarts=0)
        else:
            antiphon.train(recipe, device="cpu", quiet=True)
        rows = map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines())
        losses[name] = [row["loss"] for row in rows if "loss" in row]
    assert len(losses["ray"]) == 6 and losses["ray"] == pytest.approx(losses["one"], rel=1e-5)
    assert antiphon.load(tmp_path / "ray" / "model").generate("1 2")
