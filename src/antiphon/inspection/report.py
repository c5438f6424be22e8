"""The result of an inspection, which shows itself in a terminal, as a page and in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from antiphon.inspection.contents import InspectionContents
from antiphon.inspection.page import page
from antiphon.inspection.panel import notebook_panel
from antiphon.inspection.terminal import as_text


@dataclass(frozen=True)
class Inspection(InspectionContents):
    """What `antiphon.inspect` returns. It shows itself in a notebook; `text()` and `to_html()` are for elsewhere."""

    def text(self, width: int = 80) -> str:
        """The report for a terminal of `width` columns."""
        return as_text(self, width=width)

    def to_html(self, path: str | Path) -> Path:
        """Write the report as one self-contained HTML file and return its path."""
        path = Path(path)
        path.write_text(page(self), encoding="utf-8")
        return path

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        pairs = self.splits[0].read if self.splits else 0
        return f"Inspection({self.recipe!r}: {pairs:,} pairs, {len(self.findings)} findings)"

    def _repr_html_(self) -> str:
        """The report, for notebooks."""
        return notebook_panel(self)
