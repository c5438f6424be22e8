"""Published peak rates of accelerators, and what a run would take on them: an extrapolation, not a measurement.

world = read_world("64xH200")
extrapolated(world, flops=3e12, steps=8000, accumulate=1)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from antiphon.errors import UsageError
from antiphon.registry import nearest

# Peak rates without sparsity of dense bfloat16 products (float16 for V100 and T4, which have no bfloat16), in 1e12
# operations a second, and the memory in GB (1e9 bytes), from the makers' data sheets.
PEAKS: dict[str, tuple[float, float]] = {
    "B200": (2250, 180), "GB200": (2500, 186), "H200": (989, 141), "H100": (989, 80), "H100-PCIe": (756, 80),
    "A100": (312, 80), "A100-40GB": (312, 40), "A10": (125, 24), "A10G": (70, 24), "A30": (165, 24), "A40": (150, 48),
    "L4": (121, 24), "L40S": (362, 48), "V100": (125, 32), "T4": (65, 16), "RTX-3090": (71, 24),
    "RTX-4090": (165, 24), "RTX-5090": (209, 32), "MI250X": (383, 128), "MI300X": (1307, 192), "MI325X": (1307, 256),
}  # fmt: skip
UTILIZATION = (0.2, 0.35, 0.5)  # shares of the peak that large Transformers reach in training: low, usual, high
STEP_FLOOR_SECONDS = 0.02  # what starting the kernels of a step takes: small models are bound by it, not by the peak


@dataclass(frozen=True)
class Devices:
    """A number of devices of one kind."""

    devices: int
    device: str

    def __str__(self) -> str:
        return f"{self.devices}x{self.device}"


@dataclass(frozen=True)
class Extrapolation:
    """The time of a run elsewhere: low, usual and high seconds of training, and how many devices have work."""

    world: Devices
    peak_tflops: float
    memory_bytes: float
    busy: int
    seconds: tuple[float, float, float]
    bound_by_launches: bool


def read_world(text: str) -> Devices:
    """`64xH200`, or `H200` for one. UsageError for an unknown device."""
    found = re.fullmatch(r"\s*(?:([0-9]{1,6})\s*[x×*]\s*)?([A-Za-z][\w .-]*?)\s*", text)
    names = {name.lower().replace("-", ""): name for name in PEAKS}
    if found is None or int(found[1] or 1) == 0:
        raise UsageError(f"`world` must be a number of devices and their name, such as 8xH100, but is `{text:.40}`.")
    key = re.sub(r"[ _.-]", "", found[2].lower())
    if key not in names:
        raise UsageError(
            f"`world` must name a device whose peak rate is known, but names `{found[2]:.40}`"
            f"{nearest(found[2], PEAKS) or '.'} Known: {', '.join(PEAKS)}."
        )
    return Devices(int(found[1] or 1), names[key])


def extrapolated(world: Devices, *, flops: float, steps: float, accumulate: int) -> Extrapolation:
    """The time of `steps` steps of `flops` operations each. A step has `accumulate` micro-batches, which is how many
    devices can have work: each computes one at a time."""
    peak, memory = PEAKS[world.device]
    busy = min(world.devices, accumulate)
    rounds = -(-accumulate // busy)
    seconds = tuple(
        steps * max(rounds * STEP_FLOOR_SECONDS, flops * rounds / accumulate / (share * peak * 1e12))
        for share in reversed(UTILIZATION)
    )
    bound = rounds * STEP_FLOOR_SECONDS > flops * rounds / accumulate / (UTILIZATION[1] * peak * 1e12)
    assert len(seconds) == 3
    return Extrapolation(world, peak, memory * 1e9, busy, seconds, bound)
