"""Reads the stacks of `torch.nn.Transformer`: their `Shape`, and their weights by the names used here.

shape, layers, weights = read_stack(torch.nn.TransformerEncoder(layer, 6))
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.errors import ConfigError
from antiphon.models.stack import Shape

_READ = (
    nn.Transformer, nn.TransformerEncoder, nn.TransformerDecoder, nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer, nn.MultiheadAttention, nn.Linear, nn.LayerNorm, nn.Dropout,
)  # fmt: skip
_METHODS = ("forward", "_sa_block", "_mha_block", "_ff_block")
_FUNCTIONS = {
    functional.relu: "relu", torch.relu: "relu", functional.gelu: "gelu", functional.silu: "silu",
}  # fmt: skip
_MODULES = {nn.ReLU: "relu", nn.GELU: "gelu", nn.SiLU: "silu"}
# PyTorch's names of the parts of a layer -> the names used here.
_FEED_FORWARD = {"linear1": "ffn.up", "linear2": "ffn.down"}
_OF_ENCODER = {"attentions": {"self_attn": "mixer"}, "norms": {"norm1": "mixer_residual", "norm2": "ffn_residual"}}
_OF_DECODER = {
    "attentions": {"self_attn": "mixer", "multihead_attn": "cross"},
    "norms": {"norm1": "mixer_residual", "norm2": "cross_residual", "norm3": "ffn_residual"},
}


def check_plain(module: nn.Module) -> None:
    """ConfigError for a module that does not compute exactly what PyTorch's class does."""
    base = next((kind for kind in _READ if isinstance(module, kind)), None)
    if base is None:
        raise ConfigError(
            f"the layers that are read must be those of torch.nn.Transformer, but one is {type(module).__name__}. "
            "Build the network from parts of antiphon.nn, with your own as an attention."
        )
    for name in _METHODS:
        if getattr(type(module), name, None) is not getattr(base, name, None) or name in vars(module):
            raise ConfigError(
                f"a {base.__name__} that is read must compute what PyTorch's does, but `{type(module).__name__}` has a "
                f"`{name}` of its own. Put its weights into a plain {base.__name__}, or build the network from "
                "parts of antiphon.nn."
            )


def read_stack(module: nn.Module) -> tuple[Shape, int, dict[str, Tensor]]:
    """The shape, the number of layers and the weights, by the names used here, of an encoder, a decoder or a layer of
    PyTorch. ConfigError for what is not supported."""
    check_plain(module)
    single = isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer)
    layers: list[nn.Module] = [module] if single else list(module.layers)  # type: ignore[arg-type]
    final: nn.Module | None = None if single else module.norm  # type: ignore[assignment]
    if not layers:
        raise ConfigError(f"a {type(module).__name__} that is read must have at least one layer, but has none.")
    read = [_read_layer(layer) for layer in layers]
    shape, said = read[0][0], {**read[0][0], "final_norm": final is not None}
    for number, (other, _) in enumerate(read):
        for name, value in other.items():
            if value != shape[name]:
                raise ConfigError(
                    f"all layers that are read must have one `{name}`, but layer 0 has {shape[name]} and layer "
                    f"{number} {value}. Make them equal, or read the layers one by one."
                )
    weights = {f"layers.{i}.{name}": tensor for i, (_, found) in enumerate(read) for name, tensor in found.items()}
    if final is not None:
        eps, tensors = _read_norm(final, "norm")
        if eps != shape["norm_eps"]:
            raise ConfigError(
                f"the final norm must have the `eps` of the layers' norms ({shape['norm_eps']}), but has {eps}. Set it."
            )
        weights |= {f"final.{name}": tensor for name, tensor in tensors.items()}
    return Shape(**said), len(layers), weights


