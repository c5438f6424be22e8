"""antiphon.ray: what Ray Data jobs return, with a failed row and with an actor that is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray_cluster
from generation.test_model import model as random_model

import antiphon
from antiphon.bulk.job import BulkJob
from antiphon.errors import ConfigError, DataError
from antiphon.ray import RayAnswerer, RayStage, consecutive, pair_of

pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'antiphon[ray]')")
pytestmark = pytest.mark.timeout(900)  # starting actors takes minutes on a machine with much other work
ROWS = 60
LONG = "too long " * 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model("bytes").save(tmp_path_factory.mktemp("ray") / "model")


@pytest.fixture(scope="module")
def dataset() -> Iterator[Any]:
    with ray_cluster.cluster():
        yield ray.data.from_items(rows()).repartition(6).materialize()


def rows() -> list[dict[str, Any]]:
    texts = ["hello, world"[row % 11 :] for row in range(ROWS)]
    return [
        {"id": 100 + row, "source": text, "target": text[::-1], "group": "ab"[row % 2], "more": {"a": [row]}}
        for row, text in enumerate(texts)
    ]


def test_importing_the_package_does_not_import_ray() -> None:
    code = "import sys, antiphon, antiphon.ray; assert 'ray' not in sys.modules; antiphon.ray.generate"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_answers_are_those_of_the_model_though_an_actor_is_killed(
    folder: Path, dataset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, expected = antiphon.load(folder), rows()
    answers = model.generate([row["source"] for row in expected], beam_size=3, n_best=2)
    long = dataset.map(lambda row: {**row, "source": LONG} if row["id"] == 107 else row)
    answered = antiphon.ray.generate(
        long, folder, details=True, failures="record", batch_size=5, concurrency=(1, 1), num_cpus=0.5, beam_size=3,
        n_best=2,
    )  # fmt: skip
    found, killed = [], 0
    for batch in answered.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        found += batch.to_pylist()
        if not killed:
            for pid in actors():
                os.kill(pid, signal.SIGKILL)
                killed += 1
    assert killed, "no actor was there to kill"
    found.sort(key=lambda row: row["id"])
    assert [row["id"] for row in found] == [row["id"] for row in expected], "each row once"
    failed = found.pop(7)
    assert failed["answer"] is None and "tokens" in failed["error"] and failed["source"] == LONG
    for row, before, answer in zip(found, [*expected[:7], *expected[8:]], [*answers[:7], *answers[8:]], strict=True):
        assert {key: row[key] for key in before} == before and row["error"] is None
        assert row["answer"] == answer.text and row["tokens"] == answer.tokens and row["finished"] == answer.finished
        assert row["score"] == pytest.approx(answer.score) and row["confidence"] == pytest.approx(answer.confidence)
        assert [other["text"] for other in row["alternatives"]] == [other.text for other in answer.alternatives]


def actors() -> list[int]:
    """The living actors that answer: their processes are called so."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            mine = b"MapBatches(RayAnswerer)" in path.read_bytes() and path.stat().st_uid == os.getuid()
        except OSError:
            continue
        found += [int(path.parent.name)] if mine else []
    return found


def test_an_evaluation_is_that_of_the_model(folder: Path, dataset: Any) -> None:
    """By sampling, whose answers depend on the number of each row."""
    expected = rows()
    pairs, groups = [(row["source"], row["target"]) for row in expected], [row["group"] for row in expected]
    search: dict[str, Any] = {"temperature": 1.5, "beam_size": 1, "seed": 3}
    answers = antiphon.load(folder).generate([source for source, _ in pairs], first_row=100, **search)
    report = antiphon.ray.evaluate(
        dataset, folder, ["chrf"], group_field="group", row_field="id", num_cpus=0.5, concurrency=2, batch_size=7,
        **search,
    )  # fmt: skip
    from antiphon.evaluation.measuring import measure_answers

    alone = measure_answers(answers, pairs, ["chrf"], groups=groups)
    assert [answer.text for answer in report.answers] == [answer.text for answer in answers]
    assert report["chrf"].score == alone["chrf"].score > 0 and report["chrf"].interval == alone["chrf"].interval
    assert report.grouped is not None and alone.grouped is not None
    assert report.grouped.macro["chrf"].score == alone.grouped.macro["chrf"].score
    with pytest.raises(DataError, match="row 0 of the dataset cannot be answered: the field `nothing` must be a text"):
        antiphon.ray.evaluate(dataset, folder, ["chrf"], source_field="nothing", num_cpus=0.5)


