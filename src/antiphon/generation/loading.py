"""Where a model is and how it is read: its folder, the device, the type of its numbers, an attention of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from antiphon.config import AttentionConfig
from antiphon.errors import ConfigError, ModelError
from antiphon.models.attentions import check_unasked
from antiphon.models.folders.files import read_config
from antiphon.models.folders.hub import fetch
from antiphon.registry import nearest
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
        try:
            check_unasked(entry)
        except ConfigError as error:
            raise ModelError(str(error).replace("the attention", f"the model's {role} attention", 1)) from error
    return build(AttentionConfig, {**kept, **attention})
