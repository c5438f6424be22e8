"""Which device a name stands for, and what is computed on it."""

from __future__ import annotations

import os
import platform

import torch

from antiphon.errors import ConfigError
from antiphon.registry import nearest
from antiphon.settings import show


def choose_device(name: str | torch.device) -> torch.device:
    """The device called `name`; `auto` is the first of CUDA, MPS and the processor that is there."""
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
    """Whether bfloat16 is computed without instructions for it, and so slower than float32: on a processor without
    AVX-512 BF16 or AMX, as far as that is known (x86; of others nothing is said)."""
    if device.type != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return not _has_bfloat16()


def _has_bfloat16() -> bool:
    known = [getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile")]
    # A PyTorch that cannot tell is given the benefit of the doubt.
    return not any(known) or any(ask() for ask in known if ask is not None)


def bfloat16_note(device: torch.device) -> str:
    """The line to say where `emulates_bfloat16`; "" elsewhere."""
    if not emulates_bfloat16(device):
        return ""
    return (
        "this processor has no instructions for bfloat16, which is emulated and may take several times as long as "
        "float32; use float32."
    )


def describe_machine(device: torch.device, dtype: str) -> str:
    """The line that says on what is computed: the device, the type of numbers, and the processor's threads."""
    count = torch.get_num_threads()
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    brief = os.environ.get("GOMP_SPINCOUNT") == "1000" or os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive"
    waiting = " that sleep while they wait" if count > 1 and brief else ""
    return f"antiphon: {device}{name}, {dtype}, {count} thread{'s' if count > 1 else ''}{waiting}"
