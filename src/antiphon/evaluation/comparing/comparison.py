"""The result of a comparison, which shows itself."""

from __future__ import annotations

from antiphon.evaluation.comparing.figures import ComparisonFigures
from antiphon.evaluation.comparing.page import notebook_panel, whole_page
from antiphon.evaluation.comparing.terminal import as_text


class Comparison(ComparisonFigures):
    """Systems compared on one test set. In a notebook it shows itself; `table` and `to_html()` are for elsewhere."""

    @property
    def table(self) -> str:
        """The comparison as text of at most 80 columns."""
        return as_text(self)

    def to_html(self) -> str:
        """A whole page, which needs no other file."""
        return whole_page(self)

    def _repr_html_(self) -> str:
        """Scores, verdicts and groups, as HTML for notebooks."""
        return notebook_panel(self)
