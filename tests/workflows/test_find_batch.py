"""The largest batch that fits and the fastest: the search, the process that runs out of memory, the free memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from antiphon.cli.find_batch import memory_bytes
from antiphon.cli.main import main
from antiphon.errors import DataError, UsageError, WorkError
from antiphon.workflows.finding import find_batch as module
from antiphon.workflows.finding import machine_memory
from antiphon.workflows.finding.batch_trial import BatchRequest
from antiphon.workflows.finding.find_batch import find_batch

RECIPE = """
task: text
data: {train: {path: p.tsv}}
tokenizer: {kind: characters, vocab_size: 300}
model: {preset: tiny, d_model: 32, num_heads: 2, ffn_dim: 32, encoder_layers: 1, decoder_layers: 1}
training: {max_steps: 20, batch_tokens: 4096}
output: out
"""
MIB = 2**20


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.tsv").write_text("".join(f"a{i} b{i}\tb{i} a{i}\n" for i in range(3000)))
    file = tmp_path / "r.yaml"
    file.write_text(RECIPE)
    return file


def test_memory_that_runs_out_ends_only_the_trial(recipe: Path) -> None:
    """In a real process: all data in one batch of a wide model needs several GiB."""
    wide = {"model.d_model": "256", "model.ffn_dim": "4096"}
    request = BatchRequest(str(recipe), wide, None, [256, 2**22], "cpu", 1, 2**30, 60.0)
    small, large = module._in_process(request, lambda row: None)
    assert small["fits"] and 50 * MIB < small["peak_memory_bytes"] < 2**30 and small["batches_per_pass"] > 1
    assert small["tokens_per_second"] > 0 and 0 <= small["padding_waste"] < 0.9
    assert large == {"batch_tokens": 2**22, "fits": False}


def fake(monkeypatch: pytest.MonkeyPatch, fits: Callable[[int], bool], **more: Any) -> list[int]:
    """Makes up the trials of sizes; returns those that were tried, in order."""
    tried: list[int] = []

    def run(request: BatchRequest, report: Callable[[dict[str, Any]], None]) -> list[dict[str, Any]]:
        rows = []
        for size in request.sizes:
            tried.append(size)
            row = {"batch_tokens": size, "fits": fits(size)}
            if fits(size):
                row |= {"tokens_per_second": 1e4 - abs(size - 1000), "step_seconds": 0.1, "padding_waste": 0.1}
                row |= {"peak_memory_bytes": size, "batches_per_pass": 9, **more}
            rows.append(row)
            report(row)
            if not row["fits"] or row["batches_per_pass"] == 1:
                break
        return rows

    monkeypatch.setattr(module, "_in_process", run)
    return tried


def test_sizes_are_doubled_then_the_interval_is_halved(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = fake(monkeypatch, lambda size: size <= 5000)
    found = find_batch(recipe, memory_bytes=3 * 2**30)
    assert tried == [256, 512, 1024, 2048, 4096, 8192, 6144, 5120]
    assert (found.largest, found.fastest) == (4096, 1024) and "needs more than 3.0 GiB" in found.verdict
    assert [row["batch_tokens"] for row in found.rows] == sorted(tried)
    assert "4,096" in found._repr_html_() and found.as_json()["limit_bytes"] == 3 * 2**30
    assert fake(monkeypatch, lambda size: True, batches_per_pass=1) == []
    assert find_batch(recipe, memory_bytes=1).ended == "one batch then holds all the data"


def test_nothing_fits(recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake(monkeypatch, lambda size: False)
    with pytest.raises(WorkError, match=r"no batch fits into 0.5 GiB: not even the smallest"):
        find_batch(recipe, memory_bytes=2**29)
    assert main(["find-batch", str(recipe), "--memory", "512MiB", "--quiet"]) == 1
    assert capsys.readouterr().err.startswith("antiphon: no batch fits into 0.5 GiB")


def test_the_command_prints_a_table(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(monkeypatch, lambda size: size <= 5000)
    assert main(["find-batch", str(recipe), "--memory", "3GiB", "--threads", "1"]) == 0
    said = capsys.readouterr()
    assert "| 8,192        | no   |" in said.out and "the fastest is 1,024" in said.out
    assert "batch_tokens 256: 9,256 tokens/s" in said.err
    assert main(["find-batch", str(recipe), "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["largest"] == 4096
    assert main(["find-batch", str(recipe), "--set", "data.train=nowhere.tsv", "--quiet"]) == 2


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", None),
        ('print(\'{"error": "line 3 is bad.", "kind": "DataError"}\')', "line 3 is bad."),
        ("raise KeyError('x')", "the trial of batch sizes failed: KeyError: 'x'"),
    ],
)
def test_a_trial_that_ends_otherwise(
    script: str, message: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Killed for memory by the system: the size does not fit. Its error, or a crash: said in one line."""
    request = BatchRequest("r.yaml", {}, None, [256, 512], "cpu", 1, None, 1.0)
    popen = module.subprocess.Popen
    start = lambda command, **more: popen([command[0], "-c", f"import sys; sys.stdin.read(); {script}"], **more)  # noqa: E731
    monkeypatch.setattr(module.subprocess, "Popen", start)
    if message is None:
        assert module._in_process(request, lambda row: None) == [{"batch_tokens": 256, "fits": False}]
        return
    with pytest.raises(DataError if "line 3" in message else WorkError) as caught:
        module._in_process(request, lambda row: None)
    assert str(caught.value) == message


def test_the_free_memory_is_the_least_of_system_and_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:   8000 kB\n")
    for name, text in (
        ("memory.max", "5000000"),
        ("memory.current", "3000000"),
        ("memory.stat", "inactive_file 1000\n"),
    ):
        (tmp_path / name).write_text(f"{text}\n")
    monkeypatch.setattr(machine_memory, "_MEMINFO", str(tmp_path / "meminfo"))
    files = (str(tmp_path / "memory.max"), str(tmp_path / "memory.current"))
    monkeypatch.setattr(machine_memory, "_CGROUPS", (files,))
    assert machine_memory.available_memory() == 5_000_000 - 3_000_000 + 1000
    (tmp_path / "memory.max").write_text("max\n")
    assert machine_memory.available_memory() == 8000 * 1024
    monkeypatch.setattr(machine_memory, "_MEMINFO", str(tmp_path / "none"))
    assert machine_memory.available_memory() > 100 * MIB  # the physical memory


def test_sizes_of_memory_are_read() -> None:
    assert [memory_bytes(text) for text in ("4GiB", "800MB", "1.5 g", "4096")] == [2**32, 800_000_000, 3 * 2**29, 4096]
    for text in ("much", "-3GiB", "0", "3 GiBs"):
        with pytest.raises(UsageError, match="`--memory` must be a number of bytes such as 4GiB or 800MB, but is"):
            memory_bytes(text)
