"""What `make torture` runs: the files whose tests have counts, and those of the rows of rows.toml, short ones first.

for file in order(files(), records): …
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torture.records import ROOT, Record

COUNTS = ROOT / "tests" / "counts.toml"
# A guess for a file that was never run: this, times how much larger its counts are than in `make test`.
SECONDS_A_COUNT = 2.0


@dataclass(frozen=True)
class Row:
    """A promise, its figure, and the tests that show it: files, or FILE::FUNCTION."""

    number: int
    promise: str
    asked: str
    tests: tuple[str, ...]

    @property
    def files(self) -> list[str]:
        return list(dict.fromkeys(test.partition("::")[0] for test in self.tests))


def rows() -> list[Row]:
    """All rows of rows.toml, by number."""
    table = tomllib.loads(Path(__file__).with_name("rows.toml").read_text(encoding="utf-8"))
    return [Row(each["number"], each["promise"], each["asked"], tuple(each["tests"])) for each in table["row"]]


def counts_of(file: str) -> dict[str, dict[str, int]]:
    """The counts that a test file uses, as counts.toml has them: `test` and `torture`."""
    used = re.findall(r'\b(?:count|parts)\("(\w+)"', (ROOT / file).read_text(encoding="utf-8"))
    return {name: row for name, row in tomllib.loads(COUNTS.read_text(encoding="utf-8")).items() if name in used}


def files() -> list[str]:
    """Each test file with counts, and each that a row names, relative to the repository."""
    named = {file for row in rows() for file in row.files}
    found = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "tests").rglob("test_*.py"))]
    return [file for file in found if file in named or counts_of(file)]


def order(chosen: Iterable[str], records: Sequence[Record]) -> list[tuple[str, float]]:
    """The files with the seconds that each is expected to take, shortest first."""
    known = {record.file: record.seconds for record in records if not record.left}
    return sorted(((file, known.get(file, _guess(file))) for file in chosen), key=lambda pair: (pair[1], pair[0]))


def _guess(file: str) -> float:
    return SECONDS_A_COUNT * (1 + sum(row["torture"] / row["test"] for row in counts_of(file).values()))
