"""Published training runs against what `antiphon inspect --world` computes for them: the table of docs/scaling.md.

    python benchmarks/scaling_published.py

Shapes, batches, devices and figures are those of the sources; lengths that a source does not give are assumed: sentence
pairs have 30 tokens on each side, and 5 % of the positions are padding. A figure in tokens a second counts target
tokens, as fairseq does. A published rate becomes the seconds of a step.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from antiphon.config import AttentionConfig, ModelConfig
from antiphon.inspection.scaling.communication import Sharding
from antiphon.inspection.scaling.devices import DEVICES, Cluster
from antiphon.inspection.scaling.flops import BatchShape, count_flops
from antiphon.inspection.scaling.memory import MemorySettings
from antiphon.inspection.scaling.plan import PlannedRun, evaluate
from antiphon.inspection.scaling.shape import LayerShape, MixerShape, NetworkShape, network_shape
from antiphon.models.build import build_network

LENGTH, PADDING = 30.0, 0.05

VASWANI = "Vaswani et al. 2017"
OTT = "Ott et al. 2018"
NVIDIA_2019, NVIDIA_2022 = "NVIDIA 2019", "NVIDIA 2022"
MOSAIC = "MosaicML 2023"


def shape_of(vocabulary: int, **model: object) -> NetworkShape:
    """The shape of a network with one vocabulary for both sides; no weight is allocated."""
    with torch.device("meta"):
        config = ModelConfig(**model)  # type: ignore[arg-type]
        sizes: dict[str, Any] = {"source_vocab": vocabulary, "target_vocab": vocabulary}
        return network_shape(build_network(config, AttentionConfig(), **sizes, shared=True, warn=False))


def decoder_only(layers: int, width: int, heads: int, vocabulary: int) -> NetworkShape:
    """A language model without cross-attention, with tied tables and GELU, as MPT."""
    mixer = MixerShape("dense", "decoder", heads, heads, width // heads, 4 * width**2, 0)
    layer = LayerShape(width, mixer, None, 4 * width, 8 * width**2, False, False, 2, False, False, False, 12 * width**2)
    total, table = layers * layer.parameters + vocabulary * width, vocabulary * width
    return NetworkShape(
        encoder=(), decoder=(layer,) * layers, source_width=width, width=width, table=vocabulary, root=table,
        parameters=total, trainable=total, linear=total - table, factored=0, vectors=0,
    )  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A published run: `seconds` of a step, with `micro_batches` of `batch` on each GPU."""

    source: str
    what: str
    shape: NetworkShape
    cluster: Cluster
    batch: BatchShape
    micro_batches: int
    seconds: float
    sharding: Sharding = Sharding.DDP
    half: bool = True
    checkpoint: bool = False

    @property
    def computed(self) -> float:
        """The seconds that are computed for it."""
        settings = MemorySettings(half=self.half, checkpoint=self.checkpoint)
        accumulate = self.micro_batches * self.cluster.devices
        run = PlannedRun(self.shape, [self.batch], self.batch, 0.0, 1, accumulate, settings)
        return evaluate(run, self.cluster, self.sharding, self.checkpoint, False).step.total

    @property
    def rate(self) -> float:
        """Model operations a second on each GPU, in the published run."""
        return count_flops(self.shape, self.batch).model * self.micro_batches / self.seconds


def pairs(target_tokens: float) -> BatchShape:
    """A micro-batch of sentence pairs with so many target tokens."""
    longest = LENGTH / (1 - PADDING)
    return BatchShape(target_tokens / LENGTH, longest, longest, target_tokens)


def translation() -> Iterator[Run]:
    """Encoder-decoder models, trained with DDP or its like."""
    big = shape_of(33_708, preset="big")
    p100, v100 = DEVICES["P100"], DEVICES["V100-16GB"]
    for preset, seconds in (("base", 0.4), ("big", 1.0)):
        shape = shape_of(37_000, preset=preset)
        yield Run(
            VASWANI, f"{preset}, 8 P100, float32", shape, Cluster(1, 8, p100), pairs(25_000 / 8), 1, seconds, half=False
        )
    for what, micro, tokens, rate, half, nodes in (
        ("big, 8 V100, float32", 1, 25_000 / 8, 54_000, False, 1),
        ("big, 8 V100, 16 bits", 1, 25_000 / 8, 143_000, True, 1),
        ("big, 8 V100, 16 bits, 16 accumulated", 16, 25_000 / 8, 195_000, True, 1),
        ("big, 8 V100, 16 bits, 10 accumulated", 10, 365_000 / 80, 202_000, True, 1),
        ("big, 16 x 8 V100, 16 bits", 1, 402_000 / 128, 1_820_000, True, 16),
    ):
        cluster = Cluster(nodes, 8, v100)
        yield Run(OTT, what, big, cluster, pairs(tokens), micro, tokens * micro * cluster.devices / rate, half=half)
    for source, device, devices, tokens, rate, half in (
        (NVIDIA_2019, "V100-16GB", 1, 2560, 7_635, False), (NVIDIA_2019, "V100-16GB", 1, 2560, 23_821, True),
        (NVIDIA_2019, "V100-16GB", 1, 5120, 32_153, True), (NVIDIA_2019, "V100-16GB", 8, 2560, 186_442, True),
        (NVIDIA_2019, "V100-16GB", 8, 5120, 235_077, True), (NVIDIA_2022, "V100", 1, 5120, 9_827, False),
        (NVIDIA_2022, "V100", 1, 10240, 39_911, True), (NVIDIA_2022, "V100", 8, 10240, 267_815, True),
        (NVIDIA_2022, "V100", 16, 10240, 517_227, True), (NVIDIA_2022, "A100-40GB", 1, 10240, 82_059, True),
        (NVIDIA_2022, "A100-40GB", 8, 10240, 551_599, True),
    ):  # fmt: skip
        what = f"big, {devices} {device}, {tokens:,} tokens, {'16 bits' if half else 'float32'}"
        cluster = Cluster(1, devices, DEVICES[device])
        sharding = Sharding.ONE if devices == 1 else Sharding.DDP
        yield Run(source, what, big, cluster, pairs(tokens), 1, tokens * devices / rate, sharding, half=half)


