"""A training step on this machine: tokens a second, operations against the rate of matrix products, and memory.

    python benchmarks/scaling_here.py --threads 1 --presets tiny,small,base

Every preset trains in a process of its own. Operations are those of `count_flops`. The memory is the rise of the
process's peak while it trains, against what is computed. Time in which other programs had the processors is left out
(antiphon.inspection.processor); what caches and memory bandwidth lose to them is not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from antiphon.batch import Batch, Example, collate
from antiphon.config import AttentionConfig, ModelConfig, TrainingConfig
from antiphon.inspection.processor import Stopwatch
from antiphon.inspection.scaling.activations import ActivationSettings, activation_bytes
from antiphon.inspection.scaling.flops import BatchShape, count_flops
from antiphon.inspection.scaling.memory import least_bytes
from antiphon.inspection.scaling.shape import network_shape
from antiphon.models.build import build_network
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.loss import CrossEntropy
from antiphon.training.optim import build_optimizer
from antiphon.workflows.trying.trial import memory_of_process

VOCABULARY, ROWS, LENGTH, STEPS = 8000, 64, 32, 7


def product_rate(kind: torch.dtype) -> float:
    """Operations a second of a product of 4096 x 1024 and 1024 x 1024: the best of five."""
    left, right = torch.randn(4096, 1024).to(kind), torch.randn(1024, 1024).to(kind)
    best = 0.0
    for _ in range(6):
        watch = Stopwatch()
        left @ right
        best = max(best, 2 * 4096 * 1024 * 1024 / watch.seconds)
    return best


def build(**model: Any) -> EncoderDecoder:
    """A new network in training."""
    sizes = {"source_vocab": VOCABULARY, "target_vocab": VOCABULARY}
    return build_network(ModelConfig(**model), AttentionConfig(), **sizes, shared=True).train()


def step(network: EncoderDecoder, optimizer: torch.optim.Optimizer, batch: Batch, number: int, *, half: bool) -> float:
    """The seconds of a step."""
    watch = Stopwatch()
    network.noise.set(seed=0, step=number, micro_batch=0)
    with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
        loss = network(batch, CrossEntropy(0.1))
    loss.objective.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return watch.seconds


def measure(preset: str, half: bool, threads: int) -> dict[str, Any]:
    """A few steps of a preset in this process."""
    torch.set_num_threads(threads)
    draw = torch.Generator().manual_seed(0)
    rows = [
        Example(*(torch.randint(4, VOCABULARY, (LENGTH,), generator=draw).tolist() for _ in range(2)), index)
        for index in range(ROWS)
    ]
    batch = collate(rows, pad_id=0, start_id=1)
    network = build(preset="tiny", d_model=16, ffn_dim=16, num_heads=2)  # loads the libraries
    step(network, torch.optim.AdamW(network.parameters(), fused=True), batch, 0, half=half)
    network = build(preset=preset)
    shape, optimizer = network_shape(network), build_optimizer(network, TrainingConfig(max_steps=STEPS))
    before = memory_of_process() or 0
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from now
    seconds = [step(network, optimizer, batch, number, half=half) for number in range(STEPS)]
    sizes = BatchShape(ROWS, LENGTH, LENGTH, ROWS * LENGTH)
    stored = activation_bytes(shape, sizes, ActivationSettings(half=half)).total
    return {
        "seconds": statistics.median(seconds[2:]),
        "flops": count_flops(shape, sizes).training,
        "peak": (memory_of_process("VmHWM") or 0) - before,
        "rate": product_rate(torch.bfloat16 if half else torch.float32),
        "gradient_bytes": 4 * shape.trainable,
        "computed": least_bytes(shape, "adamw", {}) - 4 * shape.parameters + stored,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", default="tiny,small,base")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", nargs=2, metavar=("PRESET", "TYPE"), help="measure in this process")
    flags = parser.parse_args()
    if flags.one:
        sys.stdout.write(f"{json.dumps(measure(flags.one[0], flags.one[1] == 'bfloat16', flags.threads))}\n")
        return
    sys.stdout.write(
        "| preset | type | tokens/s | GFLOP/s | of the products' rate | gradients a step | memory | computed |\n"
        "|---|---|---|---|---|---|---|---|\n"
    )
    for preset in flags.presets.split(","):
        for kind in ("float32", "bfloat16"):
            command = [sys.executable, __file__, "--one", preset, kind, "--threads", str(flags.threads)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            rate = found["flops"] / found["seconds"]
            sys.stdout.write(
                f"| {preset} | {kind} | {2 * ROWS * LENGTH / found['seconds']:,.0f} | {rate / 1e9:.0f} | "
                f"{100 * rate / found['rate']:.0f} % of {found['rate'] / 1e9:.0f} | "
                f"{found['gradient_bytes'] / 1e6:.1f} MB | {found['peak'] / 1e6:,.0f} MB | "
                f"{found['computed'] / 1e6:,.0f} MB ({100 * (found['computed'] / found['peak'] - 1):+.0f} %) |\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