def _read_layer(layer: nn.Module) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The fields of `Shape` of one layer, and its weights."""
    check_plain(layer)
    parts: Any = layer
    table = _OF_DECODER if isinstance(layer, nn.TransformerDecoderLayer) else _OF_ENCODER
    weights: dict[str, Tensor] = {}
    for theirs, ours in table["attentions"].items():
        weights |= {f"{ours}.{name}": tensor for name, tensor in _read_attention(getattr(layer, theirs)).items()}
    for theirs, ours in _FEED_FORWARD.items():
        linear = getattr(layer, theirs)
        check_plain(linear)
        weights |= _named(ours, linear.weight, linear.bias)
    eps = set()
    for theirs, ours in table["norms"].items():
        found, tensors = _read_norm(getattr(layer, theirs), theirs)
        eps.add(found)
        weights |= {f"{ours}.norm.{name}": tensor for name, tensor in tensors.items()}
    attentions = [getattr(layer, name) for name in table["attentions"]]
    drops = [getattr(layer, f"dropout{i + 1}") for i in range(len(table["norms"]))]
    biases = {tensor is not None for part in attentions for tensor in (part.in_proj_bias, part.out_proj.bias)}
    biases |= {linear.bias is not None for linear in (parts.linear1, parts.linear2)}
    shape = {
        "d_model": attentions[0].embed_dim,
        "num_heads": _one("num_heads", {part.num_heads for part in attentions}),
        "ffn_dim": parts.linear1.out_features,
        "activation": _activation(parts.activation),
        "norm_eps": _one("eps", eps),
        "norm_placement": "pre" if parts.norm_first else "post",
        "bias": _one("bias", biases),
        "dropout": _one("dropout", {part.p for part in drops}),
        "attention_dropout": _one("attention dropout", {part.dropout for part in attentions}),
        "activation_dropout": parts.dropout.p,
    }
    return shape, weights


def _one(name: str, values: set[Any]) -> Any:
    """The common value of all parts of a layer; ConfigError if they differ."""
    if len(values) > 1:
        raise ConfigError(
            f"the parts of a layer that is read must have one `{name}`, but have "
            f"{', '.join(map(str, sorted(values)))}. Make them equal."
        )
    return next(iter(values))


def _activation(found: Any) -> str:
    if isinstance(found, nn.Module):
        name = _MODULES.get(type(found))
        name = None if isinstance(found, nn.GELU) and found.approximate != "none" else name
    else:
        name = _FUNCTIONS.get(found)
    if name is None:
        called = getattr(found, "__name__", None) or repr(found)
        raise ConfigError(
            f"the activation of a layer that is read must be relu, gelu or silu, but is {called:.80}. Build the "
            "network from parts of antiphon.nn."
        )
    return name


def _read_attention(module: nn.MultiheadAttention) -> dict[str, Tensor]:
    """The weights of its projections, separated."""
    check_plain(module)
    extra = {
        "bias_k": module.bias_k is not None, "add_zero_attn": module.add_zero_attn,
        "kdim or vdim": not module._qkv_same_embed_dim,
    }  # fmt: skip
    for name in (name for name, found in extra.items() if found):
        raise ConfigError(
            f"an attention that is read must have no {name}, which ours do not have. Keep it as it is: give the "
            "torch.nn.MultiheadAttention itself as an attention."
        )
    check_plain(module.out_proj)
    found = _named("o", module.out_proj.weight, module.out_proj.bias)
    biases = (None, None, None) if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
    for name, weight, bias in zip("qkv", module.in_proj_weight.chunk(3), biases, strict=True):
        found |= _named(name, weight, bias)
    return found


def _read_norm(module: nn.Module, name: str) -> tuple[float, dict[str, Tensor]]:
    """Its `eps` and its weights; ones and zeros for missing ones."""
    if not isinstance(module, nn.LayerNorm) or len(module.normalized_shape) != 1:
        raise ConfigError(
            f"the norms of a Transformer that is read must be torch.nn.LayerNorm over the features, but `{name}` is "
            f"{module!r:.80}. Build the network from parts of antiphon.nn."
        )
    check_plain(module)
    size = module.normalized_shape
    weight: Tensor | None = module.weight
    bias: Tensor | None = module.bias
    weight = torch.ones(size, requires_grad=True) if weight is None else weight
    return module.eps, {"weight": weight, "bias": torch.zeros(size, requires_grad=True) if bias is None else bias}


def _named(name: str, weight: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
    return {f"{name}.weight": weight} if bias is None else {f"{name}.weight": weight, f"{name}.bias": bias}
