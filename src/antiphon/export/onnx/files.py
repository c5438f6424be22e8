"""The ONNX models of a traced network, with the names that optimum and transformers.js give files and tensors.

    models = ModelWriter(network, traced).models()
    with_decoder(models, "merged")                  # {"encoder_model": …, "decoder_model_merged": …}

`encoder_model`: input_ids, attention_mask -> last_hidden_state. `decoder_model`, the first step: input_ids,
encoder_hidden_states, encoder_attention_mask -> logits and present.N.{decoder,encoder}.{key,value}.
`decoder_with_past_model`, further steps: input_ids, encoder_attention_mask and past_key_values.N.… -> logits and
present.N.decoder.{key,value}. `decoder_model_merged` has both, chosen by the input use_cache_branch.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx
import torch

from antiphon.export.onnx import operators as _operators  # noqa: F401  (enters the operators)
from antiphon.export.onnx.builder import GraphBuilder, Value
from antiphon.export.onnx.graphs import LEAF_NAMES
from antiphon.export.onnx.lowering import lower
from antiphon.export.onnx.merging import merged
from antiphon.export.onnx.tracing import LayerState, Traced
from antiphon.models.front import InputEmbedding
from antiphon.models.seq2seq import EncoderDecoder

ENCODER, FIRST, NEXT, MERGED = "encoder_model", "decoder_model", "decoder_with_past_model", "decoder_model_merged"
_ROWS, _SOURCE, _TARGET, _PAST = "batch_size", "encoder_sequence_length", "decoder_sequence_length", "past_length"
_PRESENT = "past_length + decoder_sequence_length"


class ModelWriter:
    """Makes the ONNX models of one network. `int8`: for quantization, see `GraphBuilder`."""

    def __init__(self, network: EncoderDecoder, traced: Traced, *, int8: bool = False) -> None:
        self.network, self.traced, self.int8 = network, traced, int8
        tables = (network.source, network.target)
        self.tables = frozenset(id(front.table.weight) for front in tables if isinstance(front, InputEmbedding))

    def models(self) -> dict[str, onnx.ModelProto]:
        """The encoder and both decoder steps."""
        return {ENCODER: self.encoder(), FIRST: self.first(), NEXT: self.next()}

    def _graph(self, name: str) -> GraphBuilder:
        return GraphBuilder(name, tables=self.tables, int8=self.int8)

    def encoder(self) -> onnx.ModelProto:
        """Source ids, or features, to the memory."""
        graph = self._graph("encoder")
        if self.traced.features:
            given = [graph.input("input_features", torch.float32, (_ROWS, self.traced.features, "frames"))]
        else:
            given = [graph.input(name, torch.int64, (_ROWS, _SOURCE)) for name in ("input_ids", "attention_mask")]
        (hidden,) = lower(graph, self.traced.encoder, given)
        graph.output("last_hidden_state", hidden, (_ROWS, _SOURCE, self.network.decoder.memory_width))
        return graph.model()

    def first(self) -> onnx.ModelProto:
        """The first step: what the layers store of the source is computed, and there is no past."""
        graph, layers = self._graph("first_step"), self.traced.layers
        mask = self._mask(graph)
        ids = graph.input("input_ids", torch.int64, (_ROWS, _TARGET))
        width = self.network.decoder.memory_width
        hidden = graph.input("encoder_hidden_states", torch.float32, (_ROWS, _SOURCE, width))
        source = lower(graph, self.traced.source_keys, [hidden, *mask])
        rows = graph.emit("Shape", ids.name, start=0, end=1)
        zero = graph.constant(torch.zeros(1, 1, 1, 1))
        past = []
        for layer in layers:
            for heads, dim in layer.own.values():
                shape = graph.emit("Concat", rows, graph.ints(heads, 0, dim), axis=0)
                past.append(Value(graph.emit("Expand", zero, shape), torch.float32))
        logits, *own = lower(graph, self.traced.step, [ids, *mask, *past, *source])
        graph.output("logits", logits, (_ROWS, _TARGET, self.network.vocab_size))
        self._presents(graph, own, source)
        return graph.model()

    def next(self) -> onnx.ModelProto:
        """Further steps."""
        graph = self._graph("next_step")
        mask = self._mask(graph)
        ids = graph.input("input_ids", torch.int64, (_ROWS, _TARGET))
        own, source = stored_inputs(graph, self.traced.layers)
        logits, *found = lower(graph, self.traced.step, [ids, *mask, *own, *source])
        graph.output("logits", logits, (_ROWS, _TARGET, self.network.vocab_size))
        self._presents(graph, found, None)
        return graph.model()

    def _mask(self, graph: GraphBuilder) -> list[Value]:
        """The mask of the source as an input; sound has none, since each recording is padded to the same length."""
        return [] if self.traced.features else [graph.input("encoder_attention_mask", torch.int64, (_ROWS, _SOURCE))]

    def _presents(self, graph: GraphBuilder, own: Iterable[Value], source: Iterable[Value] | None) -> None:
        own, source = iter(own), None if source is None else iter(source)
        for i, layer in enumerate(self.traced.layers):
            for name, (heads, dim) in layer.own.items():
                graph.output(tensor_name("present", i, "decoder", name), next(own), (_ROWS, heads, _PRESENT, dim))
            if source is not None:
                for name in layer.cross:
                    graph.output(tensor_name("present", i, "encoder", name), next(source), layer.cross[name])


def tensor_name(kind: str, layer: int, side: str, leaf: str) -> str:
    """`present.0.decoder.key`, for example."""
    return f"{kind}.{layer}.{side}.{LEAF_NAMES.get(leaf, leaf)}"


def stored_inputs(graph: GraphBuilder, layers: list[LayerState]) -> tuple[list[Value], list[Value]]:
    """Inputs for what the layers store of the target and of the source, in the order of `Step`."""
    own, source = [], []
    for i, layer in enumerate(layers):
        for name, (heads, dim) in layer.own.items():
            shape = (_ROWS, heads, _PAST, dim)
            own.append(graph.input(tensor_name("past_key_values", i, "decoder", name), torch.float32, shape))
        for name in layer.cross:
            key = tensor_name("past_key_values", i, "encoder", name)
            source.append(graph.input(key, torch.float32, layer.cross[name]))
    return own, source


def with_decoder(models: dict[str, onnx.ModelProto], decoder: str) -> dict[str, onnx.ModelProto]:
    """The models to write: `decoder` is "merged", one file for both steps, or "separate"."""
    if decoder == "separate":
        return models
    return {ENCODER: models[ENCODER], MERGED: merged(models[FIRST], models[NEXT])}
