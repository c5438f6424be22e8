"""Tables in `antiphon generate`: reads the rows of one table in chunks, and continues an output that was cut off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from antiphon.bulk.tables import KINDS, AnsweredTable
from antiphon.cli.streams import MOST_BYTES, MOST_LINES, named
from antiphon.errors import DataError, UsageError

if TYPE_CHECKING:
    from antiphon.data.bad_rows import BadRows
    from antiphon.data.whole_rows import CheckedTableRow


def output_kind(path: str, input_kind: str, *, json: bool) -> str:
    """The format of the output: by the suffix of `path`, else JSONL with `json`, else that of the input."""
    ending = PurePath(path).suffix.lower()
    if ending in (".gz", ".zst", ".parquet"):
        raise UsageError(f"`--output` of a table must end in {', '.join(KINDS)}, but is `{path}`. Choose another name.")
    kind = ending if ending in KINDS else ".jsonl" if json else input_kind
    if json and kind != ".jsonl":
        raise UsageError(f"`--json` needs an `--output` that ends in .jsonl, but it is `{path}`. Drop one of them.")
    return kind


def row_chunks(answered: AnsweredTable, bad: BadRows) -> Iterator[list[CheckedTableRow]]:
    """The rows in lists of at most MOST_LINES or about MOST_BYTES.

    Rows before a bad one are yielded before its error is raised.
    """
    from antiphon.data.bad_rows import readable_rows

    held, batch = 0, []
    try:
        for row, whole in readable_rows(answered.table.rows(), lambda row: row.whole, bad):
            answered.check(whole, row.place)
            batch.append(row)
            held += len(whole.line) or sum(map(len, whole.values))
            if len(batch) >= MOST_LINES or held >= MOST_BYTES:
                yield batch
                held, batch = 0, []
    except DataError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def kept_rows(path: str, answered: AnsweredTable) -> tuple[int, bool]:
    """The number of complete rows in the file `path`, and whether it has a header. An incomplete last row is truncated.

    UsageError if it has another header.
    """
    header = answered.first_line().encode("utf-8", "replace")
    with named(path), Path(path).open("rb+") as stream:
        begin = stream.read(len(header))
        if not header.startswith(begin):
            raise UsageError(
                f"`{path}` must begin with the header `{header.decode().strip()}` to be resumed, but does not. "
                "Give the same --input and --target-field, or another --output."
            )
        end, count, quotes = (len(header) if begin == header else 0), 0, 0
        for line in iter(stream.readline, b"") if begin == header else ():
            quotes += line.count(b'"') if answered.kind == ".csv" else 0  # odd inside a field that spans lines
            if line.endswith(b"\n") and quotes % 2 == 0:
                end, count = stream.tell(), count + 1
        stream.truncate(end)
    return count, begin == header and bool(header)
