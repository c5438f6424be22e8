"""The output of `antiphon --version`: the information needed in a bug report or a benchmark."""

from __future__ import annotations

import platform
import textwrap
from importlib import metadata

WIDTH = 80  # of a line: what is pasted into a report is the same from every terminal
FEATURES = (
    "avx2",
    "avx512_f",
    "avx512_vnni",
    "avx512_bf16",
    "avx_vnni",
    "amx_bf16",
    "amx_int8",
    "dotprod",
    "i8mm",
    "bf16",
    "sve",
)


def version() -> str:
    """The versions of Antiphon, PyTorch and Python, the CPU with its relevant features, and the GPUs."""
    import torch

    from antiphon.devices import processor_name

    able = getattr(torch.cpu, "get_capabilities", dict)()  # missing in the oldest supported PyTorch
    features = " ".join(name for name in FEATURES if able.get(name)) or "none of " + " ".join(FEATURES)
    lines = [
        f"antiphon {_own()}",
        f"torch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()})",
        f"Python {platform.python_version()} on {platform.system()} {platform.machine()}",
        f"processor {processor_name()}: {features}",
    ]
    for number in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(number)
        lines.append(f"GPU {number} {torch.cuda.get_device_name(number)}, capability {major}.{minor}")
    return "".join(f"{textwrap.fill(line, WIDTH, subsequent_indent='  ')}\n" for line in lines)


def _own() -> str:
    try:
        return metadata.version("antiphon")
    except metadata.PackageNotFoundError:
        return "(run from its source, not installed)"
