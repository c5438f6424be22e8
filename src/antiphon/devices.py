"""Selection and description of the compute device."""

from __future__ import annotations

import os
import platform

import torch

from antiphon.errors import ConfigError
from antiphon.registry import nearest
from antiphon.settings import show

_PRIMITIVES = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
_KEPT_PRIMITIVES = 64  # about those of a step; oneDNN's own is 1,024


def bound_primitive_cache() -> None:
    """Bound the memory of oneDNN, which compiles an operation for each new shape and keeps it.

    Batches of images and sound have ever new shapes, so that a run on a CPU grew to twice its memory. It takes effect
    until the first operation of this process is compiled. A capacity that is set in the environment remains.
    """
    os.environ.setdefault(_PRIMITIVES, str(_KEPT_PRIMITIVES))


def choose_device(name: str | torch.device) -> torch.device:
    """The device called `name`; `auto` is the first available one of CUDA, MPS and CPU."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, is_there in there.items() if is_there))
    kind, _, number = str(name).partition(":")
    if kind not in there or not (number.isdecimal() or str(name) == kind):
        known = ["auto", *there]
        raise ConfigError(
            f"`device` must be one of {', '.join(known)}, but is {show(str(name))}{nearest(kind, known) or '.'}"
        )
    devices = torch.cuda.device_count() if kind == "cuda" else 1
    if not there[kind] or int(number or 0) >= devices:
        raise ConfigError(f"`device` must be one that is here, but there is no {name}. Use auto or cpu.")
    return torch.device(name)


def emulates_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is emulated, and so slower than float32: on an x86 CPU without AVX-512 BF16 or AMX. False if
    unknown (other CPUs)."""
    if device.type != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return not _has_bfloat16()


def _has_bfloat16() -> bool:
    known = [getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile")]
    # Assume support if PyTorch cannot tell.
    return not any(known) or any(ask() for ask in known if ask is not None)


def processor_name() -> str:
    """The processor's own name, with its number of cores where PyTorch knows it."""
    able = getattr(torch.cpu, "get_capabilities", dict)()  # missing in the oldest supported PyTorch
    name = str(able.get("cpu_name") or platform.processor() or platform.machine() or "unknown").strip()
    cores = able.get("num_physical_cores")
    return f"{name}, {cores} cores" if cores else name


def bfloat16_note(device: torch.device) -> str:
    """A warning if `emulates_bfloat16`; else ""."""
    if not emulates_bfloat16(device):
        return ""
    return (
        "this processor has no instructions for bfloat16, which is emulated and may take several times as long as "
        "float32; use float32."
    )


def describe_machine(device: torch.device, dtype: str) -> str:
    """A line that describes the computation: device, data type, and CPU threads."""
    count = torch.get_num_threads()
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    brief = os.environ.get("GOMP_SPINCOUNT") == "1000" or os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive"
    waiting = " that sleep while they wait" if count > 1 and brief else ""
    return f"antiphon: {device}{name}, {dtype}, {count} thread{'s' if count > 1 else ''}{waiting}"
