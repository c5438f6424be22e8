"""Reporters: each of the four against its real package, without a network, new and resumed; faults are said once."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from antiphon.errors import ConfigError
from antiphon.registry import register, unregister
from antiphon.settings import SettingError
from antiphon.training.reporting.reporters import check_reporters, names, open_reporters
from antiphon.workflows import train

RECIPE = {"task": "text", "training": {"lr": 0.5, "log_to": ["wandb"]}, "data": {"train": "<python: 2 pairs>"}}
ROWS = [
    {"step": 10, "epoch": 1, "loss": 3.5, "seconds_left": None},
    {"step": 20, "epoch": 1, "loss": 2.5, "lr": 0.001, "grad_norm": float("nan")},
    {"step": 20, "epoch": 1, "valid_loss": 2.0, "bleu:tokenize=none": 31.25},
]
AGAIN = [{"step": 20, "epoch": 1, "loss": 2.25}, {"step": 30, "epoch": 2, "loss": 1.5}]


def report_twice(item: object, folder: Path) -> None:
    """A run that reports ROWS and stops, and one that is resumed from step 10."""
    folder.mkdir(exist_ok=True)
    said: list[str] = []
    for resumed_at, rows in ((None, ROWS), (10, AGAIN)):
        [reporter] = open_reporters([item], folder, recipe=RECIPE, resumed_at=resumed_at, say=said.append)
        for row in rows:
            reporter(row)
        reporter.close(failed=resumed_at is None)
    assert said == []


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    report_twice("tensorboard", tmp_path)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(10, 3.5), (20, 2.25), (30, 1.5)]
    assert [(e.step, e.value) for e in events.Scalars("bleu:tokenize=none")] == []  # after step 10: purged
    assert "grad_norm" not in events.Tags()["scalars"]


def test_weights_and_biases_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    report_twice({"wandb": {"project": "x", "mode": "offline", "tags": ["t"]}}, tmp_path / "run")
    files = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 2 and files[0].name == files[1].name, "the resumed run has another id"
    deadline = time.monotonic() + 30
    while True:  # a process of wandb writes the files, on a busy machine after `finish` has returned
        logged = [row for file in files for row in wandb_rows(file)]
        if sum("loss" in row for row in logged) >= 4 or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert [(row["step"], row["loss"]) for row in logged if "loss" in row] == [
        (10.0, 3.5), (20.0, 2.5), (20.0, 2.25), (30.0, 1.5),
    ]  # fmt: skip
    assert any(row.get("bleu:tokenize=none") == 31.25 for row in logged)


def wandb_rows(file: Path) -> Iterator[dict[str, Any]]:
    """The history in a file of an offline run, which `wandb sync` sends: records in the format of LevelDB's log."""
    messages: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
    content, at, whole = file.read_bytes(), 7, b""  # 7 bytes: the file's own header
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:  # the end of a block
            at += left
            continue
        size, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        whole += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind not in (1, 4):  # not whole yet
            continue
        record = messages.Record()
        record.ParseFromString(whole)
        whole = b""
        if record.HasField("history"):
            items = record.history.item
            yield {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_mlflow_in_a_local_store(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    report_twice({"mlflow": {"tracking_uri": uri, "experiment": "demo", "tags": {"by": "me"}}}, tmp_path / "run")
    client = mlflow.MlflowClient(uri)
    place = client.get_experiment_by_name("demo").experiment_id
    [run] = client.search_runs([place])
    assert run.info.status == "FINISHED" and run.info.run_name == "run" and run.data.tags["by"] == "me"
    assert run.data.params["training.lr"] == "0.5" and run.data.metrics["loss"] == 1.5
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(10, 3.5), (20, 2.5), (20, 2.25), (30, 1.5)]
    assert run.data.metrics["bleu:tokenize_none"] == 31.25  # MLflow allows no =


def test_trackio_locally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("trackio")
    from trackio import sqlite_storage, utils

    for module in (utils, sqlite_storage):
        monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    report_twice({"trackio": {"project": "demo"}}, tmp_path / "run")
    assert capsys.readouterr().out == "", "standard output is for answers"
    storage = sqlite_storage.SQLiteStorage
    assert storage.get_runs("demo") == ["run"]
    logged = [(row["step"], row["loss"]) for row in storage.get_logs("demo", "run") if "loss" in row]
    assert sorted(logged) == [(10, 3.5), (20, 2.25), (20, 2.5), (30, 1.5)]


def test_a_missing_package_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "find_spec", lambda name: None)
    for name in names.BUILT_IN:
        with pytest.raises(SettingError) as error:
            check_reporters([{name: {}}])
        assert str(error.value) == (
            f"`training.log_to` names {name}, which needs the package {name}, but that is not installed. "
            f"Run pip install 'antiphon[{name}]'."
        )


