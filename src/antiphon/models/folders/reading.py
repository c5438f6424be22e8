"""Finds and loads a model by its path or its name on the hub.

    folder = model_folder("runs/demo")                       # runs/demo/model
    parts = read_model(folder, attention={"decoder": {"window": 64}})

Folders of ours are read by checkpoint.py, those of published families by hub.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from antiphon.config import AttentionConfig, ModelConfig
from antiphon.errors import ConfigError, ModelError
from antiphon.models.attentions import check_unasked
from antiphon.models.folders.checkpoint import Filler, Parts, load_parts, saved_shape
from antiphon.models.folders.files import read_config
from antiphon.models.folders.hub import fetch, is_pretrained, load_pretrained, pretrained_shape
from antiphon.settings import build, plain


def model_folder(path: str | Path) -> Path:
    """The model folder at `path`, in the run folder at `path`, or of the hub's model with this name."""
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


def read_model(
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    filler: Filler | None = None,
    attention: AttentionConfig | Mapping[str, object] | None = None,
    seed: int = 0,
) -> Parts:
    """Load a model folder, with the network in evaluation mode. Raises ModelError, ConfigError.

    `attention` replaces that of the folder: all of it (AttentionConfig), or that of the roles in a mapping. Weights
    that are not in the folder are new, initialized by `seed`. `filler` as in `load_parts`.
    """
    if is_pretrained(read_config(folder, "config.json")):
        roles = plain(attention) if isinstance(attention, AttentionConfig) else attention
        return load_pretrained(folder, device=device, dtype=dtype, filler=filler, replaced=roles, seed=seed)
    own = _replaced(folder, attention) if isinstance(attention, Mapping) else attention
    chosen = own if attention else None
    return load_parts(folder, device=device, dtype=dtype, filler=filler, attention=chosen, seed=seed)


def read_shape(folder: Path) -> ModelConfig:
    """The shape of the model in a folder, without its weights. Raises ModelError, ConfigError."""
    return pretrained_shape(folder) if is_pretrained(read_config(folder, "config.json")) else saved_shape(folder)


def _replaced(folder: Path, attention: Mapping[str, object]) -> AttentionConfig:
    """The attention of the folder, with the roles in `attention` replaced.

    With an attention of your own, names may be imported; this checks that no name of the folder is.
    """
    saved = read_config(folder, "config.json").get("attention")
    kept = {role: entry for role, entry in (saved if isinstance(saved, dict) else {}).items() if role not in attention}
    for role, entry in kept.items():
        try:
            check_unasked(entry)
        except ConfigError as error:
            raise ModelError(str(error).replace("the attention", f"the model's {role} attention", 1)) from error
    return build(AttentionConfig, {**kept, **attention})
