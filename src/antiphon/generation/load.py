"""`antiphon.load`: a model from a folder or from the hub."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch

from antiphon.config import AttentionConfig
from antiphon.devices import bfloat16_note, choose_device
from antiphon.errors import ConfigError, ModelError
from antiphon.generation.ensemble import join_parts
from antiphon.generation.hf.model import load_wrapped
from antiphon.generation.model import Model
from antiphon.generation.quantize import check_quantize
from antiphon.generation.quantize import quantize as quantize_network
from antiphon.generation.translator import Translator
from antiphon.keywords import known_keywords
from antiphon.models.folders.adapters import merge_adapter
from antiphon.models.folders.checkpoint import Parts
from antiphon.models.folders.files import read_config
from antiphon.models.folders.hub import is_foreign, is_pretrained
from antiphon.models.folders.reading import model_folder, read_model
from antiphon.registry import nearest
from antiphon.runtime.int8_loading import fill_int8
from antiphon.settings import show

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
) -> Translator:
    """The model in a run folder, a model folder, a folder of the Hugging Face hub or the hub itself, by its name
    ("google-t5/t5-small"), in evaluation mode; a list of them is an ensemble.

    An ensemble's probability of a token is the mean of its members'; its search settings are those of the first member.
    `dtype` None is float32. `attention` replaces the attention of the roles that it names, each with a name, a mapping,
    `module:Name`, a rule or mixer, its class, or a list that alternates over layers; only modules that it names are
    imported. Weights that it needs and that are not in the folder are initialized as a function of `seed`.
    `model.account` lists which weights were loaded, which are new and which were dropped; if any are new or dropped,
    there is a warning. `adapter` is a folder in peft's format, a LoRA or DoRA of this model, trained here or by peft on
    transformers' model; it is merged into the weights. `quantize` "int8" stores the weights in eight bits for a CPU,
    which `auto` then selects; such a model cannot be saved or exported. ConfigError for an unknown argument.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    if not paths or not all(isinstance(each, str | Path) for each in paths):
        raise ModelError(f"`path` must be a folder or a list of folders, but is {show(path)}.")
    members: list[tuple[str, Parts]] = []
    place, kind = _place_and_type(device, dtype, quantize)
    for folder in map(model_folder, paths):
        first = kind if adapter is None else torch.float32  # rounded once, after the merge
        # Weights are quantized as they are read; any others are quantized below.
        filler = fill_int8 if quantize is not None and adapter is None else None
        config = read_config(folder, "config.json")
        if is_pretrained(config) and is_foreign(config) and find_spec("transformers") is not None:
            alone = len(paths) == 1 and attention is None and adapter is None
            _check_wrapped(folder, config["model_type"], alone=alone, quantized=quantize is not None)
            return load_wrapped(folder, config, device=place, dtype=kind)
        parts = read_model(folder, device=place, dtype=first, filler=filler, attention=attention, seed=seed)
        if adapter is not None:
            merge_adapter(parts, adapter)
            parts.network.to(kind)
        members.append((str(folder), parts))
    found = Model.from_parts(members[0][1] if len(members) == 1 else join_parts(members))
    found.network.frozen = True  # so that its weights are packed once for the kernels
    if quantize is not None:
        quantize_network(found.network)
    return found


def _check_wrapped(folder: Path, family: str, *, alone: bool, quantized: bool) -> None:
    """ModelError for arguments that a model computed by transformers does not support."""
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
    """The device and type of a model; a warning if the type is emulated there."""
    place, kind = choose_device(device if quantize is None or device != "auto" else "cpu"), choose_dtype(dtype)
    if quantize is not None:
        check_quantize(quantize, device=place, dtype=kind)
    if kind == torch.bfloat16 and (note := bfloat16_note(place)):
        warnings.warn(f"`dtype` is bfloat16, but {note}", stacklevel=3)
    return place, kind


def choose_dtype(name: str | torch.dtype | None) -> torch.dtype:
    """The type called `name`; None is float32."""
    if name is None or isinstance(name, torch.dtype):
        return name or torch.float32
    if name not in DTYPES:
        raise ConfigError(
            f"`dtype` must be one of {', '.join(DTYPES)}, but is {show(name)}{nearest(str(name), DTYPES) or '.'}"
        )
    return DTYPES[name]