@pytest.mark.parametrize("name", ["tensorbord", "no_module_of_this_name:x"])
def test_an_unknown_reporter_is_refused_before_training(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`training.log_to`.*did you mean `tensorboard`|cannot be imported"):
        train(tiny(tmp_path / "run", log_to=[name]), quiet=True)
    assert not (tmp_path / "run").exists()


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not take these settings"):
        open_reporters([{"mlflow": {"expriment": "x"}}], tmp_path, recipe={}, resumed_at=None, say=print)
    with pytest.raises(ConfigError, match=r"`training.log_to.0` must be a name or"):
        train(tiny(tmp_path / "run", log_to=[{"a": {}, "b": {}}]), quiet=True)
    with pytest.raises(ConfigError, match=r"`training.log_to.0.mlflow` must be a mapping of settings"):
        train(tiny(tmp_path / "run", log_to=[{"mlflow": 3}]), quiet=True)


def test_what_was_opened_is_closed_if_a_later_one_cannot_begin(tmp_path: Path) -> None:
    def refuses(folder: Path) -> Any:
        raise OSError("no network")

    register("reporter", "test-refuses")(refuses)
    try:
        with pytest.raises(ConfigError, match=r"`test-refuses` cannot begin \(OSError: no network\)"):
            open_reporters(["tensorboard", "test-refuses"], tmp_path, recipe={}, resumed_at=None, say=print)
    finally:
        unregister("reporter", "test-refuses")


class Fragile:
    """A reporter that takes a setting and fails from the second row on."""

    rows: list[Any] = []  # noqa: RUF012  (of all that were made)

    def __init__(self, folder: Path, *, mark: str) -> None:
        self.mark = mark

    def __call__(self, row: Mapping[str, Any]) -> None:
        self.rows.append((self.mark, row["step"]))
        if len(self.rows) > 1:
            raise ConnectionError("the network\nis gone")


def test_a_reporter_that_fails_is_said_once_and_the_run_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Fragile.rows.clear()
    sys.modules["fragile_reporter"] = sys.modules[__name__]
    try:
        run = train(tiny(tmp_path / "run", log_to=[{"fragile_reporter:Fragile": {"mark": "m"}}]))
    finally:
        del sys.modules["fragile_reporter"]
    assert Fragile.rows == [("m", 1), ("m", 2)] and [row["step"] for row in run.metrics] == [1, 2, 3]
    line = "the reporter `fragile_reporter:Fragile` no longer gets the figures (ConnectionError: the network is gone)"
    assert capfd.readouterr().err.count(line) == 1
    # `log_to` may change when a run is resumed.
    again = train(tiny(tmp_path / "run", log_to=["tensorboard"], max_steps=4), resume=True, quiet=True)
    assert again.metrics[-1]["step"] == 4 and list((tmp_path / "run" / "tensorboard").iterdir())


def tiny(output: Path, **training: Any) -> dict[str, Any]:
    return {
        "task": "text",
        "data": {"train": [("a b", "b a"), ("b", "b")]},
        "tokenizer": {"kind": "bytes"},
        "model": {"preset": "tiny", "d_model": 16, "ffn_dim": 16, "num_heads": 1, "max_length": 16},
        "training": {"max_steps": 3, "log_every_steps": 1, "batch_tokens": 64, **training},
        "output": str(output),
    }
