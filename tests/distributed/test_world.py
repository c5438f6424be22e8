"""Ranks: the world of one process, and the collectives between two."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
import torch

from antiphon.distributed.world import World, current_world, launched, process_group
from antiphon.errors import WorkError

SCRIPT = """
import json, sys
import torch
from antiphon.distributed.world import current_world, process_group
with process_group(torch.device("cpu")) as world:
    own = torch.tensor([1.0, world.rank], dtype=torch.float64)
    copied = torch.full((2,), float(world.rank))
    world.copy([copied], source=1)
    world.barrier()
    with process_group(torch.device("cpu")) as again:
        same = again == world == current_world()
    found = {
        "world": [world.rank, world.size, world.local_rank, world.local_size, world.main],
        "sum": world.sum(own).tolist(), "own": own.tolist(), "gather": world.gather({"rank": world.rank}),
        "broadcast": world.broadcast("first" if world.main else "second"), "copied": copied.tolist(), "same": same,
        "from_last": world.broadcast(world.rank * 10, source=1),
    }
open(f"{sys.argv[1]}/{found['world'][0]}.json", "w").write(json.dumps(found))
"""


def environment(rank: int, size: int, port: int) -> dict[str, str]:
    own = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    return {**os.environ, "MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in own.items()}}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder, port = tmp_path_factory.mktemp("ranks"), free_port()
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    ranks = [subprocess.Popen(command, env=environment(rank, 2, port)) for rank in range(2)]
    try:
        assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_two_ranks(two_ranks: list[dict[str, Any]]) -> None:
    for rank, found in enumerate(two_ranks):
        assert found["world"] == [rank, 2, rank, 2, rank == 0] and found["same"]
        assert found["sum"] == [2.0, 1.0] and found["own"] == [1.0, rank]
        assert found["gather"] == [{"rank": 0}, {"rank": 1}]
        assert found["broadcast"] == "first" and found["from_last"] == 10 and found["copied"] == [1.0, 1.0]


def test_one_process_is_a_world() -> None:
    assert not launched()
    with process_group(torch.device("cpu")) as world:
        assert world == current_world() == World(0, 1, 0, 1) and world.main
        value = torch.ones(2)
        world.copy([value])
        world.barrier()
        assert torch.equal(world.sum(value), value)
        assert world.gather(3) == [3] and world.broadcast("x") == "x"


def test_an_address_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(1, 2, free_port()).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("antiphon.distributed.world.TIMEOUT", timedelta(seconds=1))
    message = r"rank 1 cannot be connected with the 2 ranks .*127\.0\.0\.1:\d+.*Check"
    with pytest.raises(WorkError, match=message), process_group(torch.device("cpu")):
        pass
