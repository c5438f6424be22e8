"""Traces the parts of a network with torch.export, for any number of rows and any lengths.

with exportable(network):
    traced = trace(network)         # traced.encoder, traced.source_keys, traced.step
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from antiphon.batch import Tokens
from antiphon.export.onnx.graphs import EncoderPart, SourceKeys, Step
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.attention import Attention
from antiphon.nn.mixers import Memory
from antiphon.nn.positions import Sinusoidal

# Sizes of the tensors that are traced. torch.export takes 0 and 1 for fixed sizes.
_ROWS, _SOURCE, _NEW, _PAST = 2, 7, 3, 5
_ANY = Dim.DYNAMIC  # any size; an error where the trace would hold for one size alone


@dataclass(frozen=True, slots=True)
class LayerState:
    """The tensors that a decoder layer stores, by name: of the target (heads, width), and of the source, with the
    sizes of a dimension or its name."""

    own: dict[str, tuple[int, int]]
    cross: dict[str, tuple[int | str, ...]]


@dataclass(frozen=True, slots=True)
class Traced:
    """The programs of a network, and the shapes of the tensors that its decoder stores for each layer."""

    encoder: ExportedProgram
    source_keys: ExportedProgram
    step: ExportedProgram
    layers: list[LayerState]
    features: int | None = None  # of a frame, if sources are sound


@contextlib.contextmanager
def exportable(network: EncoderDecoder) -> Iterator[None]:
    """Within the context the network computes attention by its definition, and sinusoids from a table."""
    changed: list[tuple[nn.Module, str, Any]] = []

    def put(module: nn.Module, name: str, value: Any) -> None:
        changed.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    training = network.training
    network.eval()
    try:
        for module in network.modules():
            if isinstance(module, Attention):
                put(module, "backend", "eager")
        for front in (network.source, network.target):
            if isinstance(front.positions, Sinusoidal):
                put(front, "positions", TablePositions(front.positions, network.max_length))
        with torch.no_grad():
            yield
    finally:
        for module, name, value in reversed(changed):
            setattr(module, name, value)
        network.train(training)


class TablePositions(nn.Module):
    """Sinusoids from a table: they are float64 in some checkpoints, which browsers do not compute."""

    values: Tensor

    def __init__(self, positions: Sinusoidal, max_length: int) -> None:
        super().__init__()
        zeros = torch.zeros(1, 1, positions.dim)
        values = positions(zeros, torch.arange(max_length)[None])[0]
        self.register_buffer("values", values, persistent=False)

    def forward(self, x: Tensor, pos: Tensor) -> Tensor:
        return x + self.values[pos.clamp(min=0)]


def trace(network: EncoderDecoder) -> Traced:
    """Trace a network within `exportable`. Errors of torch.export, or of a part of the user's, are not caught."""
    ids = torch.zeros(_ROWS, _SOURCE, dtype=torch.long)
    mask = torch.ones(_ROWS, _SOURCE, dtype=torch.long)
    mask[1, -2:] = 0
    rows = {0: _ANY, 1: _ANY}
    layers = describe_layers(network)
    encoder = EncoderPart(network)
    hidden = encoder(ids, mask)
    keys = SourceKeys(network)
    source = keys(hidden, mask)
    past = [torch.zeros(_ROWS, heads, _PAST, dim) for layer in layers for heads, dim in layer.own.values()]
    step_args = (torch.zeros(_ROWS, _NEW, dtype=torch.long), mask, *past, *source)
    shapes = [shape for layer in layers for shape in layer.cross.values()]
    along = (
        *({0: _ANY, 2: _ANY} for _ in past),
        *({i: _ANY for i, size in enumerate(shape) if isinstance(size, str)} for shape in shapes),
    )
    return Traced(
        _traced(encoder, (ids, mask), (rows, rows)),
        _traced(keys, (hidden, mask), (rows, rows)),
        _traced(Step(network, [list(layer.cross) for layer in layers]), step_args, (rows, rows, along)),
        layers,
    )


def _traced(part: nn.Module, given: tuple[Tensor, ...], dims: tuple[Any, ...]) -> ExportedProgram:
    import torch._dynamo  # torch.export imports it too

    # Its cache of the shapes that operators give is keyed by symbols here: that takes longer than asking them again,
    # a third of the whole time.
    with torch._dynamo.config.patch(fake_tensor_cache_enabled=False):
        return torch.export.export(part, given, dynamic_shapes=dims, strict=False)


def describe_layers(network: EncoderDecoder) -> list[LayerState]:
    """What each decoder layer stores."""
    short, long = (_memory(network, length) for length in (2, 3))
    found, layers = [], cast("Any", network.decoder.layers)
    for layer in layers:
        own = layer.mixer.begin(1, 4).hypothesis
        pair = [layer.cross.begin(1, 0, memory).source for memory in (short, long)]
        cross = {name: _named(leaf.shape, pair[1][name].shape) for name, leaf in pair[0].items()}
        found.append(LayerState({name: (leaf.shape[1], leaf.shape[3]) for name, leaf in own.items()}, cross))
    return found


def _memory(network: EncoderDecoder, length: int) -> Memory:
    hidden = torch.zeros(1, length, network.decoder.memory_width)
    return Memory(hidden, Tokens(torch.arange(length)[None]))


def _named(short: Iterable[int], long: Iterable[int]) -> tuple[int | str, ...]:
    """The shape of a tensor of the source; a size that follows the length of the source is a name."""
    sizes = [a if a == b else "encoder_sequence_length" for a, b in zip(short, long, strict=True)]
    return ("batch_size", *sizes[1:])
