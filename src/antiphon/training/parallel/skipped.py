"""Layers that layer drop skips, on several ranks: which layers are skipped differs from one micro-batch to another.

The ranks reduce the gradient of every weight, so a rank that skipped a layer takes part with zeros. Weights that no
micro-batch of a step used get no gradient, as in one process: the optimizer leaves them alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import DecoderLayer, EncoderLayer
from antiphon.nn.attention import Attention
from antiphon.nn.mixers import Memory
from antiphon.nn.rules import parts_of

Layer = EncoderLayer | DecoderLayer


def layers_of(network: EncoderDecoder) -> list[Layer]:
    """The layers of both stacks."""
    return cast("list[Layer]", [*network.encoder.layers, *network.decoder.layers])


def use_skipped(network: EncoderDecoder) -> None:
    """Let every layer give its weights a gradient, of zeros where it is skipped."""
    for layer in layers_of(network):
        if layer.skip.p:
            layer.register_forward_hook(_use_all)


def leave_unused(network: EncoderDecoder, *, seed: int, step: int, count: int) -> None:
    """Remove the gradients of the weights that none of the `count` micro-batches of the step used."""
    if not any(layer.skip.p for layer in layers_of(network)):
        return
    always = [network.target, network.output, network.decoder.final]
    used = {id(parameter) for module in always for parameter in module.parameters()}
    for number in range(count):
        with network.noise.held((seed, step, number)):
            used |= {id(parameter) for parameter in _used(network)}
    for stack in (network.source, network.encoder, network.decoder):
        for parameter in stack.parameters():
            if id(parameter) not in used:
                parameter.grad = None


def _used(network: EncoderDecoder) -> Iterator[nn.Parameter]:
    """The weights of the source and of both stacks that have a gradient with the present key of the noise."""
    layers = [layer for layer in cast("Iterable[Layer]", network.decoder.layers) if not layer.skip.dropped()]
    if not layers and network.ctc is None:  # nothing reads the memory
        return
    layers += [layer for layer in cast("Iterable[Layer]", network.encoder.layers) if not layer.skip.dropped()]
    for module in (network.source, network.encoder.final, network.encoder.project):
        yield from module.parameters()
    for layer in layers:
        yield from parameters_of(layer)


def parameters_of(layer: Layer) -> Iterator[nn.Parameter]:
    """The weights that a layer uses, also those of rules that its stack owns."""
    yield from layer.parameters()
    for mixer in (layer.mixer, layer.cross) if isinstance(layer, DecoderLayer) else (layer.mixer,):
        for part in parts_of(mixer.rule) if isinstance(mixer, Attention) else ():
            yield from part.parameters()


class _Use(torch.autograd.Function):
    """The first input; the others get a gradient of zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *others: Tensor) -> Tensor:
        ctx.kinds = [(other.shape, other.dtype, other.device) for other in others]
        return x.clone()  # a view would break the hooks of FSDP2

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        zeros = [
            torch.zeros(shape, dtype=dtype, device=device) if needed else None
            for (shape, dtype, device), needed in zip(ctx.kinds, ctx.needs_input_grad[1:], strict=True)
        ]
        return gradients[0], *zeros


def _use_all(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
    """The hook after a layer that was skipped: its weights, and the memory that it would have read, get zeros."""
    own = cast(Layer, layer)
    if not (layer.training and torch.is_grad_enabled() and own.skip.dropped()):
        return output
    memory = [each.hidden for each in inputs if isinstance(each, Memory)]
    x, *rest = output if isinstance(output, tuple) else (output,)
    x = _Use.apply(x, *memory, *parameters_of(own))
    return (x, *rest) if isinstance(output, tuple) else x
