"""Eight-bit weights, by onnxruntime's dynamic quantization: activations are quantized when the graph runs.

Weights are unsigned, by output channel: with signed weights, processors without VNNI add products in 16 bits, which
saturate. Embedding tables are stored in eight bits with one scale a row (`GraphBuilder.rows_of`); the library's own
way has one scale for a whole table.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import onnx

from antiphon.export.onnx.storing import save_model


def quantized(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its matrix products in eight bits."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        save_model(model, source)
        root = logging.getLogger()
        level = root.level
        root.setLevel(logging.ERROR)  # the library advises a preprocessing that changes nothing here
        try:
            quantize_dynamic(
                source,
                target,
                weight_type=QuantType.QUInt8,
                per_channel=True,
                op_types_to_quantize=["MatMul"],
                use_external_data_format=source.with_name(f"{source.name}_data").exists(),
            )
        finally:
            root.setLevel(level)
        return onnx.load(target)
