"""An ONNX graph under construction: nodes, initializers by content, and the dimensions of its inputs.

    graph = GraphBuilder("decoder")
    ids = graph.input("input_ids", torch.int64, ("batch", "tokens"))
    graph.output("logits", graph.emit("Identity", ids.name), torch.float32, (...))
    model = graph.model()

`onnx.helper` makes the protobuf messages. A constant is named by its content, so that the branches of a merged decoder
share the weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor

OPSET = 20  # the first with Gelu; onnxruntime 1.18 and later read it
IR_VERSION = 9
KINDS = {
    torch.float32: TensorProto.FLOAT,
    torch.float64: TensorProto.DOUBLE,
    torch.float16: TensorProto.FLOAT16,
    torch.int64: TensorProto.INT64,
    torch.int32: TensorProto.INT32,
    torch.int8: TensorProto.INT8,
    torch.bool: TensorProto.BOOL,
}


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the graph, by name."""

    name: str
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class Size:
    """A whole number that is known when the graph runs, such as a length: an int64 tensor of shape (1,), by name."""

    name: str


class GraphBuilder:
    """Collects nodes and initializers. `names` has the names of weights by the id of their tensor.

    `tables`: the ids of embedding tables. An output that shares one reads it by a Transpose, which onnxruntime
    computes once when it loads the graph. `int8`: for quantization; tables have eight bits and a scale for each row,
    and an output has a transposed copy of its table, since only initializers are quantized.
    """

    def __init__(
        self,
        name: str,
        *,
        tables: frozenset[int] = frozenset(),
        int8: bool = False,
    ) -> None:
        self.name = name
        self.names: dict[int, str] = {}
        self.tables, self.int8 = tables, int8
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._held: list[Tensor] = []  # keeps tensors alive, so that no other gets their id
        self._by_id: dict[int, str] = {}
        self._rows: dict[str, tuple[str, str]] = {}

    def input(self, name: str, dtype: torch.dtype, shape: Sequence[int | str]) -> Value:
        """Add an input of this type and shape; a dimension with a name has any size."""
        self.inputs.append(helper.make_tensor_value_info(name, KINDS[dtype], list(shape)))
        return Value(name, dtype)

    def output(self, name: str, value: Value, shape: Sequence[int | str]) -> None:
        """Make `value` an output called `name`."""
        self.nodes.append(helper.make_node("Identity", [value.name], [name], name=f"output_{name}"))
        self.outputs.append(helper.make_tensor_value_info(name, KINDS[value.dtype], list(shape)))

    def emit(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output, and return the name of the output."""
        return self.emit_many(op, inputs, 1, **attributes)[0]

    def emit_many(self, op: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """Add a node with `count` outputs, and return their names."""
        number = len(self.nodes)
        found = [f"{op.lower()}_{number}" if count == 1 else f"{op.lower()}_{number}_{i}" for i in range(count)]
        self.nodes.append(helper.make_node(op, list(inputs), found, name=f"{op}_{number}", **attributes))
        return found

    def constant(self, value: Tensor, name: str | None = None) -> str:
        """The name of an initializer with these values; `name` None: that of the weight, or one by content."""
        known = self._by_id.get(id(value)) if name is None else None
        if known is not None:
            return known
        data = value.detach().cpu().contiguous()
        raw = data.numpy().tobytes()
        name = name or self.names.get(id(value))
        if name is None:
            digest = hashlib.sha256(f"{data.dtype} {tuple(data.shape)} ".encode() + raw).hexdigest()[:20]
            name = f"constant_{digest}"
        if name not in self.initializers:
            self.initializers[name] = helper.make_tensor(name, KINDS[data.dtype], tuple(data.shape), raw, raw=True)
        self._held.append(value)
        self._by_id[id(value)] = name
        return name

    def transposed(self, weight: Tensor, name: str | None = None) -> str:
        """The name of an initializer with the transposed values of a matrix."""
        key = -id(weight)
        if key not in self._by_id:
            self._by_id[key] = self.constant(weight.detach().T.contiguous(), name)
            self._held.append(weight)
        return self._by_id[key]

    def rows_of(self, table: Tensor, ids: str) -> str:
        """Rows `ids` of a table (V,D) by name."""
        if not self.int8 or id(table) not in self.tables:
            return self.emit("Gather", self.constant(table), ids, axis=0)
        key = self.names[id(table)]
        if key not in self._rows:
            scale = table.detach().abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
            rows = (table.detach() / scale).round().to(torch.int8)
            self._rows[key] = self.constant(rows, f"{key}.int8"), self.constant(scale, f"{key}.scale")
        found = [self.emit("Gather", name, ids, axis=0) for name in self._rows[key]]
        return self.emit("Mul", self.emit("Cast", found[0], to=TensorProto.FLOAT), found[1])

    def ints(self, *values: int) -> str:
        """An int64 initializer of shape (n,)."""
        return self.constant(torch.tensor(values, dtype=torch.int64))

    def graph(self) -> onnx.GraphProto:
        """The finished graph, without nodes whose results nobody reads."""
        needed = {output.name for output in self.outputs}
        kept = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        used = [tensor for name, tensor in self.initializers.items() if name in needed]
        return helper.make_graph(kept[::-1], self.name, self.inputs, self.outputs, initializer=used)

    def model(self) -> onnx.ModelProto:
        """The finished graph as a model."""
        return as_model(self.graph())


def as_model(graph: onnx.GraphProto) -> onnx.ModelProto:
    """A model of one graph, with our name as its producer."""
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="antiphon",
    )
