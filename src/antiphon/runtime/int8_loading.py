"""Loads a network in int8: each weight is quantized as it is read, so that the float weights are never all in memory.

    fill_int8(network, stored, weights)          # instead of fill(network, weights, …) and quantization

Embedding tables stay memory-mapped; only rows that were looked up are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from antiphon.models.folders.stored import WeightFiles, fill, names_of
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.runtime.quantized import Int8Linear, plain_linears, use_short_caches

_MAX_MAPPED_BYTES = 2**23  # of a file, or one weight; mapping a file again takes a millisecond
_MIN_TENSOR_BYTES = 2**18  # counted for any tensor, since the system reads more than is requested


def fill_int8(
    network: EncoderDecoder, stored: WeightFiles, weights: Mapping[str, Callable[[torch.dtype], Tensor]]
) -> None:
    """Fill a network without values (see `fill`); linear layers and the output become int8.

    `weights` are read from `stored`, whose files are mapped again from time to time: data that was read stays in memory
    as long as its map.
    """
    names, held = names_of(network), 0
    linears = {id(linear): (module, name, linear) for module, name, linear in plain_linears(network)}
    made: dict[str, Tensor] = {}

    def read(tensor: Tensor) -> Tensor:
        nonlocal held
        if held > _MAX_MAPPED_BYTES:
            stored.forget()
            held = 0
        held += max(tensor.numel() * 4, _MIN_TENSOR_BYTES)
        return weights[names[id(tensor)]](torch.float32)

    def rounded(weight: Tensor, bias: Tensor | None) -> Int8Linear:
        return Int8Linear(read(weight), None if bias is None else read(bias).clone())

    network.head = rounded(network.output.weight, network.output_bias)
    for part in list(network.modules()):  # approximately in the order of the file
        if id(part) in linears:
            module, name, linear = linears[id(part)]
            setattr(module, name, rounded(linear.weight, linear.bias))
            continue
        for tensor in (*part.parameters(recurse=False), *part.buffers(recurse=False)):
            if tensor.dim() < 2 and names[id(tensor)] in weights:
                made[names[id(tensor)]] = read(tensor).clone()
    stored.forget()
    use_short_caches(network)
    ready = {name: value.to for name, value in made.items()}
    fill(network, {**weights, **ready}, dtype=torch.float32, device="cpu")
