"""The operators of PyTorch that can be written in ONNX: importing this enters them in `LOWERINGS`."""

from __future__ import annotations

from antiphon.export.onnx.operators import arithmetic, indexing, layers, shapes

__all__ = ["arithmetic", "indexing", "layers", "shapes"]
