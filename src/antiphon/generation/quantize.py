"""Quantized models: the weights of a loaded network in eight bits, for faster answers on a CPU from less memory.

    model = load("runs/demo", quantize="int8")

The tables of embeddings keep their numbers; where one is the output's table too, that use of it has a copy in 8 bits.
"""

from __future__ import annotations

import torch

from antiphon.errors import ConfigError, ModelError, argument
from antiphon.generation.ensemble import Ensemble
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.registry import nearest
from antiphon.runtime.quantized import Int8Linear, quantize_linears
from antiphon.settings import show

QUANTIZED = ("int8",)


def check_quantize(kind: str, *, device: torch.device, dtype: object) -> None:
    """ConfigError where nothing can be quantized so."""
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
            f"`quantize` and `dtype` must not both say how weights are held, but are {kind} and "
            f"{str(dtype).removeprefix('torch.')}. Give one of them."
        )


def quantize(network: EncoderDecoder) -> None:
    """The weights of `network`, or of the members of an ensemble, become int8 in place, where they are not yet."""
    for part in network.parts if isinstance(network, Ensemble) else [network]:
        if part.head is None:
            part.head = Int8Linear(part.output.weight, part.output_bias)
        quantize_linears(part)


def is_quantized(network: torch.nn.Module) -> bool:
    """Whether weights were given up for rounded ones."""
    return any(isinstance(module, Int8Linear) for module in network.modules())


def check_whole(network: torch.nn.Module, doing: str) -> None:
    """ModelError where `doing` needs the weights that a quantized network has not."""
    if is_quantized(network):
        raise ModelError(f"{doing} needs the model's own weights, but it was quantized. Load it without `quantize`.")
