"""Both decoder steps as one model: an If whose branches share the weights, chosen by the input `use_cache_branch`.

As optimum's `merge_decoders` does it, which transformers.js expects: the inputs are those of both steps. In a step with
past, present.N.encoder.… are empty: who calls keeps those of the first step.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper, numpy_helper

from antiphon.export.onnx.builder import IR_VERSION

CHOICE = "use_cache_branch"


def merged(first: onnx.ModelProto, following: onnx.ModelProto) -> onnx.ModelProto:
    """The model of both steps."""
    initializers: dict[str, TensorProto] = {}
    branches = []
    for prefix, model in (("first", first), ("next", following)):
        graph = onnx.GraphProto()
        graph.CopyFrom(_without_weights(model.graph))
        renamed = _collect(initializers, model.graph, prefix)
        _rename(graph, prefix, renamed, {each.name for each in graph.input})
        branches.append(graph)
    absent, present = branches
    outputs = [output.name for output in first.graph.output]
    known = {output.name: output for output in present.output}
    for output in absent.output:
        if _plain(output.name) not in {_plain(name) for name in known}:
            _add_empty(present, output, initializers)
    for graph in branches:
        order = {_plain(output.name): output for output in graph.output}
        del graph.output[:], graph.input[:], graph.value_info[:]
        graph.output.extend(order[name] for name in outputs)
    choice = helper.make_tensor_value_info(CHOICE, TensorProto.BOOL, [1])
    inputs = {each.name: each for each in (*first.graph.input, *following.graph.input)}
    node = helper.make_node("If", [CHOICE], outputs, name="step", then_branch=present, else_branch=absent)
    graph = helper.make_graph(
        [node], "decoder", [*inputs.values(), choice], list(first.graph.output), initializer=list(initializers.values())
    )
    opsets = {opset.domain: opset for opset in (*first.opset_import, *following.opset_import)}
    return helper.make_model(
        graph, opset_imports=list(opsets.values()), ir_version=IR_VERSION, producer_name="antiphon"
    )


def _without_weights(graph: onnx.GraphProto) -> onnx.GraphProto:
    found = onnx.GraphProto(name=graph.name, input=graph.input, output=graph.output)
    found.node.extend(graph.node)
    return found


def _collect(initializers: dict[str, TensorProto], graph: onnx.GraphProto, prefix: str) -> dict[str, str]:
    """Move the weights of a branch to those of both. Returns the names of weights that differ under one name."""
    renamed = {}
    for tensor in graph.initializer:
        other = initializers.get(tensor.name)
        if other is not None and other.raw_data != tensor.raw_data:
            renamed[tensor.name] = f"{prefix}.{tensor.name}"
            copy = TensorProto()
            copy.CopyFrom(tensor)
            copy.name = renamed[tensor.name]
            initializers[copy.name] = copy
        elif other is None:
            initializers[tensor.name] = tensor
    return renamed


def _rename(graph: onnx.GraphProto, prefix: str, renamed: dict[str, str], inputs: set[str]) -> None:
    """Give the results of a branch names of its own, as the two branches and the outer graph may not share them."""
    made = {name for node in graph.node for name in node.output if name}
    names = {name: f"{prefix}/{name}" for name in made} | renamed
    for node in graph.node:
        node.name = f"{prefix}/{node.name}"
        for i, name in enumerate(node.input):
            node.input[i] = names.get(name, name)
        for i, name in enumerate(node.output):
            node.output[i] = names.get(name, name)
    for output in graph.output:
        output.name = names[output.name]


def _plain(name: str) -> str:
    return name.partition("/")[2]


def _add_empty(graph: onnx.GraphProto, like: onnx.ValueInfoProto, initializers: dict[str, TensorProto]) -> None:
    """Add an output with the name and rank of `like` that has no elements."""
    kind = like.type.tensor_type
    shape = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in kind.shape.dim]
    name = f"next/{_plain(like.name)}"
    empty = helper.make_tensor(f"{name}/empty", kind.elem_type, shape, b"", raw=True)
    assert not numpy_helper.to_array(empty).size
    initializers[empty.name] = empty
    graph.node.append(helper.make_node("Identity", [empty.name], [name], name=f"{name}/none"))
    graph.output.append(helper.make_tensor_value_info(name, kind.elem_type, shape))
