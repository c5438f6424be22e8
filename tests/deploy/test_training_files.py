"""The files in deploy/ that train on several machines: torchrun.sh, slurm.sh, trainjob.yaml, README.md.

ray_train.py is in test_ray_train.py. Real runs of torchrun.sh are in distributed/test_nodes.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from antiphon.cli.flags import parse
from antiphon.cli.train import Train

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
RUNTIME, JOB = yaml.safe_load_all((DEPLOY / "trainjob.yaml").read_text(encoding="utf-8"))
(REPLICATED,) = RUNTIME["spec"]["template"]["spec"]["replicatedJobs"]
POD = REPLICATED["template"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
# What a user sets of TrainJobSpec and its trainer in trainer.kubeflow.org/v1alpha1 (CRD of Kubeflow Trainer 2.2).
FIELDS = {"runtimeRef", "trainer", "initializer", "suspend", "managedBy", "activeDeadlineSeconds", "runtimePatches"}
TRAINER = {"image", "command", "args", "env", "numNodes", "numProcPerNode", "resourcesPerNode"}


def stand_in(folder: Path, name: str, text: str) -> None:
    """A program of that name, found first on the path."""
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    file.chmod(0o755)


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **more}


def torchrun_arguments(words: list[str]) -> Any:
    """What torchrun reads from its command line; SystemExit for a flag that it does not know."""
    from torch.distributed.run import get_args_parser

    return get_args_parser().parse_args(words)


def trained(words: list[str]) -> Train:
    assert words[0] == "train"
    return parse(Train, words[1:], prog="antiphon train")


def test_torchrun_gets_the_nodes_and_the_command(tmp_path: Path) -> None:
    stand_in(tmp_path, "torchrun", 'printf "%s\\n" "$TORCH_DISABLE_SHARE_RDZV_TCP_STORE" "$@"')
    known = environment(tmp_path, NODES="1:4", HEAD="node-0:29500", PROCESSES="2")
    found = subprocess.run(
        ["sh", str(DEPLOY / "torchrun.sh"), "recipe.yaml", "--training.lr", "1e-3"],
        env=known,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    own, *words = found.stdout.splitlines()
    assert own == "1"
    arguments = torchrun_arguments(words)
    assert (arguments.nnodes, arguments.nproc_per_node, arguments.max_restarts) == ("1:4", "2", 3)
    assert (arguments.rdzv_backend, arguments.rdzv_endpoint, arguments.rdzv_id) == ("c10d", "node-0:29500", "antiphon")
    assert arguments.module and arguments.training_script == "antiphon"
    command = trained(arguments.training_script_args)
    assert command.recipe == "recipe.yaml" and command.resume and command.overrides == {"training.lr": "1e-3"}


@pytest.mark.parametrize(("given", "missing"), [({"HEAD": "a:1"}, "NODES"), ({"NODES": "2"}, "HEAD")])
def test_torchrun_needs_the_nodes(tmp_path: Path, given: dict[str, str], missing: str) -> None:
    known = {name: value for name, value in os.environ.items() if name not in ("NODES", "HEAD")}
    words = ["sh", str(DEPLOY / "torchrun.sh"), "recipe.yaml"]
    found = subprocess.run(words, env={**known, **given}, capture_output=True, text=True, check=False, timeout=30)
    assert found.returncode != 0 and f"{missing}: must be" in found.stderr and len(found.stderr.splitlines()) == 1


def slurm(tmp_path: Path, step: str) -> subprocess.Popen[str]:
    stand_in(tmp_path, "srun", step)
    stand_in(
        tmp_path, "scontrol", f'[ "$1" = show ] && printf "node-3\\nnode-4\\n" || echo "$@" >> {tmp_path}/requeued'
    )
    known = environment(tmp_path, SLURM_JOB_NODELIST="node-[3-4]", SLURM_JOB_NUM_NODES="2", SLURM_JOB_ID="123456")
    words = ["bash", str(DEPLOY / "slurm.sh"), "recipe.yaml"]
    return subprocess.Popen(words, env=known, stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_slurm_runs_torchrun_on_every_node(tmp_path: Path) -> None:
    process = slurm(tmp_path, 'printf "%s\\n" "$NODES" "$HEAD" "$JOB" "$TORCH_ELASTIC_SHUTDOWN_TIMEOUT" "$@"')
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out.split() == [
        "2", "node-3:23456", "123456", "150", "--kill-on-bad-exit=1", "deploy/torchrun.sh", "recipe.yaml",
    ]  # fmt: skip
    assert not (tmp_path / "requeued").exists()
    settings = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)", (DEPLOY / "slurm.sh").read_text(), re.MULTILINE))
    assert settings["ntasks-per-node"] == "1", "one torchrun on each machine starts its ranks"
    name, _, seconds = settings["signal"].partition("@")
    assert name == "B:TERM" and int(seconds) > 150 > 120


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_slurm_saves_and_continues_when_the_time_is_over_alone(tmp_path: Path) -> None:
    process = slurm(
        tmp_path, f'trap "touch {tmp_path}/saved; exit 1" TERM; touch {tmp_path}/began; while :; do sleep 0.1; done'
    )
    while not (tmp_path / "began").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert (tmp_path / "saved").exists()
    assert (tmp_path / "requeued").read_text() == "requeue 123456\n"
    (tmp_path / "requeued").unlink()
    failed = slurm(tmp_path, "exit 2")  # an error of its own: it would fail again
    failed.communicate(timeout=30)
    assert failed.returncode == 2 and not (tmp_path / "requeued").exists()


def test_the_runtime_is_what_kubeflow_expects() -> None:
    assert (RUNTIME["apiVersion"], RUNTIME["kind"]) == ("trainer.kubeflow.org/v1alpha1", "TrainingRuntime")
    assert set(RUNTIME["spec"]) == {"mlPolicy", "template"} and "torch" in RUNTIME["spec"]["mlPolicy"]
    ancestor = REPLICATED["template"]["metadata"]["labels"]["trainer.kubeflow.org/trainjob-ancestor-step"]
    assert ancestor == "trainer" and REPLICATED["name"] == CONTAINER["name"] == "node"
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == {volume["name"] for volume in POD["volumes"]}
    # A pod alone cannot go on: JobSet starts all again.
    assert REPLICATED["template"]["spec"]["backoffLimit"] == 0 and POD["restartPolicy"] == "Never"
    assert RUNTIME["spec"]["template"]["spec"]["failurePolicy"]["maxRestarts"] > 0
    known = {each["name"]: each["value"] for each in CONTAINER["env"]}
    assert POD["terminationGracePeriodSeconds"] > int(known["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"])


def test_the_job_runs_a_command_of_ours_in_that_runtime() -> None:
    assert (JOB["apiVersion"], JOB["kind"]) == ("trainer.kubeflow.org/v1alpha1", "TrainJob")
    spec, trainer = JOB["spec"], JOB["spec"]["trainer"]
    assert set(spec) <= FIELDS and set(trainer) <= TRAINER
    assert spec["runtimeRef"] == {"kind": "TrainingRuntime", "name": RUNTIME["metadata"]["name"]}
    assert isinstance(trainer["numProcPerNode"], int)
    assert trainer["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == str(trainer["numProcPerNode"])
    arguments = torchrun_arguments([*trainer["command"][1:], *trainer["args"]])
    assert trainer["command"][0] == "torchrun" and arguments.module and arguments.training_script == "antiphon"
    command = trained(arguments.training_script_args)
    assert command.resume, "JobSet starts the same command again"
    (mount,) = [each["mountPath"] for each in CONTAINER["volumeMounts"] if each["name"] == "runs"]
    assert command.recipe.startswith(f"{mount}/") and str(command.output).startswith(f"{mount}/")


def test_torchrun_reads_the_variables_of_the_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PET_MAX_RESTARTS", "3")
    assert "PET_MAX_RESTARTS" in {each["name"] for each in CONTAINER["env"]}
    assert torchrun_arguments(["-m", "antiphon"]).max_restarts == 3


def test_the_pod_is_valid(tmp_path: Path) -> None:
    """JobSet and Kubeflow have no validator here; the pod in them is Kubernetes' own."""
    found = shutil.which("kubernetes-validate", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip("kubernetes-validate is not installed")
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "node"},
        "spec": REPLICATED["template"]["spec"],
    }
    file = tmp_path / "job.yaml"
    file.write_text(json.dumps(job), encoding="utf-8")
    result = subprocess.run([found, "--strict", "--quiet", str(file)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_pod_has_no_rights() -> None:
    assert POD["securityContext"]["runAsNonRoot"] is True and POD["automountServiceAccountToken"] is False
    assert CONTAINER["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_the_readme_names_every_file() -> None:
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w.-]+/?)`", text))
    there = {path.name + ("/" if path.is_dir() else "") for path in DEPLOY.iterdir()} - {"README.md", "__pycache__/"}
    assert there <= named
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (DEPLOY / link).resolve().exists(), link
