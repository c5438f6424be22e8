"""From a program that torch.export traced to nodes of ONNX.

    lower(graph, program, [ids, mask])          # -> the values of the program's results

Each operator of PyTorch that our networks use has an entry in `LOWERINGS` (operators/). What depends on no input is
computed by PyTorch now. torch.onnx.export does the same for all of PyTorch, in 5 to 9 s of a processor for a decoder
step of two layers where this takes 0.1 s, and by another library (onnxscript).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx.node import map_arg

from antiphon.export.onnx.builder import KINDS, GraphBuilder, Size, Value

Lowering = Callable[..., Any]
LOWERINGS: dict[str, Lowering] = {}
# Checks of PyTorch's own, whose results nobody reads.
_SKIPPED = ("_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range", "sym_constrain_range_for_size")
_AUTOCAST = "size_wrap_with_autocast"


class UnknownOperator(Exception):
    """An operator without a lowering, by its name in PyTorch."""


def lowers(*names: str) -> Callable[[Lowering], Lowering]:
    """Enter a function in `LOWERINGS`. It is called with the `Call` and the arguments of PyTorch's operator."""

    def enter(function: Lowering) -> Lowering:
        for name in names:
            LOWERINGS[name] = function
        return function

    return enter


class Call:
    """One call of an operator: the graph, and what PyTorch knows of the result."""

    def __init__(self, graph: GraphBuilder, node: fx.Node) -> None:
        self.graph, self.node = graph, node

    @property
    def result(self) -> Tensor:
        """The result as PyTorch traced it: its type and shape, without values."""
        return self.node.meta["val"]

    @property
    def dtype(self) -> torch.dtype:
        return self.result.dtype

    def given(self, index: int) -> Tensor:
        """The argument number `index`, as PyTorch traced it."""
        found = self.node.args[index]
        return found.meta["val"] if isinstance(found, fx.Node) else found  # type: ignore[return-value]

    def name(self, value: Any, dtype: torch.dtype | None = None) -> str:
        """The name of a tensor or number in the graph, cast to `dtype` if it is given."""
        if isinstance(value, Value):
            if dtype is None or value.dtype == dtype:
                return value.name
            return self.graph.emit("Cast", value.name, to=_kind(dtype))
        if isinstance(value, Size):
            found = self.graph.emit("Squeeze", value.name, self.graph.ints(0))
            return found if dtype in (None, torch.int64) else self.graph.emit("Cast", found, to=_kind(dtype))
        if isinstance(value, Tensor):
            if dtype is not None and value.dtype != dtype:
                value = value.to(dtype)
            return self.graph.constant(value)
        return self.graph.constant(torch.tensor(value, dtype=dtype))

    def sizes(self, values: Sequence[Any]) -> str:
        """An int64 tensor (n,) of whole numbers, some of which may be `Size`s."""
        if not any(isinstance(value, Size) for value in values):
            return self.graph.ints(*values)
        parts = [value.name if isinstance(value, Size) else self.graph.ints(value) for value in values]
        return parts[0] if len(parts) == 1 else self.graph.emit("Concat", *parts, axis=0)

    def emit(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self.graph.emit(op, *inputs, **attributes)


def _kind(dtype: torch.dtype | None) -> int:
    assert dtype is not None
    return KINDS[dtype]


def missing_operators(program: ExportedProgram) -> list[str]:
    """The names of operators in `program` that have no lowering."""
    modules: Any = program.graph_module.modules()
    nodes = [node for module in modules for node in module.graph.nodes]
    found = {_name_of(node) for node in nodes if node.op == "call_function"}
    return sorted(name for name in found if name not in LOWERINGS and name not in (*_SKIPPED, _AUTOCAST, "getitem"))


def lower(graph: GraphBuilder, program: ExportedProgram, inputs: Sequence[Value]) -> list[Value]:
    """Add the nodes of `program`, called with `inputs`, to `graph`. Returns its results.

    UnknownOperator for an operator without a lowering.
    """
    env = _weights(graph, program)
    return [_as_value(graph, found) for found in _lower_nodes(graph, program.graph_module, env, inputs)]


def _lower_nodes(
    graph: GraphBuilder, module: fx.GraphModule, env: dict[fx.Node, Any], inputs: Sequence[Any]
) -> list[Any]:
    """The results of a module, whose weights are in `env`."""
    given = iter(inputs)
    for node in module.graph.nodes:
        if node.op == "placeholder":
            if node not in env:
                env[node] = next(given)
        elif node.op == "output":
            return [env[result] for result in node.args[0]]
        elif node.op == "call_function":
            env[node] = _lower_node(graph, node, env)
        elif node.op == "get_attr":
            env[node] = getattr(module, str(node.target))
    raise AssertionError("a program has an output")


def _lower_node(graph: GraphBuilder, node: fx.Node, env: dict[fx.Node, Any]) -> Any:
    name = _name_of(node)
    if name in _SKIPPED:
        return None
    args: Any = map_arg(node.args, lambda each: env[each])
    kwargs: Any = map_arg(node.kwargs, lambda each: env[each])
    if not _any_of(args) and not _any_of(kwargs):
        with torch.no_grad():
            return node.target(*args, **kwargs)  # type: ignore[operator]
    if node.target is operator.getitem:
        return args[0][args[1]]
    if name == _AUTOCAST:  # (device, type, enabled, cache, module, inputs …): no type of a float32 network changes
        return _lower_nodes(graph, args[4], {}, args[5:])
    lowering = LOWERINGS.get(name)
    if lowering is None:
        raise UnknownOperator(name)
    found = lowering(Call(graph, node), *args, **kwargs)
    return _wrapped(found, node.meta["val"])


def _wrapped(found: Any, result: Any) -> Any:
    """Names of results as values with their types."""
    if isinstance(found, str):
        return Value(found, result.dtype) if isinstance(result, Tensor) else Size(found)
    if isinstance(found, list):
        return [_wrapped(each, part) for each, part in zip(found, result, strict=True)]
    return found


def _any_of(given: Any) -> bool:
    """Whether an argument depends on the graph's inputs."""
    if isinstance(given, Value | Size):
        return True
    if isinstance(given, slice):
        return any(_any_of(each) for each in (given.start, given.stop, given.step))
    if isinstance(given, dict):
        return any(_any_of(each) for each in given.values())
    return isinstance(given, tuple | list) and any(_any_of(each) for each in given)


def _weights(graph: GraphBuilder, program: ExportedProgram) -> dict[fx.Node, Any]:
    """The weights, buffers and constants of a program by their placeholders. Weights keep their names."""
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    env: dict[fx.Node, Any] = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            continue
        target = spec.target
        assert target is not None
        held = program.state_dict if target in program.state_dict else program.constants
        value = env[nodes[spec.arg.name]] = held[target]
        if spec.kind is not InputKind.CONSTANT_TENSOR:
            graph.names.setdefault(id(value), target.removeprefix("network."))
    return env


def _as_value(graph: GraphBuilder, found: Any) -> Value:
    return found if isinstance(found, Value) else Value(graph.constant(found), found.dtype)


def _name_of(node: fx.Node) -> str:
    """`add` for `aten.add.Tensor` and for Python's `operator.add` on sizes."""
    target = node.target
    if target is operator.getitem:
        return "getitem"
    packet = getattr(target, "overloadpacket", None)
    return packet.__name__ if packet is not None else f"size_{getattr(target, '__name__', target)}"
