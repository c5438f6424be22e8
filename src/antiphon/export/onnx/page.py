"""The README of an exported folder."""

from __future__ import annotations

from antiphon.export.onnx.metadata import OnnxMetadata


def page(metadata: OnnxMetadata, *, name: str) -> str:
    return name
