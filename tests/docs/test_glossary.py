"""docs/glossary.md: every path exists, every term is listed once, and classes are in the files given for them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split(" | ")]
    for line in (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith(("| term", "|---"))
]


def test_terms() -> None:
    terms = [row[0] for row in ROWS]
    assert len(terms) >= 60 and len(set(terms)) == len(terms)
    assert all(len(row) == 3 and row[1].endswith((".", "...")) for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_paths_and_names(row: list[str]) -> None:
    term, meaning, where = row
    path = ROOT / where.strip("`")
    assert path.exists(), f"{where} of `{term}` is not there"
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    for name in re.findall(r"\(`([A-Z][A-Za-z]+)`", meaning):  # classes
        assert re.search(rf"^class {name}\b", source, re.MULTILINE), f"{where} does not define {name}"
