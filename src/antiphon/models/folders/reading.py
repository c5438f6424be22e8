"""From the path of a model, or its name on the hub, to its parts: which folder it is, and who reads it.

    folder = model_folder("runs/demo")                       # runs/demo/model
    parts = read_model(folder, attention={"decoder": {"window": 64}})

Folders of ours are read by checkpoint.py, those of published families by hub.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from antiphon.config import AttentionConfig
from antiphon.errors import ConfigError, ModelError
from antiphon.models.attentions import check_unasked
from antiphon.models.folders.checkpoint import Filler, Parts, load_parts
from antiphon.models.folders.files import read_config
from antiphon.models.folders.hub import fetch, is_pretrained, load_pretrained
from antiphon.settings import build, plain


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


def read_model(
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    filler: Filler | None = None,
    attention: AttentionConfig | Mapping[str, object] | None = None,
    seed: int = 0,
) -> Parts:
    """What a model folder holds, the network in evaluation mode. Raises ModelError, ConfigError.

    `attention` replaces what the folder says: all of it (AttentionConfig), or that of the roles that a mapping names.
    Weights that it needs and the folder has not are new, a function of `seed`. `filler` as in `load_parts`.
    """
    if is_pretrained(read_config(folder, "config.json")):
        roles = plain(attention) if isinstance(attention, AttentionConfig) else attention
        return load_pretrained(folder, device=device, dtype=dtype, filler=filler, replaced=roles, seed=seed)
    own = _replaced(folder, attention) if isinstance(attention, Mapping) else attention
    chosen = own if attention else None
    return load_parts(folder, device=device, dtype=dtype, filler=filler, attention=chosen, seed=seed)


def _replaced(folder: Path, attention: Mapping[str, object]) -> AttentionConfig:
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
