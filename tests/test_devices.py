"""What is said of the processor, its threads and its types of numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from workflows.test_fine_tuning import recipe

import antiphon
from antiphon import devices
from antiphon.cli.threads import wait_briefly
from antiphon.devices import describe_machine, emulates_bfloat16


@pytest.mark.parametrize("there", [True, False])
def test_emulated_bfloat16_is_said(
    there: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], recwarn: object
) -> None:
    monkeypatch.setattr(devices.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: there, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    assert emulates_bfloat16(torch.device("cpu")) != there
    assert not emulates_bfloat16(torch.device("cuda"))
    training = {"max_steps": 1, "batch_tokens": 128, "precision": "bf16"}
    run = antiphon.train(recipe(tmp_path / "run", training=training), device="cpu")
    assert ("`training.precision` is bfloat16, but this processor has no" in capsys.readouterr().err) != there
    if there:
        antiphon.load(run.folder, device="cpu", dtype="bfloat16")
    else:
        with pytest.warns(UserWarning, match="`dtype` is bfloat16, but .* is emulated"):
            antiphon.load(run.folder, device="cpu", dtype="bfloat16")


def test_nothing_is_said_of_other_processors_or_types(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(devices.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    assert not emulates_bfloat16(torch.device("cpu"))
    monkeypatch.setattr(devices.platform, "machine", lambda: "x86_64")
    antiphon.train(recipe(tmp_path / "run", training={"max_steps": 1, "batch_tokens": 128}), device="cpu")
    assert "bfloat16" not in capsys.readouterr().err


def test_threads_sleep_unless_the_environment_says_otherwise() -> None:
    environment: dict[str, str] = {}
    wait_briefly(environment)
    assert environment == {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        own = {name: "5"}
        wait_briefly(own)
        assert own == {name: "5"}


def test_the_command_line_sets_it_before_pytorch_is_loaded() -> None:
    code = (
        "import os, sys; from antiphon.cli.main import main; main(['--help']);"
        "print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert made.stdout.split()[-2:] == ["1000", "False"]


def test_the_first_line_says_how_threads_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    assert describe_machine(torch.device("cpu"), "float32") == "antiphon: cpu, float32, 2 threads"
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    assert describe_machine(torch.device("cpu"), "float32").endswith("2 threads that sleep while they wait")


MEMORY = """
import os, sys, torch
from antiphon.devices import bound_primitive_cache

if sys.argv[1] == "bounded":
    bound_primitive_cache()
torch.set_num_threads(1)
layer = torch.nn.Conv1d(40, 64, 3)
def peak():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
for length in range(200, 1200):
    layer(torch.zeros(4, 40, length)).sum().backward()
    if length == 300:
        early = peak()
print((peak() - early) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read where Linux tells it")
def test_the_memory_of_compiled_operations_is_bounded() -> None:
    """Convolutions of a thousand lengths: MiB that were taken after the first hundred."""
    environment = {name: value for name, value in os.environ.items() if name != devices._PRIMITIVES}
    grown = {}
    for how in ("bounded", "free"):
        command = [sys.executable, "-c", MEMORY, how]
        grown[how] = int(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    if grown["free"] < 20:
        pytest.skip(f"oneDNN keeps nothing on this processor ({grown['free']} MiB)")
    assert grown["bounded"] < grown["free"] / 2, grown


def test_a_capacity_of_the_user_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(devices._PRIMITIVES, "7")
    devices.bound_primitive_cache()
    assert os.environ[devices._PRIMITIVES] == "7"
