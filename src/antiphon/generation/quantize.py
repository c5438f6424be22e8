"""Quantized models: the weights of a loaded network in eight bits, for faster answers on a CPU from less memory.

    model = load("runs/demo", quantize="int8")

Embedding tables are not quantized; if the output layer shares a table, it uses a copy in 8 bits.
"""

from __future__ import annotations

import torch

from antiphon.errors import ConfigError, ModelError, argument
from antiphon.generation.ensemble import Ensemble
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.registry import nearest
from antiphon.runtime.quantized import Int8Linear, is_quantized, quantize_linears
from antiphon.settings import show

QUANTIZED = ("int8",)


def check_quantize(kind: str, *, device: torch.device, dtype: object) -> None:
    """ConfigError for an unknown kind, another device than the CPU, or another `dtype` than float32."""
    if kind not in QUANTIZED:
        raise ConfigError(
            f"`quantize` must be int8, or left out, but is {show(kind)}{nearest(str(kind), QUANTIZED) or '.'}"
        )
    if device.type != "cpu":
        cpu, half = argument('device="cpu"', flag="--device cpu"), argument('dtype="bfloat16"', flag="--dtype bfloat16")
        raise ConfigError(
            f"`quantize` must be left out on the device {device}: int8 is computed by a CPU. Give {cpu}, or {half}."
        )
    if dtype not in (None, torch.float32):
        raise ConfigError(
            f"`quantize` and `dtype` must not both set the type of weights, but are {kind} and "
            f"{str(dtype).removeprefix('torch.')}. Give one of them."
        )


def quantize(network: EncoderDecoder) -> None:
    """Quantize the weights of `network`, or of the members of an ensemble, to int8 in place, if they are not yet."""
    for part in network.parts if isinstance(network, Ensemble) else [network]:
        if part.head is None:
            part.head = Int8Linear(part.output.weight, part.output_bias)
        quantize_linears(part)


def check_whole(network: torch.nn.Module, doing: str) -> None:
    """ModelError if the network is quantized; `doing` names the operation that needs unquantized weights."""
    if is_quantized(network):
        raise ModelError(f"{doing} needs the model's own weights, but it was quantized. Load it without `quantize`.")
