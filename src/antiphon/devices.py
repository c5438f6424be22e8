"""Which device a name stands for, and what is computed on it."""

from __future__ import annotations

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


def describe_machine(device: torch.device, dtype: str) -> str:
    """The line that says on what is computed: the device, the type of numbers, and the processor's threads."""
    count = torch.get_num_threads()
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    return f"antiphon: {device}{name}, {dtype}, {count} thread{'s' if count > 1 else ''}"
