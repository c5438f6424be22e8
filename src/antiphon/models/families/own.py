"""Converts models of our own recipes to a family: post-norm Transformers are Marian, pre-norm ones Pegasus.

    parts = as_family(parts)      # equal outputs, with a family; Inexpressible if no family fits

The models differ in the rounding of sinusoids (ours are float32, 1e-7) and in their order: ours interleave sines and
cosines (Vaswani et al. 2017, section 3.5), the families have all sines first. The order of the channels between the
layers is arbitrary, so the weights are permuted instead.
"""

from __future__ import annotations

import re
from dataclasses import replace

import torch

from antiphon.config import ROLES, FamilyConfig
from antiphon.models.build import build_network
from antiphon.models.families.family import OURS_ALONE, Inexpressible
from antiphon.models.folders.checkpoint import Parts, named_weights
from antiphon.models.front import InputEmbedding

# Weights whose columns, and weights whose rows (or only dimension), are the channels between the layers.
_COLUMNS = re.compile(r"(^|\.)(table|output|q|k|v|up)\.weight$")
_ROWS = re.compile(r"(^|\.)((o|down)\.(weight|bias)|(norm|final)\.(weight|bias))$")
# With an untied output, transformers also unties the two embeddings.
_PLAIN = {
    "norm": "layer", "bias": True, "tie_embeddings": True, "num_kv_heads": None, "attention_scale": None,
    "head_dim": None, "input": "text", **OURS_ALONE,
}  # fmt: skip


def as_family(parts: Parts) -> Parts:
    """Convert `parts` to a model of Marian (post-norm) or Pegasus (pre-norm), with equal outputs.

    Raises Inexpressible, which names the setting that the family does not support.
    """
    model, network = parts.model, parts.network
    _check(parts)
    tokenizer, sizes = parts.target_tokenizer, network.table_sizes
    shared = isinstance(network.source, InputEmbedding) and network.source.table is network.target.table
    record = FamilyConfig(
        name="marian" if model.norm_placement == "post" else "pegasus",
        pad_id=tokenizer.pad_id,
        start_id=tokenizer.start_id,
        end_id=tokenizer.end_id,
        shared_tables=shared,
        sinusoids="halves",
    )
    told = replace(model, family=record)
    made = build_network(
        told,
        parts.attention,
        source_vocab=sizes[0],
        target_vocab=sizes[1],
        shared=record.shared_tables,
        allow_import=False,
    ).to(network.output.weight.dtype)
    order = torch.cat([torch.arange(0, model.d_model, 2), torch.arange(1, model.d_model, 2)])
    new = named_weights(made)
    for name, weight in named_weights(network).items():
        weight = weight.cpu()
        if _COLUMNS.search(name):
            weight = weight[..., order]
        new[name].copy_(weight[order] if _ROWS.search(name) else weight)
    return replace(parts, network=made.eval(), model=told)


def _check(parts: Parts) -> None:
    model, attention = parts.model, parts.attention
    found = {name: (getattr(model, name), value) for name, value in _PLAIN.items()}
    found["positions"] = (model.positions, "sinusoidal")
    found |= {f"attention.{role}": (getattr(attention, role), "full") for role in ROLES}
    for name, (value, wanted) in found.items():
        if value != wanted:
            raise _refused(f"`{name}` {wanted!r}", f"it is {value!r:.60}")
    if model.activation not in ("relu", "gelu", "silu"):
        raise _refused("an `activation` without gates (relu, gelu, silu)", f"it is {model.activation!r}")
    if not parts.shared:
        raise _refused("one tokenizer for both sides", "it has two")
    if parts.labels:
        raise _refused("no labels", "it is a classification")


def _refused(wanted: str, found: str) -> Inexpressible:
    return Inexpressible(f"a model of your own to be written for transformers must have {wanted}, but {found}.")
