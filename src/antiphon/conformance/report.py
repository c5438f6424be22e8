"""The result of a check: a table of laws, and the error for the first broken one."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Literal

from antiphon.display import badge, panel, table
from antiphon.display.colours import BAD, GOOD, NEUTRAL
from antiphon.errors import AttentionError


@dataclass(frozen=True)
class LawResult:
    """The result of one law in one role.

    `difference` is the largest difference between values that must be equal, `where` its location. `reason` is why the
    law was skipped, or what is wrong if there is no difference.
    """

    law: str
    role: str
    verdict: Literal["pass", "fail", "skip"]
    says: str
    difference: float | None = None
    where: str = ""
    reason: str = ""

    @property
    def explanation(self) -> str:
        """The location of the difference, or the reason why there is none."""
        return self.reason or (self.where if self.verdict == "fail" else "")


class BrokenLaw(AttentionError):
    """Raised if an attention breaks a law; `table` has the results of all laws."""

    def __init__(self, message: str, table: LawTable) -> None:
        super().__init__(message)
        self.table = table


@dataclass(frozen=True)
class LawTable:
    """The results for `name`, one law a row."""

    name: str
    rows: list[LawResult] = field(default_factory=list)

    @property
    def failures(self) -> list[LawResult]:
        """The laws that are broken."""
        return [row for row in self.rows if row.verdict == "fail"]

    def require(self) -> LawTable:
        """Return this table; raise BrokenLaw, with the first broken law, its difference and location, if there is
        one."""
        broken = self.failures
        if not broken:
            return self
        row = broken[0]
        what = row.reason or f"the largest difference is {_number(row.difference)}, at {row.where}"
        also = ", ".join(f"`{name}`" for name in dict.fromkeys(other.law for other in broken[1:]) if name != row.law)
        rest = f" It also breaks {also}." if also else ""
        raise BrokenLaw(
            f"{self.name} in the {row.role} role breaks the law `{row.law}` ({row.says}): {what}.{rest}", self
        )

    def as_json(self) -> dict[str, object]:
        """The table as JSON values; an infinite difference is the text `inf`."""
        rows = [asdict(row) for row in self.rows]
        for row in rows:
            if row["difference"] is not None and math.isinf(row["difference"]):
                row["difference"] = "inf"
        return {"attention": self.name, "passed": not self.failures, "rows": rows}

    def __repr__(self) -> str:
        return f"Table({self.name}: {self._counts()})"

    def _repr_html_(self) -> str:
        """The table as HTML for notebooks."""
        colours = {"pass": GOOD, "fail": BAD, "skip": NEUTRAL}
        rows = [
            [
                badge(row.verdict, colours[row.verdict]),
                row.law,
                row.role,
                _number(row.difference),
                row.explanation or row.says,
            ]
            for row in self.rows
        ]
        heads = ["verdict", "law", "role", "largest difference", "where, why not, or what the law says"]
        return panel(f"{self.name}: {self._counts()}", table(heads, rows, right={3}))

    def _counts(self) -> str:
        count = {verdict: sum(row.verdict == verdict for row in self.rows) for verdict in ("pass", "fail", "skip")}
        return ", ".join(f"{number} {verdict}" for verdict, number in count.items())

    def __str__(self) -> str:
        cells = [("law", "role", "verdict", "largest difference", "where, or why not")]
        cells += [(row.law, row.role, row.verdict, _number(row.difference), row.explanation) for row in self.rows]
        widths = [max(len(line[i]) for line in cells) for i in range(4)]
        lines = [
            "  ".join([*(cell.ljust(w) for cell, w in zip(line, widths, strict=False)), line[4]]).rstrip()
            for line in cells
        ]
        return "\n".join([f"{self.name}: {self._counts()}", *lines])


def _number(value: float | None) -> str:
    return "" if value is None else "0" if value == 0 else f"{value:.2g}"
