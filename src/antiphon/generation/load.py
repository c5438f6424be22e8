"""From a folder or a name on the hub to a model: `antiphon.load`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import torch

from antiphon.config import AttentionConfig
from antiphon.devices import bfloat16_note, choose_device
from antiphon.errors import ModelError
from antiphon.generation.ensemble import join_parts
from antiphon.generation.hf.model import load_wrapped
from antiphon.generation.loading import choose_dtype, model_folder, replaced_attention
from antiphon.generation.model import Model
from antiphon.generation.quantize import check_quantize
from antiphon.generation.quantize import quantize as quantize_network
from antiphon.keywords import known_keywords
from antiphon.models.folders.adapters import merge_adapter
from antiphon.models.folders.checkpoint import Parts, load_parts
from antiphon.models.folders.files import read_config
from antiphon.models.folders.hub import is_foreign, is_pretrained, load_pretrained
from antiphon.runtime.int8_loading import fill_int8
from antiphon.settings import plain, show


@known_keywords("load")
def load(
    path: str | Path | Sequence[str | Path],
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype | None = None,
    quantize: str | None = None,
    attention: AttentionConfig | Mapping[str, object] | None = None,
    seed: int = 0,
    adapter: str | Path | None = None,
) -> Model:
    """The model in a run folder, a model folder, a folder of the Hugging Face hub or the hub itself, by its name
    ("google-t5/t5-small"), in evaluation mode; a list of them is an ensemble.

    An ensemble's probability of a token is the mean of its members', its search settings are the first one's.
    `dtype` None is float32. `attention` replaces what the folder says of the roles that it names, each with a name, a
    mapping, `module:Name`, a rule or mixer, its class, or a list that alternates over layers; only what it names is
    imported. Weights that it needs and the folder has not are new, a function of `seed`: `model.account` says which
    were kept, which are new and which dropped, and a warning says it where any is. `adapter` is a folder in peft's
    format, a LoRA or DoRA of this model, made here or by peft on transformers' own, which is merged into its weights.
    `quantize` "int8" keeps the weights in eight bits for answers on a CPU, which is then the device that `auto` means;
    such a model is not saved or exported. ConfigError for an argument that is not there.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    if not paths or not all(isinstance(each, str | Path) for each in paths):
        raise ModelError(f"`path` must be a folder or a list of folders, but is {show(path)}.")
    members: list[tuple[str, Parts]] = []
    place, kind = _place_and_type(device, dtype, quantize)
    for folder in map(model_folder, paths):
        first = kind if adapter is None else torch.float32  # rounded once, behind the merge
        # Weights are quantized as they are read; what is not is quantized below.
        filler = fill_int8 if quantize is not None and adapter is None else None
        config = read_config(folder, "config.json")
        if is_pretrained(config) and is_foreign(config) and find_spec("transformers") is not None:
            alone = len(paths) == 1 and attention is None and adapter is None
            _check_wrapped(folder, config["model_type"], alone=alone, quantized=quantize is not None)
            # What a Model does with texts, it does; what it lacks (`parts`) only our own networks have.
            return cast(Model, load_wrapped(folder, config, device=place, dtype=kind))
        if is_pretrained(config):
            roles = plain(attention) if isinstance(attention, AttentionConfig) else attention
            parts = load_pretrained(folder, device=place, dtype=first, filler=filler, replaced=roles, seed=seed)
        else:
            own = replaced_attention(folder, attention) if isinstance(attention, Mapping) else attention
            parts = load_parts(folder, device=place, dtype=first, filler=filler, attention=own, seed=seed)
        if adapter is not None:
            merge_adapter(parts, adapter)
            parts.network.to(kind)
        members.append((str(folder), parts))
    found = Model.from_parts(members[0][1] if len(members) == 1 else join_parts(members))
    found.network.settled = True  # so that its weights are packed once for the kernels
    if quantize is not None:
        quantize_network(found.network)
    return found


def _check_wrapped(folder: Path, family: str, *, alone: bool, quantized: bool) -> None:
    """ModelError for what a model that transformers computes has not."""
    if not alone:
        raise ModelError(
            f"`{folder}` is of the family {family}, which transformers computes: it must be loaded alone, without "
            "`attention` and `adapter`."
        )
    if quantized:
        raise ModelError(
            f"`quantize` must be left out for `{folder}`: its family, {family}, is computed by transformers, whose "
            "layers are not quantized here."
        )


def _place_and_type(
    device: str | torch.device, dtype: str | torch.dtype | None, quantize: str | None
) -> tuple[torch.device, torch.dtype]:
    """Where and in which type a model is held; a warning where numbers of the type are emulated."""
    place, kind = choose_device(device if quantize is None or device != "auto" else "cpu"), choose_dtype(dtype)
    if quantize is not None:
        check_quantize(quantize, device=place, dtype=kind)
    if kind == torch.bfloat16 and (note := bfloat16_note(place)):
        warnings.warn(f"`dtype` is bfloat16, but {note}", stacklevel=3)
    return place, kind
