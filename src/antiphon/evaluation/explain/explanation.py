"""The result of `explain`, which shows itself: in a terminal, in a notebook, as a page.

found = explain(model, "in 3 hours")
print(found)                            # as `antiphon explain` prints it
found.save("explanation.html")
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from antiphon.errors import ConfigError
from antiphon.evaluation.explain.attributions import Attributions
from antiphon.evaluation.explain.page import page, write
from antiphon.evaluation.explain.shown import shown
from antiphon.evaluation.explain.terminal import lines

ENDINGS = (".html", ".json")


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Attributions):
    """Attributions that show themselves: `print`, the last expression of a notebook's cell, `save`."""

    def save(self, file: str | Path) -> Path:
        """Write a self-contained `.html` page, or `.json`; ConfigError for another ending."""
        return write(self, check_ending(file))

    def to_html(self) -> str:
        """A self-contained HTML page, which loads nothing."""
        return page(self)

    def _repr_html_(self) -> str:
        """The explanation as HTML for notebooks."""
        return shown(self)

    def __str__(self) -> str:
        return "\n".join(line.plain for line in lines(self))

    def __repr__(self) -> str:
        return f"Explanation({self.method}, {self.source!r:.60} -> {self.answer!r:.60}, {len(self.units)} words)"


def check_ending(file: str | Path) -> Path:
    """The file of an explanation as a path; ConfigError for an unsupported ending."""
    if Path(file).suffix.lower() not in ENDINGS:
        raise ConfigError(f"an explanation must be a {' or '.join(ENDINGS)} file, but is `{file}`.")
    return Path(file)
