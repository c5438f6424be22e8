"""deploy/torchrun.sh as two nodes on one machine, each with one rank; a rank of the second node is killed.

Four processes that import PyTorch, and two again: `make torture` runs it, `make test` does not.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from counts import count

from antiphon.training.snapshot import SnapshotStore

FILE = Path(__file__).resolve().parents[2] / "deploy" / "torchrun.sh"
RECIPE = """
data: {train: {path: train.tsv}}
tokenizer: {kind: characters}
model: {preset: tiny, d_model: 32}
training: {max_steps: 3000, batch_tokens: 60, accumulate: 2, save_every_steps: 10}
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def rank_of(node: int) -> int | None:
    """The process number of the rank that a node's torchrun has started."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == node and fields[0] != "Z":
            return int(stat.parent.name)
    return None


@pytest.mark.timeout(900)
def test_two_nodes_go_on_when_a_rank_is_lost(tmp_path: Path) -> None:
    if not count("lost_nodes"):
        pytest.skip("make torture runs it")
    (tmp_path / "train.tsv").write_text("".join(f"{n} {n + 1}\t{n + 1} {n}\n" for n in range(50)), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    scripts = Path(sys.executable).parent  # torchrun
    known = {
        **os.environ, "PATH": f"{scripts}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1",
        "NODES": "2", "HEAD": f"localhost:{free_port()}", "PROCESSES": "1", "JOB": "nodes",
    }  # fmt: skip
    folder = tmp_path / "run"
    words = ["sh", str(FILE), str(tmp_path / "recipe.yaml"), "--output", str(folder), "--device", "cpu"]
    errors = [(tmp_path / f"node-{number}").open("w+") for number in range(2)]
    nodes = [subprocess.Popen(words, env=known, stderr=file, stdout=file) for file in errors]
    store = SnapshotStore(folder / "snapshots", keep=5)

    def wait_for(step: int) -> None:
        deadline = time.monotonic() + 240
        while max(store.steps(), default=0) < step:
            said = "".join((tmp_path / f"node-{number}").read_text() for number in range(2))
            assert time.monotonic() < deadline and all(node.poll() is None for node in nodes), said[-3000:]
            time.sleep(0.1)

    try:
        wait_for(20)
        lost = rank_of(nodes[1].pid)
        assert lost is not None
        known_before = max(store.steps())
        os.kill(lost, signal.SIGKILL)
        wait_for(known_before + 30)  # the ranks of both nodes have started again
        said = [(tmp_path / f"node-{number}").read_text() for number in range(2)]
        (steps,) = {int(step) for step in re.findall(r"continuing at step (\d+)", "".join(said))}
        assert known_before - 10 <= steps <= known_before + 20, "it goes on from the newest snapshot"
        for node in nodes:  # both: the torchrun of one alone would wait for the other to come again
            node.send_signal(signal.SIGTERM)
        for node in nodes:
            node.wait(timeout=120)
        newest = store.newest()
        assert newest is not None and newest.step > known_before
    finally:
        for node in nodes:
            if (left := rank_of(node.pid)) is not None:
                os.kill(left, signal.SIGKILL)
            node.kill()
        for file in errors:
            file.close()