def language_models() -> Iterator[Run]:
    """Decoders of 0.76 to 65 billion parameters under FSDP, 2,048 tokens a row."""
    shapes = {
        "125m": (12, 768, 12), "760m": (24, 1536, 12), "1b": (24, 2048, 16), "3b": (32, 2560, 20), "7b": (32, 4096, 32),
        "13b": (40, 5120, 40), "30b": (48, 7168, 56), "70b": (80, 8192, 64),
    }  # fmt: skip
    for name, device, devices, rows, micro, rate, checkpoint in (
        ("125m", "A100", 8, 32, 2, 141_737, False), ("760m", "A100", 8, 24, 2, 32_434, False),
        ("1b", "A100", 8, 14, 4, 20_513, False), ("3b", "A100", 8, 10, 2, 10_811, False),
        ("7b", "A100", 8, 6, 2, 4_641, False), ("13b", "A100", 8, 2, 3, 2_262, False),
        ("30b", "A100", 8, 3, 21, 916, True), ("70b", "A100", 64, 8, 4, 410, True),
        ("7b", "A100-40GB", 128, 18, 1, 3_623, True), ("13b", "A100-40GB", 128, 16, 1, 1_972, True),
        ("760m", "H100", 8, 24, 2, 63_147, False), ("760m", "H100", 32, 24, 1, 67_971, False),
        ("1b", "H100", 8, 14, 1, 45_455, False), ("1b", "H100", 64, 20, 1, 44_402, False),
        ("3b", "H100", 64, 6, 3, 22_525, False), ("7b", "H100", 8, 6, 1, 10_643, False),
        ("13b", "H100", 8, 2, 1, 4_792, False), ("13b", "H100", 64, 2, 1, 4_800, False),
        ("30b", "H100", 32, 14, 3, 2_308, True), ("70b", "H100", 64, 8, 4, 1_039, True),
    ):  # fmt: skip
        layers, width, heads = shapes[name]
        cluster = Cluster(max(1, devices // 8), min(8, devices), DEVICES[device])
        batch, tokens = BatchShape(rows, 0, 2048, rows * 2048), rows * 2048 * micro
        yield Run(
            MOSAIC, f"MPT {name}, {devices} {device}, FSDP", decoder_only(layers, width, heads, 50_368), cluster, batch,
            micro, tokens / rate, Sharding.FSDP, checkpoint=checkpoint,
        )  # fmt: skip


# Operations of a trillion tokens (512 and 114 a row, Raffel et al. 2020, section 3.1.4) by Brown et al. 2020, Language
# Models are Few-Shot Learners, table D.1, who count 3 for each parameter and token.
T5 = {
    "T5-Small": (512, 8, 64, 2048, 6, 1.80e20), "T5-Base": (768, 12, 64, 3072, 12, 6.60e20),
    "T5-Large": (1024, 16, 64, 4096, 24, 2.31e21), "T5-3B": (1024, 32, 128, 16384, 24, 9.00e21),
    "T5-11B": (1024, 128, 128, 65536, 24, 3.30e22),
}  # fmt: skip


def operations() -> list[str]:
    """The lines of the table of T5's operations."""
    lines = ["| network | parameters | published | counted | error |", "|---|---|---|---|---|"]
    for name, (width, heads, head, ffn, layers, published) in T5.items():
        sizes = {"d_model": width, "num_heads": heads, "head_dim": head, "ffn_dim": ffn}
        sizes |= {"encoder_layers": layers, "decoder_layers": layers}
        shape, rows = shape_of(32_128, preset="base", bias=False, norm="rms", **sizes), 1e12 / (512 + 114)
        found = count_flops(shape, BatchShape(rows, 512, 114, rows * 114)).model
        lines.append(
            f"| {name} | {shape.parameters / 1e6:,.0f} M | {published:.3g} | {found:.3g} | "
            f"{100 * (found / published - 1):+.0f} % |"
        )
    return lines


def runs() -> list[Run]:
    """All of them."""
    return [*translation(), *language_models()]


def table() -> list[str]:
    """The lines of the table in docs/scaling.md."""
    lines = ["| run | step, published | computed | error | TFLOP/s a GPU |", "|---|---|---|---|---|"]
    for run in runs():
        error = 100 * (run.computed / run.seconds - 1)
        lines.append(
            f"| {run.source}: {run.what} | {run.seconds:.3g} s | {run.computed:.3g} s | {error:+.0f} % | "
            f"{run.rate / 1e12:.1f} |"
        )
    return lines


def errors(chosen: list[Run]) -> list[float]:
    """Computed over published seconds, from the smallest."""
    return sorted(run.computed / run.seconds for run in chosen)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    sys.stdout.write("\n".join([*table(), "", *operations()]) + "\n")
    modern = [run for run in runs() if run.source in (NVIDIA_2022, MOSAIC)]
    for name, chosen in (("all", runs()), ("since 2022", modern)):
        found = errors(chosen)
        away = sum(1 / 1.25 <= each <= 1.25 for each in found)
        sys.stdout.write(
            f"{name}: computed / published from {found[0]:.2f} to {found[-1]:.2f}, median "
            f"{statistics.median(found):.2f}; {away} of {len(found)} within a factor of 1.25\n"
        )


if __name__ == "__main__":
    main()
