"""Which device a name stands for."""

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
    if not there[kind]:
        raise ConfigError(f"`device` must be one that is here, but there is no {name}. Use auto or cpu.")
    return torch.device(name)
