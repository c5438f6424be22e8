"""Writes ONNX models to files; weights beyond protobuf's limit of 2 GiB stand in a file beside (external data)."""

from __future__ import annotations

from pathlib import Path

import onnx

MAX_BYTES = 1_800_000_000  # of weights within a model; protobuf's limit for a message is 2**31 - 1 bytes


def weight_bytes(model: onnx.ModelProto) -> int:
    """The bytes of all weights of a model."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def save_model(model: onnx.ModelProto, file: Path, *, most: int | None = None) -> None:
    """Write a model. With more than `most` (None: `MAX_BYTES`) bytes of weights, these are in `<file>_data`, the name
    that transformers.js looks for."""
    if weight_bytes(model) <= (MAX_BYTES if most is None else most):
        onnx.save_model(model, str(file))
        return
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    onnx.save_model(
        copy, str(file), save_as_external_data=True, all_tensors_to_one_file=True, location=f"{file.name}_data"
    )


def past_shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """The shapes of the inputs past_key_values.… of a decoder, 0 for a size that varies."""
    return {
        each.name: [dim.dim_value for dim in each.type.tensor_type.shape.dim]
        for each in model.graph.input
        if each.name.startswith("past_key_values")
    }
