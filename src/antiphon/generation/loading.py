"""Where a model is and how it is read: its folder, the device, the type of its numbers, an attention of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from antiphon.config import AttentionConfig
from antiphon.errors import ConfigError, ModelError
from antiphon.models.files import read_config
from antiphon.models.hub import fetch
from antiphon.registry import imported, names, nearest
from antiphon.settings import build, show

DTYPES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float16": torch.float16,
    "fp16": torch.float16,
    "float64": torch.float64,
    "fp64": torch.float64,
}


def model_folder(path: str | Path) -> Path:
    """The model folder at `path`, which may be the run folder around it; or that of the hub's model of this name."""
    name, path = str(path), Path(path)
    for folder in (path / "model", path):
        if (folder / "config.json").is_file():
            return folder
    if not path.exists():
        if name.count("/") == 1 and not name.startswith((".", "/", "~")):
            return fetch(name)
        raise ModelError(
            f"there is no model at `{path}`. Give a run folder, a model folder, or a name on the Hugging Face hub "
            "(owner/name)."
        )
    raise ModelError(
        f"`{path}` must be a run folder or a model folder, but has neither model/config.json nor config.json."
    )


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


def choose_dtype(name: str | torch.dtype | None) -> torch.dtype:
    """The type called `name`; None is float32."""
    if name is None or isinstance(name, torch.dtype):
        return name or torch.float32
    if name not in DTYPES:
        raise ConfigError(
            f"`dtype` must be one of {', '.join(DTYPES)}, but is {show(name)}{nearest(str(name), DTYPES) or '.'}"
        )
    return DTYPES[name]


def replaced_attention(folder: Path, attention: Mapping[str, object]) -> AttentionConfig:
    """What the folder says of the attention of each role, but for the roles in `attention`.

    An attention of one's own allows names to be imported; none of the folder's own may come in by that.
    """
    saved = read_config(folder, "config.json").get("attention")
    kept = {role: entry for role, entry in (saved if isinstance(saved, dict) else {}).items() if role not in attention}
    for role, entry in kept.items():
        for name in _imports(entry):
            if name not in names("attention") and imported("attention", name) is None:
                raise ModelError(
                    f"the model's {role} attention `{name}` is not imported unasked. "
                    f"Give `attention` with `{role}` too."
                )
    return build(AttentionConfig, {**kept, **attention})


def _imports(entry: object) -> list[str]:
    """The `module:Name`s in an attention's spec."""
    if isinstance(entry, str):
        return [entry] if ":" in entry else []
    if isinstance(entry, Mapping):
        return [name for part in (*entry, *entry.values()) for name in _imports(part)]
    return [name for part in entry for name in _imports(part)] if isinstance(entry, list | tuple) else []
