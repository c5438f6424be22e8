"""The bytes that ranks send in a training step, counted, against what `antiphon inspect --world` computes.

    python benchmarks/scaling_traffic.py --processes 2 --preset small
    unshare -n sh -c "ip link set lo up && python benchmarks/scaling_traffic.py"   # as root: real bytes too

Each rank counts the buffers of its collectives in a step of training: an all-reduce of B bytes over n ranks in
a ring sends 2·(n − 1)/n·B, a gather or a reduce-scatter half of it. In a network namespace of its own, the bytes that
pass the loopback device are printed too: those of all ranks, with the headers of TCP and the step's other messages.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from antiphon.distributed.world import World
    from antiphon.models.seq2seq import EncoderDecoder

VOCABULARY, ROWS, LENGTH = 1000, 4, 12
CASES = (("ddp", False), ("ddp", True), ("fsdp", False), ("fsdp", True))  # how, and whether in bfloat16


class SentBytes(TorchDispatchMode):
    """Counts the bytes that a rank sends in collectives over `ranks` in rings; small ones, of scalars, apart."""

    def __init__(self, ranks: int) -> None:
        super().__init__()
        self.ranks, self.bytes, self.small, self.calls = ranks, 0.0, 0.0, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.namespace == "c10d":
            name = function.overloadpacket.__name__
            sizes = [one.numel() * one.element_size() for one in tree_leaves(args) if isinstance(one, Tensor)]
            whole = max(sizes, default=0)  # the gathered, or the unreduced buffer
            passes = 2 if name.startswith("allreduce") else 1
            sent = passes * (self.ranks - 1) / self.ranks * whole
            if whole < 1024:
                self.small += sent
            else:
                self.bytes += sent
                self.calls += 1
        return function(*args, **(kwargs or {}))


def loopback() -> int | None:
    """The bytes that the loopback device has sent, if nobody else uses it: in a network namespace of its own."""
    lines = Path("/proc/net/dev").read_text().splitlines()[2:]
    devices = {line.split(":")[0].strip(): int(line.split(":")[1].split()[8]) for line in lines}
    return devices["lo"] if set(devices) == {"lo"} else None


def count_all(preset: str, accumulate: int) -> list[dict[str, float]]:
    """In a rank: the bytes of a step, for each of CASES."""
    from antiphon.distributed.world import process_group

    with process_group(torch.device("cpu")) as world:
        return [count(preset, way, half, accumulate, world) for way, half in CASES]


def count(preset: str, way: Any, half: bool, accumulate: int, world: World) -> dict[str, float]:
    """The bytes of a step, after one that is not counted."""
    from antiphon.batch import Example, collate
    from antiphon.config import TrainingConfig
    from antiphon.nn.loss import CrossEntropy
    from antiphon.training.parallel.choice import parallelize
    from antiphon.training.parallel.exchange import StepExchange
    from antiphon.training.signals import StopSignal

    settings = TrainingConfig(parallel=way, accumulate=accumulate, precision="bfloat16" if half else "float32")
    draw = torch.Generator().manual_seed(0)
    rows = [
        Example(*(torch.randint(4, VOCABULARY, (LENGTH,), generator=draw).tolist() for _ in range(2)), index)
        for index in range(ROWS)
    ]
    batch = collate(rows, pad_id=0, start_id=1)
    parallel, _ = parallelize(build(preset), settings, world, lambda: rows, pad_id=0, start_id=1)
    exchange = StepExchange(world, StopSignal(lambda _: None, world), torch.device("cpu"))
    optimizer = torch.optim.AdamW(parallel.network.parameters())
    found: dict[str, float] = {}
    for step in range(2):
        world.barrier()
        before, counter = loopback(), SentBytes(world.size)
        with counter:
            numbers, losses = parallel.share(accumulate), []
            for place, number in enumerate(numbers, start=1):
                with parallel.synchronizing(last=place == len(numbers)):
                    parallel.network.noise.set(seed=0, step=step, micro_batch=number or 0)
                    with torch.autocast("cpu", torch.bfloat16, enabled=half):
                        losses.append(parallel.forward(batch, CrossEntropy()))
                    losses[-1].objective.backward()
            sums = exchange.sums(losses, parallel.square())
            parallel.clip(1.0, sums.square)
        optimizer.step()
        optimizer.zero_grad()
        world.barrier()
        after = loopback()
        found = {"bytes": counter.bytes, "small": counter.small, "calls": counter.calls}
        found |= {} if before is None or after is None else {"wire": (after - before) / world.size}
    return found


def build(preset: str) -> EncoderDecoder:
    """A new network of the preset."""
    from antiphon.config import AttentionConfig, ModelConfig
    from antiphon.models.build import build_network

    sizes: dict[str, Any] = {"source_vocab": VOCABULARY, "target_vocab": VOCABULARY}
    return build_network(ModelConfig(preset=preset), AttentionConfig(), **sizes, shared=True)


def run(preset: str, *, processes: int, accumulate: int) -> list[dict[str, float]]:
    """Start the ranks; for each of CASES what rank 0 counted, and what is computed as `computed`."""
    from antiphon.inspection.scaling.communication import Sharding, step_traffic
    from antiphon.inspection.scaling.devices import DEVICES, Cluster
    from antiphon.inspection.scaling.shape import network_shape

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    command = [sys.executable, __file__, "--rank", "--preset", preset, "--accumulate", str(accumulate)]
    ranks = []
    for rank in range(processes):
        known = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        known |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
        environment = {**os.environ, **{name: str(value) for name, value in known.items()}}
        ranks.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    deadline = time.monotonic() + 300
    try:
        said = [rank.communicate(timeout=max(1.0, deadline - time.monotonic()))[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert all(rank.returncode == 0 for rank in ranks), said
    with torch.device("meta"):
        shape = network_shape(build(preset))
    cluster, found = Cluster(1, processes, DEVICES["H100"]), json.loads(said[0].splitlines()[-1])
    for (way, half), counted in zip(CASES, found, strict=True):
        sharding = {"ddp": Sharding.DDP, "fsdp": Sharding.FSDP}[way]
        traffic = step_traffic(shape, sharding, cluster, micro_batches=-(-accumulate // processes), half=half)
        counted |= {"computed": traffic.bytes, "collectives": traffic.collectives}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--accumulate", type=int, default=4)
    parser.add_argument("--rank", action="store_true", help="be a rank: what the benchmark starts")
    flags = parser.parse_args()
    if flags.rank:
        sys.stdout.write(f"{json.dumps(count_all(flags.preset, flags.accumulate))}\n")
        return
    counted = run(flags.preset, processes=flags.processes, accumulate=flags.accumulate)
    for (way, half), found in zip(CASES, counted, strict=True):
        wire = f", {found['wire'] / 1e6:.2f} MB on the wire" if "wire" in found else ""
        sys.stdout.write(
            f"{flags.preset}, {way}, {'bfloat16' if half else 'float32'}, {flags.processes} processes, "
            f"{flags.accumulate} micro-batches: {found['bytes'] / 1e6:.2f} MB counted in {found['calls']:.0f} "
            f"collectives, {found['computed'] / 1e6:.2f} MB in {found['collectives']} computed "
            f"({100 * (found['computed'] / found['bytes'] - 1):+.2f} %){wire}\n"
        )


if __name__ == "__main__":
    main()
