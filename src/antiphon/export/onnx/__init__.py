"""Export to ONNX, and a small program that answers from the exported files."""

from __future__ import annotations

from antiphon.export.onnx.exporting import export_onnx
from antiphon.export.onnx.report import OnnxReport
from antiphon.export.onnx.runner import OnnxModel

__all__ = ["OnnxModel", "OnnxReport", "export_onnx"]