def test_the_page(folder: Path, dataset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python of docs/bulk.md."""
    page = (Path(__file__).resolve().parents[1] / "docs" / "bulk.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    for name in ("shards/", "runs/mine", "answers"):
        code = code.replace(f'"{name}"', repr(str(tmp_path / name)))
    (tmp_path / "shards").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").symlink_to(folder)
    lines = [json.dumps({"text": row["source"], "reference": row["target"]}) for row in rows()[:8]]
    (tmp_path / "shards" / "0.json").write_text("\n".join(lines))
    found: dict[str, Any] = {}
    exec(compile(code, "docs/bulk.md", "exec"), found)
    model, pairs = antiphon.load(folder), [(row["source"], row["target"]) for row in rows()[:8]]
    sources, targets = map(list, zip(*pairs, strict=True))
    answers = [answer.text for answer in model.generate(sources, beam_size=2)]
    answered = [
        row for file in (tmp_path / "answers").glob("*.parquet") for row in parquet.read_table(file).to_pylist()
    ]
    assert {row["text"]: row["answer"] for row in answered} == dict(zip(sources, answers, strict=True))
    assert {row["error"] for row in answered} == {None} and len(answered) == 8
    scored = {row["text"]: row["score"] for row in found["scored"].take_all()}
    assert scored == pytest.approx(dict(zip(sources, model.score(sources, targets), strict=True)))
    whole = antiphon.evaluate(model, pairs, ["chrf"])
    assert found["report"]["chrf"].score == whole["chrf"].score and len(found["report"].answers) == 8


def test_what_an_actor_does_with_a_batch(folder: Path) -> None:
    """Without a cluster: failures of rows, recorded or raised, and nested fields."""
    batch = pa.Table.from_pylist(
        [{"in": {"text": "hello"}, "to": "a"}, {"in": {"text": None}, "to": "b"}, {"in": {"text": LONG}, "to": "c"}]
    )
    job = BulkJob(
        task="generate", models=(str(folder),), shards=(), device="cpu", source_field="in.text", on_failure="record"
    )
    found = RayAnswerer(RayStage(job=job, threads=1))(batch)
    assert found.select(["in", "to"]).equals(batch) and found.column_names == ["in", "to", "answer", "error"]
    one, none, long = found.to_pylist()
    assert one["answer"] == antiphon.load(folder).generate("hello")[0].text and one["error"] is None
    assert none["answer"] is None and "`in.text` must be a text" in none["error"]
    assert long["answer"] is None and "tokens" in long["error"]
    strict = RayAnswerer(RayStage(job=replace(job, on_failure="error"), threads=1))
    for part in (batch.slice(1, 1), batch.slice(2, 1)):
        with pytest.raises(DataError):
            strict(part)
    score = replace(job, task="score", target_field="to", added_field="log_p")
    scores = RayAnswerer(RayStage(job=score, threads=1))(batch).to_pylist()
    assert scores[0]["log_p"] == pytest.approx(antiphon.load(folder).score(["hello"], ["a"])[0])
    assert scores[1]["log_p"] is scores[2]["log_p"] is None


def test_what_is_measured_has_the_fields_that_are_answered() -> None:
    """Nested fields, templates of several, and several references, which arrive as an array."""
    row = {"in": {"text": "hello"}, "title": "a", "body": "b", "to": np.array(["x", "y"], dtype=object), "none": None}
    assert pair_of(row, 0, "in.text", "to") == ("hello", ["x", "y"])
    assert pair_of(row, 0, "{title}: {body}", "in.text") == ("a: b", ["hello"])
    assert pair_of(row, 0, "none", "body") == (None, ["b"])
    with pytest.raises(DataError, match="the field `none` must be a text"):
        pair_of(row, 0, "body", "none")


class Columns:
    """As much of a dataset as checks of arguments need."""

    def columns(self) -> list[str]:
        return ["source", "answer"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "must not have the column `answer` yet"),
        ({"target_field": "x", "details": True, "failures": "x"}, "`failures` must be error or record, but is"),
        ({"target_field": "x", "concurrency": (3, 2)}, "`concurrency` must be 1 or more"),
        ({"target_field": "x", "temperature": 1.0}, "`row_field` must be a column with the number of each row"),
        ({"target_field": "x", "model": object()}, "`model` must be a folder, which each actor loads"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"model": "runs/demo", **arguments}
    with pytest.raises(ConfigError, match=message):
        antiphon.ray.generate(Columns(), given.pop("model"), **given)  # type: ignore[arg-type]
    assert [*consecutive([4, 5, 6, 9, 8, 9])] == [(0, 3), (3, 4), (4, 6)] and [*consecutive([])] == []
