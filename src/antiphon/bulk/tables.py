"""Rows of tables with their answers, as lines of a .csv, .tsv or .jsonl file.

antiphon.data is imported only when there is a table, since lines of text do not need it.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol

from antiphon.errors import DataError, UsageError, argument

if TYPE_CHECKING:
    from antiphon.data.lines import DataPlace
    from antiphon.data.whole_rows import InputTable, TableRow

KINDS = (".csv", ".tsv", ".jsonl")
DETAILS = ("tokens", "score", "confidence", "finished", "probabilities", "alternatives")  # beside the text


class Placed(Protocol):
    """A row that has a location."""

    @property
    def place(self) -> DataPlace: ...


def is_table(path: str) -> bool:
    """Whether a file is a table by its name: .csv, .tsv or .jsonl, each also .gz or .zst."""
    return PurePath(path.removesuffix(".gz").removesuffix(".zst")).suffix.lower() in KINDS


@dataclass(frozen=True, kw_only=True)
class AnsweredTable:
    """Formats the rows of `table` with their answers: in the format `kind`, with the answer in the column `target`.

    `names`: the columns of the input, None without a header. `details`: add all keys of --json.
    """

    table: InputTable
    kind: str
    target: str
    names: list[str] | None
    details: bool = False

    def __post_init__(self) -> None:
        if self.details and self.target in DETAILS:
            name, details = argument("added_field", flag="`--target-field`"), argument("details", flag="--json")
            raise UsageError(f"{name} must be no key that {details} adds, but is `{self.target}`. Rename it.")
        names = self.names or []
        first = "first row" if self.table.kind == ".jsonl" else "header"
        self._refuse_names(names, f"the {first} of `{self.table.path}`", UsageError)
        twice = next((name for name in names if names.count(name) > 1), None)
        if self.kind == ".jsonl" and twice is not None:
            raise UsageError(
                f"the columns must have different names in .jsonl, but two of `{self.table.path}` are `{twice}`. "
                f"{_give_output()} .csv or .tsv."
            )

    def first_line(self) -> str:
        """The header line; empty if there is none."""
        if self.kind == ".jsonl" or not self.names:
            return ""
        return self._cells_line([*self.names, self.target])

    def line(self, whole: TableRow, answer: Mapping[str, Any]) -> str:
        """A row with its answer as a line of text, with line feed; `answer` has the keys of --json."""
        if self.kind != ".jsonl":
            text = re.sub(r"[\t\n\r]", " ", answer["text"]) if self.kind == ".tsv" else answer["text"]
            return self._cells_line([*self._cells(whole), text])
        added = {self.target: answer["text"]}
        if self.details:
            added |= {key: answer[key] for key in DETAILS if key in answer}
        if not whole.line:
            return json.dumps({**dict(zip(whole.names, whole.values, strict=True)), **added}, ensure_ascii=False) + "\n"
        # The original line is kept, since numbers with many digits would change in a round trip through Python.
        front = whole.line.rstrip()[:-1].rstrip()
        comma = ", " if whole.names else ""
        return f"{front}{comma}{json.dumps(added, ensure_ascii=False)[1:]}\n"

    def check(self, whole: TableRow, place: DataPlace) -> None:
        """Raise DataError if the format cannot represent a row, or if the row has a key that would be added."""
        if self.kind == ".jsonl":
            self._refuse_names(whole.names, f"a row ({place})", DataError)
        elif self.table.kind == ".jsonl":
            strange = [name for name in whole.names if self.names is not None and name not in self.names]
            if strange:
                have = ", ".join(f"`{name}`" for name in self.names or [])
                raise DataError(
                    f"the rows of a {self.kind} file must have the keys of the first one ({have}), but one has "
                    f"`{strange[0]}` ({place}). {_give_output()} .jsonl."
                )
        if self.kind == ".tsv":
            for name, cell in zip(self.names or whole.names, self._cells(whole), strict=True):
                if "\t" in cell or "\n" in cell:
                    raise DataError(
                        f"a cell of a .tsv file must hold no tab and no newline, but that of `{name}` does ({place}). "
                        f"{_give_output()} .csv or .jsonl."
                    )

    def _refuse_names(self, names: Sequence[str], where: str, error: type[Exception]) -> None:
        for name in (self.target, *(DETAILS if self.details else ())):
            if name in names:
                other = argument("added_field", flag="--target-field")
                drop = f"Rename it, or drop {argument('details', flag='--json')}."
                remedy = f"Choose another {other}." if name == self.target else drop
                raise error(f"{where} must not have the column `{name}` yet, which the answer adds. {remedy}")

    def _cells(self, whole: TableRow) -> list[str]:
        if self.table.kind != ".jsonl":
            return list(whole.values)
        found = dict(zip(whole.names, whole.values, strict=True))
        return [_cell(found.get(name)) for name in self.names or []]

    def _cells_line(self, cells: list[str]) -> str:
        if self.kind == ".tsv":
            return "\t".join(cells) + "\n"
        text = io.StringIO()
        csv.writer(text, lineterminator="\r\n").writerow(cells)  # quotes cells with either character
        return text.getvalue().removesuffix("\r\n") + "\n"


@contextmanager
def placed(rows: Sequence[Placed], first_row: int) -> Iterator[None]:
    """Add the location of the row to a DataError about an input, or a source or a target, which has only its number,
    from 1."""
    try:
        yield
    except DataError as error:
        found = re.search(r"\b(input|source|target) (\d+)\b", str(error))
        number = int(found[2]) - 1 - first_row if found else -1
        if found is None or not 0 <= number < len(rows):
            raise
        raise DataError(f"{error} {found[0].capitalize()} is the row at {rows[number].place}.") from error


def _cell(value: Any) -> str:
    """A JSON value as a cell: texts unchanged, null as an empty cell, other values as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _give_output() -> str:
    return f"Give an {argument('output', flag='--output')} that ends in"
