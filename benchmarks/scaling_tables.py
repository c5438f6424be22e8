"""The tables of docs/scaling.md that are computed: communication and memory by size and sharding, and plans.

    python benchmarks/scaling_tables.py

Nothing is measured; all figures come from data sheets and from `antiphon.inspection.scaling`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from scaling_published import shape_of

from antiphon.inspection.plan_words import size
from antiphon.inspection.scaling.communication import Sharding, step_traffic
from antiphon.inspection.scaling.devices import Cluster, read_cluster
from antiphon.inspection.scaling.flops import BatchShape
from antiphon.inspection.scaling.memory import MemorySettings, gpu_memory
from antiphon.inspection.scaling.plan import PlannedRun, evaluate, plan_run
from antiphon.inspection.scaling.shape import NetworkShape

SIZES: dict[str, dict[str, object]] = {
    "base": {"preset": "base"},
    "big": {"preset": "big"},
    "0.7B (d 1024, 24+24)": {
        "preset": "big", "encoder_layers": 24, "decoder_layers": 24, "ffn_dim": 4096, "norm_placement": "pre",
    },
    "3B (d 2048, 24+24)": {
        "preset": "big", "d_model": 2048, "num_heads": 32, "ffn_dim": 8192, "encoder_layers": 24, "decoder_layers": 24,
        "norm_placement": "pre",
    },
    "11B (d 4096, 24+24)": {
        "preset": "big", "d_model": 4096, "num_heads": 32, "ffn_dim": 16384, "encoder_layers": 24,
        "decoder_layers": 24, "norm_placement": "pre",
    },
}  # fmt: skip
VOCABULARY = 32_000
BATCH = BatchShape(128, 64, 64, 128 * 61)  # 8,192 positions on each side


def shapes() -> dict[str, NetworkShape]:
    return {name: shape_of(VOCABULARY, **model) for name, model in SIZES.items()}


def communication(found: dict[str, NetworkShape]) -> list[str]:
    """What a rank sends in a step of one micro-batch a rank, in bfloat16, and the time of it."""
    eight, sixty_four = read_cluster("8xH200"), read_cluster("64xH200")
    lines = [
        "| network | parameters | DDP | FSDP2 | FSDP2, 4 micro-batches "
        "| DDP, 64: time | FSDP2, 64: time | hybrid, 64: time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, shape in found.items():
        ddp, fsdp = (
            step_traffic(shape, way, eight, micro_batches=1, half=True) for way in (Sharding.DDP, Sharding.FSDP)
        )
        more = step_traffic(shape, Sharding.FSDP, eight, micro_batches=4, half=True)
        run = run_of(shape, sixty_four)
        times = []
        for way in (Sharding.DDP, Sharding.FSDP, Sharding.HYBRID):
            step = evaluate(run, sixty_four, way, False, False).step
            times.append(f"{1000 * step.communication:.0f} ms, {1000 * step.exposed:.0f} exposed")
        cells = [name, f"{shape.parameters / 1e6:,.0f} M", *(size(one.bytes) for one in (ddp, fsdp, more)), *times]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def memory(found: dict[str, NetworkShape]) -> list[str]:
    """GB of a GPU for AdamW in bfloat16, by sharding over 8 GPUs."""
    eight = read_cluster("8xH200")
    plain = MemorySettings(half=True)
    ways: list[tuple[str, MemorySettings, Sharding]] = [
        ("DDP", plain, Sharding.DDP),
        ("DDP, EMA", replace(plain, ema=True), Sharding.DDP),
        ("DDP, checkpointing", replace(plain, checkpoint=True), Sharding.DDP),
        ("FSDP2", plain, Sharding.FSDP),
        ("FSDP2, checkpointing", replace(plain, checkpoint=True), Sharding.FSDP),
        ("FSDP2, checkpointing, offload", replace(plain, checkpoint=True, offload=True), Sharding.FSDP),
    ]
    lines = [f"| network | {' | '.join(name for name, *_ in ways)} |", "|---" * (len(ways) + 1) + "|"]
    for name, shape in found.items():
        totals = [gpu_memory(shape, BATCH, settings, way, eight).total for _, settings, way in ways]
        lines.append(f"| {name} | {' | '.join(f'{total / 1e9:,.1f}' for total in totals)} |")
    return lines


def plans(found: dict[str, NetworkShape]) -> list[str]:
    """What is chosen, for 100,000 steps of one micro-batch a GPU."""
    lines = [
        "| network | GPUs | chosen | memory a GPU | step | tokens/s | of the peak | 100,000 steps | GPU hours |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, shape in found.items():
        for text in ("1xH200", "8xA100-40GB", "64xH200"):
            cluster = read_cluster(text)
            plan = plan_run(run_of(shape, cluster), cluster)
            if plan.chosen is None:
                lines.append(f"| {name} | {text} | nothing fits | | | | | | |")
                continue
            lines.append(
                f"| {name} | {text} | {plan.chosen} | {plan.chosen.memory.total / 1e9:,.1f} GB | "
                f"{1000 * plan.chosen.step.total:,.0f} ms | {plan.tokens_per_second:,.0f} | "
                f"{100 * plan.utilization:.0f} % | {plan.seconds / 3600:,.1f} h | {plan.gpu_hours:,.0f} |"
            )
    return lines


def run_of(shape: NetworkShape, cluster: Cluster) -> PlannedRun:
    tokens = BATCH.rows * BATCH.source * 0.95 * 2
    return PlannedRun(shape, [BATCH], BATCH, tokens, 100_000, cluster.devices, MemorySettings(half=True))


def tables() -> list[str]:
    """All of them, each as the text that the page has."""
    found = shapes()
    return ["\n".join(made(found)) for made in (communication, memory, plans)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", metavar="PAGE", help="replace the tables of a page that begin with the same line")
    flags = parser.parse_args()
    made = tables()
    if flags.write is None:
        sys.stdout.write("\n\n".join(made) + "\n")
        return
    page = Path(flags.write)
    page.write_text(replaced(page.read_text(encoding="utf-8"), made), encoding="utf-8")


def replaced(text: str, made: list[str]) -> str:
    """`text` with each table that has the first line of one of `made` replaced by it."""
    parts = text.split("\n\n")
    heads = {table.partition("\n")[0]: table for table in made}
    return "\n\n".join(heads.get(part.partition("\n")[0], part) for part in parts)


if __name__ == "__main__":
    main()
