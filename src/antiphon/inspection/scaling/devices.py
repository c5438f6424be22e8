"""Accelerators by their data sheets, and a number of them: `64xH200`, `2x8xH100`, or one that is described.

read_cluster("64xH200")                           # 8 nodes of 8
read_cluster("2x8xH100")                          # nodes x GPUs of a node
read_cluster("16x96GB,400TFLOP/s,200GB/s")        # memory, rate of matrix products, link; others are optional
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from antiphon.errors import UsageError
from antiphon.registry import nearest

GB, TERA = 1e9, 1e12
# What large products of 16 bits reach of the peak rate: 230 of 312 TFLOP/s (A100) and 95 of 125 (V100) in Mu Li's
# micro-benchmarks of 2022 (github.com/mli/transformers-benchmarks). Hopper and later, whose tensor cores outgrow what
# feeds them and whose clock falls under load: fitted to the ten H100 runs in docs/scaling.md.
MATRIX_SHARE, HOPPER_SHARE = 0.74, 0.62
HOPPER = ("H100", "H100-PCIe", "H200", "B200", "GB200", "MI300X", "MI325X")


@dataclass(frozen=True)
class Device:
    """A kind of accelerator. Rates are peaks of its data sheet, in operations or bytes a second.

    `matrix`: dense products of 16 bits without sparsity; `single`: float32. `link`: to the others of its node, in one
    direction. `network`: between nodes, a GPU's share. `node`: GPUs of a usual node. `reached`: the part of `matrix`
    that large products reach.
    """

    name: str
    matrix: float
    single: float
    memory: float
    bandwidth: float
    link: float
    network: float
    node: int = 8
    reached: float = MATRIX_SHARE


def _device(
    name: str, matrix: float, single: float, memory: float, bandwidth: float, link: float, network: float, node: int = 8
) -> Device:
    reached = HOPPER_SHARE if name in HOPPER else MATRIX_SHARE
    rates = matrix * TERA, single * TERA, memory * GB, bandwidth * GB, link * GB, network * GB
    return Device(name, *rates, node, reached)


# From the makers' data sheets: 1e12 operations a second (16 bits, float32), GB of memory, GB/s of memory, of NVLink,
# Infinity Fabric or PCIe in one direction. The network is that of the makers' own systems (DGX and HGX: a port of 400
# Gbit/s a GPU, 200 for A100, 100 for two V100 or P100); cards for PCIe are taken to share 100 Gbit/s a node.
DEVICES: dict[str, Device] = {
    each.name: each
    for each in (
        _device("B200", 2250, 75, 180, 8000, 900, 50),
        _device("GB200", 2500, 80, 186, 8000, 900, 50, 72),
        _device("H200", 989, 67, 141, 4800, 450, 50),
        _device("H100", 989, 67, 80, 3350, 450, 50),
        _device("H100-PCIe", 756, 51, 80, 2000, 64, 1.6),
        _device("A100", 312, 19.5, 80, 2039, 300, 25),
        _device("A100-40GB", 312, 19.5, 40, 1555, 300, 25),
        _device("A10", 125, 31.2, 24, 600, 32, 1.6, 4),
        _device("A10G", 70, 31.5, 24, 600, 32, 1.6, 4),
        _device("A30", 165, 10.3, 24, 933, 32, 1.6, 4),
        _device("A40", 150, 37.4, 48, 696, 32, 1.6),
        _device("L4", 121, 30.3, 24, 300, 32, 1.6),
        _device("L40S", 362, 91.6, 48, 864, 32, 1.6),
        _device("V100", 125, 15.7, 32, 900, 150, 6.25),
        _device("V100-16GB", 125, 15.7, 16, 900, 150, 6.25),
        _device("P100", 21.2, 10.6, 16, 732, 80, 6.25),
        _device("T4", 65, 8.1, 16, 320, 16, 1.6, 4),
        _device("RTX-3090", 71, 35.6, 24, 936, 32, 1.6, 4),
        _device("RTX-4090", 165, 82.6, 24, 1008, 32, 1.6, 4),
        _device("RTX-5090", 209, 104.8, 32, 1792, 64, 1.6, 4),
        _device("MI250X", 383, 47.9, 128, 3277, 100, 25),
        _device("MI300X", 1307, 163.4, 192, 5300, 448, 50),
        _device("MI325X", 1307, 163.4, 256, 6000, 448, 50),
    )
}
ALIASES = {"a10080gb": "A100", "a10080g": "A100", "a10040g": "A100-40GB", "h10080gb": "H100", "h100sxm": "H100",
           "h200sxm": "H200", "v10032gb": "V100", "v10016g": "V100-16GB", "gh200": "H100"}  # fmt: skip
CUSTOM = "a memory, a matrix rate and a link, such as 96GB,400TFLOP/s,200GB/s"
_UNITS = {"tflop/s": "matrix", "tflops": "matrix", "gb/s": "rate", "gbit/s": "bits", "gb": "memory", "tb/s": "big"}


@dataclass(frozen=True)
class Cluster:
    """Nodes of `per_node` devices of one kind."""

    nodes: int
    per_node: int
    device: Device

    @property
    def devices(self) -> int:
        """All devices."""
        return self.nodes * self.per_node

    @property
    def ring(self) -> float:
        """Bytes a second that a ring over all devices passes through each: over nodes, all their ports together."""
        if self.nodes == 1:
            return self.device.link
        return min(self.device.link, self.per_node * self.device.network)

    def __str__(self) -> str:
        shape = f"{self.nodes}x{self.per_node}" if self.nodes > 1 else f"{self.per_node}"
        return f"{shape}x{self.device.name}"


def read_cluster(text: str) -> Cluster:
    """A cluster from text; see the module. UsageError for an unknown device or a shape that cannot be."""
    found = re.fullmatch(r"\s*(?:(\d{1,4})\s*[x×*]\s*)?(?:(\d{1,6})\s*[x×*]\s*)?(\S.*?)\s*", text)
    if found is None:
        raise _no_cluster(text)
    first, second = (None if part is None else int(part) for part in found.groups()[:2])
    if first == 0 or second == 0:
        raise _no_cluster(text)
    device = _custom(found[3], text) if "," in found[3] else _named(found[3], text)
    if first is not None and second is not None:
        return Cluster(first, second, device)
    count = first or second or 1
    if count <= device.node:
        return Cluster(1, count, device)
    if count % device.node:
        raise UsageError(
            f"`world` must be whole nodes of {device.node} {device.name}, but `{text:.40}` has {count}. Give nodes and "
            f"devices of a node, such as {max(1, count // device.node)}x{device.node}x{device.name}."
        )
    return Cluster(count // device.node, device.node, device)


def _no_cluster(text: str) -> UsageError:
    return UsageError(
        f"`world` must be a number of devices and their name, such as 8xH100, or nodes too, such as 2x8xH100, but is "
        f"`{text:.40}`. Name a device of the table, or give {CUSTOM}."
    )


def _named(name: str, text: str) -> Device:
    key = re.sub(r"[ _.-]", "", name.lower())
    names = {re.sub(r"[ _.-]", "", known.lower()): known for known in DEVICES} | ALIASES
    if not re.match(r"[a-z]", key):
        raise _no_cluster(text)
    if key not in names:
        raise UsageError(
            f"`world` must name a device whose data sheet is known, but names `{name:.40}`"
            f"{nearest(name, DEVICES) or '.'} Known: {', '.join(DEVICES)}. Or give {CUSTOM}."
        )
    return DEVICES[names[key]]


def _custom(described: str, text: str) -> Device:
    """A device of the user's own: its memory, matrix rate and link, then by choice its network and memory's rate."""
    given: dict[str, list[float]] = {}
    for part in described.split(","):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z/]+)\s*", part)
        unit = None if found is None else _UNITS.get(found[2].lower())
        if found is None or unit is None or float(found[1]) <= 0:
            raise UsageError(
                f"`world` must describe a device by {CUSTOM}, but `{text:.60}` has `{part.strip():.20}`. Units are GB, "
                "TFLOP/s, GB/s, TB/s and Gbit/s."
            )
        value = float(found[1])
        kind, value = (
            ("rate", value / 8) if unit == "bits" else ("rate", 1000 * value) if unit == "big" else (unit, value)
        )
        given.setdefault(kind, []).append(value)
    rates = given.get("rate", [])
    if len(given.get("memory", [])) != 1 or len(given.get("matrix", [])) != 1 or not 1 <= len(rates) <= 3:
        raise UsageError(
            f"`world` must describe a device by {CUSTOM}, but is `{text:.60}`. After the link may come the network "
            "between nodes and the rate of the memory, in this order."
        )
    matrix, memory = given["matrix"][0], given["memory"][0]
    # What is not given is as in the best known device of at most this rate, in proportion.
    like = max((one for one in DEVICES.values() if one.matrix <= max(65.0, matrix) * TERA), key=lambda one: one.matrix)
    share = matrix * TERA / like.matrix
    made = replace(like, name="custom", matrix=matrix * TERA, single=share * like.single, memory=memory * GB, node=8)
    network = rates[1] if len(rates) > 1 else rates[0] / 8
    bandwidth = rates[2] * GB if len(rates) > 2 else share * like.bandwidth
    return replace(made, link=rates[0] * GB, network=network * GB, bandwidth=bandwidth)
