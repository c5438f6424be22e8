"""Low-rank adapters in the folder format of peft, merged into a network's own weights.

    merge_adapter(parts, "runs/tuned/adapter")

Its layers have our names, or for a model of a published family those of transformers, which the family translates.

LoRA (Hu et al. 2022, section 4.1): W' = W + s·B·A with s = alpha / rank. DoRA (Liu et al. 2024, eq. 5): each row of
W', which belongs to one output, is scaled to the length in the magnitude vector. Loading an adapter does not need the
package peft.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from antiphon.errors import ModelError
from antiphon.models.families import FAMILIES, TranslatedCheckpoint, WeightName
from antiphon.models.folders.account import some
from antiphon.models.folders.checkpoint import Parts, load_weights, named_weights
from antiphon.models.folders.files import read_config, within

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."  # before every name in peft's files
DOWN, UP, MAGNITUDE = ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"
# Keys of adapter_config.json that change the computation, and their supported values.
_PLAIN: dict[str, tuple[object, ...]] = {
    "peft_type": ("LORA",), "fan_in_fan_out": (False, None), "bias": ("none", None), "lora_bias": (False, None),
    "rank_pattern": ({}, None), "alpha_pattern": ({}, None), "layer_replication": (None,), "use_qalora": (False, None),
    "megatron_config": (None,), "trainable_token_indices": (None,), "target_parameters": (None, []),
    "alora_invocation_tokens": (None,), "use_bdlora": (False, None), "arrow_config": (None,), "kasa_config": (None,),
    "velora_config": (None,), "monteclora_config": (None,), "lora_ga_config": (None,),
}  # fmt: skip


def merge(weight: Tensor, down: Tensor, up: Tensor, *, scale: float, magnitude: Tensor | None = None) -> Tensor:
    """weight (out, in) with the adapter down (rank, in), up (out, rank) and, for DoRA, magnitude (out,) merged in."""
    whole = weight.float() + scale * (up.float() @ down.float())
    if magnitude is not None:
        whole = whole * (magnitude.float() / torch.linalg.norm(whole, dim=1))[:, None]
    return whole.to(weight.dtype)


@torch.no_grad()
def merge_adapter(parts: Parts, folder: str | Path) -> None:
    """Merge the adapter in `folder` into the weights of the network of `parts`.

    ModelError if it is not a folder of an adapter, for adapters other than LoRA and DoRA, and for weights that do not
    belong to the network.
    """
    folder, network = Path(folder), parts.network
    config, own = read_config(folder, CONFIG), named_weights(network)
    scale = _scale(config, folder / CONFIG)
    found = {name.removeprefix(PREFIX): tensor for name, tensor in load_weights(within(folder, WEIGHTS)).items()}
    found = _in_our_names(found, parts, own, folder / WEIGHTS)
    aliases = _aliases(network)
    layers = {name.removesuffix(DOWN) for name in found if name.endswith(DOWN)}
    taken: set[str] = set()
    for layer in sorted(layers):
        down, up, magnitude = found[layer + DOWN], found.get(layer + UP), found.get(layer + MAGNITUDE)
        weight = own.get(f"{layer}.weight")
        fits = weight is not None and up is not None and weight.shape == (len(up), down.shape[-1])
        if not fits or weight is None or up is None or up.shape[-1] != len(down):
            has = "no such layer" if weight is None else f"weights of {tuple(weight.shape)}"
            raise ModelError(
                f"`{folder / WEIGHTS}` does not fit the base: `{layer}` has lora_A of {tuple(down.shape)}, but the "
                f"base has {has} there. {_remedy(parts, own)}"
            )
        weight.copy_(merge(weight, down, up, scale=scale, magnitude=magnitude))
        taken |= {layer + DOWN, layer + UP} | ({layer + MAGNITUDE} if magnitude is not None else set())
    for name in found.keys() - taken:
        place = own.get(aliases.get(name, name))
        if place is not None and place.shape == found[name].shape:
            place.copy_(found[name])
            taken.add(name)
    if left := sorted(found.keys() - taken):
        raise ModelError(
            f"`{folder / WEIGHTS}` does not fit the base, which has no place for {some(left)}. {_remedy(parts, own)}"
        )


def _in_our_names(
    found: Mapping[str, Tensor], parts: Parts, own: Mapping[str, Tensor], file: Path
) -> dict[str, Tensor]:
    """The tensors by our names of layers and weights; unknown names are unchanged."""
    rows, apart = _rows(parts)
    made: dict[str, Tensor] = {}
    family = FAMILIES.get(parts.model.family.name) if parts.model.family is not None else None
    unread = family.unread if family is not None else ()
    for name, tensor in found.items():
        if name.startswith(unread):  # of a layer whose output nothing reads
            continue
        end = next((end for end in (DOWN, UP, MAGNITUDE) if name.endswith(end)), "")
        whole = f"{name.removesuffix(end)}.weight" if end else name
        if whole not in own and whole in apart:
            raise ModelError(
                f"`{file}` trains `{whole.removesuffix('.weight')}` apart, but in the base it is one table with other "
                "embeddings or the output. Train the adapter without it."
            )
        row = None if whole in own else rows.get(whole)
        if row is None:
            made[name] = tensor
        elif end:  # a linear layer, whose weight is the same here
            made[row.ours.removesuffix(".weight") + end] = tensor
        else:
            made[row.ours] = row.read(tensor)
    return made


def _rows(parts: Parts) -> tuple[dict[str, WeightName], set[str]]:
    """The weights of a model of a published family by their names in transformers, and the names of shared tables.
    Both are empty for a model of your own."""
    record = parts.model.family
    family = FAMILIES.get(record.name) if record is not None else None
    if record is None or family is None:
        return {}, set()
    tables = family.tables.place(shared=record.shared_tables, tied=parts.model.tie_embeddings)
    ours = TranslatedCheckpoint(parts.model, parts.attention, tables, *parts.network.table_sizes)
    rows = {name: row for row in family.rows(ours) for name in (row.theirs, family.in_modules(row.theirs))}
    alone = {
        *(() if tables.shared else (tables.source,)),
        *(() if tables.shared or tables.tied else (tables.target,)),
        *(() if tables.tied else (tables.output,)),
    }
    # The prefix may be missing, for example in an adapter of a network without its output.
    bare = {name.removeprefix(family.prefix): row for name, row in rows.items()} if family.prefix else {}
    return bare | rows, family.tables.all() - alone


def _remedy(parts: Parts, own: Mapping[str, Tensor]) -> str:
    """The remedy of an error, with an example of the names of the base."""
    rows, _ = _rows(parts)
    called = [row.theirs for row in rows.values() if row.ours.endswith(".q.weight")] or [
        name for name in own if name.endswith(".q.weight")
    ]
    kind = f"of the family {parts.model.family.name}" if parts.model.family is not None else "a model of your own"
    example = f", whose layers are called as `{called[0].removesuffix('.weight')}`" if called else ""
    return f"It is {kind}{example}. Give the base that the adapter was trained on."


def merged_weights(network: nn.Module, *, scale: float, name: str) -> dict[str, Tensor]:
    """The plain weights of a network with peft's layers in it, the adapter called `name` merged in."""
    weights = plain_weights(network)
    whole = dict(named_weights(network))
    for key, down in whole.items():
        layer, found, rest = key.partition(".lora_A.")
        if found and rest == f"{name}.weight":
            up = whole[f"{layer}.lora_B.{name}.weight"]
            magnitude = whole.get(f"{layer}{MAGNITUDE}.{name}.weight")
            own = f"{layer}.weight"
            weights[own] = merge(weights[own], down, up, scale=scale, magnitude=magnitude)
    return weights


def plain_weights(network: nn.Module) -> dict[str, Tensor]:
    """The weights of a network without adapters, under their names without peft's layers."""
    return {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in named_weights(network).items()
        if ".lora_" not in name
    }


def _scale(config: Mapping[str, object], file: Path) -> float:
    """alpha / rank, or alpha / sqrt(rank) where the file says so (Kalajdzievski 2023)."""
    for key, known in _PLAIN.items():
        if key in config and config[key] not in known:
            raise ModelError(
                f"`{file}` must have `{key}` {known[0]!r}, the only one that is read, but has {config[key]!r:.60}."
            )
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not (isinstance(rank, int) and isinstance(alpha, int | float) and rank > 0):
        raise ModelError(f"`{file}` must have numbers `r` and `lora_alpha`, but has {rank!r:.60} and {alpha!r:.60}.")
    return alpha / (rank**0.5 if config.get("use_rslora") else rank)


def _aliases(network: nn.Module) -> dict[str, str]:
    """The first name of each weight that has several."""
    first = {id(tensor): name for name, tensor in network.named_parameters()}
    return {name: first[id(tensor)] for name, tensor in network.named_parameters(remove_duplicate=False)}
