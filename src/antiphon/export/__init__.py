"""Export of models for other inference engines."""

from __future__ import annotations

from antiphon.export.ctranslate2 import export_ctranslate2

__all__ = ["export_ctranslate2"]
