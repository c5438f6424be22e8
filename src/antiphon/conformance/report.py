"""The verdict: a table of laws, and the error that names the first one that is broken."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Literal

from antiphon.display import badge, panel, table
from antiphon.display.colours import BAD, GOOD, NEUTRAL
from antiphon.errors import AttentionError


@dataclass(frozen=True)
class LawResult:
    """What came of one law in one role.

    `difference` is the largest one found between what must be equal, `where` its place; `reason` tells why a law was
    skipped, or what is wrong where no number says it.
    """

    law: str
    role: str
    verdict: Literal["pass", "fail", "skip"]
    says: str
    difference: float | None = None
    where: str = ""
    reason: str = ""

    @property
    def told(self) -> str:
        """Where the difference was found, or why there is none."""
        return self.reason or (self.where if self.verdict == "fail" else "")


class BrokenLaw(AttentionError):
    """An attention breaks a law; `table` holds the verdict on all of them."""

    def __init__(self, message: str, table: LawTable) -> None:
        super().__init__(message)
        self.table = table


@dataclass(frozen=True)
class LawTable:
    """The verdict on `name`, a law a row."""

    name: str
    rows: list[LawResult] = field(default_factory=list)

    @property
    def failures(self) -> list[LawResult]:
        """The laws that are broken."""
        return [row for row in self.rows if row.verdict == "fail"]

    def require(self) -> LawTable:
        """This table, if no law is broken; BrokenLaw that names the first one, its largest difference and where."""
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
        """Plain values; a difference that is infinite is the text `inf`."""
        rows = [asdict(row) for row in self.rows]
        for row in rows:
            if row["difference"] is not None and math.isinf(row["difference"]):
                row["difference"] = "inf"
        return {"attention": self.name, "passed": not self.failures, "rows": rows}

    def __repr__(self) -> str:
        return f"Table({self.name}: {self._counts()})"

    def _repr_html_(self) -> str:
        """The verdict, a law a row, as a notebook shows it."""
        colours = {"pass": GOOD, "fail": BAD, "skip": NEUTRAL}
        rows = [
            [badge(row.verdict, colours[row.verdict]), row.law, row.role, _number(row.difference), row.told or row.says]
            for row in self.rows
        ]
        heads = ["verdict", "law", "role", "largest difference", "where, why not, or what the law says"]
        return panel(f"{self.name}: {self._counts()}", table(heads, rows, right={3}))

    def _counts(self) -> str:
        count = {verdict: sum(row.verdict == verdict for row in self.rows) for verdict in ("pass", "fail", "skip")}
        return ", ".join(f"{number} {verdict}" for verdict, number in count.items())

    def __str__(self) -> str:
        cells = [("law", "role", "verdict", "largest difference", "where, or why not")]
        cells += [(row.law, row.role, row.verdict, _number(row.difference), row.told) for row in self.rows]
        widths = [max(len(line[i]) for line in cells) for i in range(4)]
        lines = [
            "  ".join([*(cell.ljust(w) for cell, w in zip(line, widths, strict=False)), line[4]]).rstrip()
            for line in cells
        ]
        return "\n".join([f"{self.name}: {self._counts()}", *lines])


def _number(value: float | None) -> str:
    return "" if value is None else "0" if value == 0 else f"{value:.2g}"
