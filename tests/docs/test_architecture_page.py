"""docs/architecture.md names files that exist, and the files that a training step enters."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from structure import PACKAGE, PAGE, ROOT

ON_THE_PATH, ENTERED = 25, 42  # what a reader opens between a text and its loss; fewer is better (14 are aimed at)
ELSEWHERE = ("tests/", "docs/", "benchmarks/", "recipes/", "CHANGELOG.md", "CONTRIBUTING.md", "src/")


def paths_of(page: Path) -> list[str]:
    """The files and folders that a page names in backticks."""
    named = re.findall(r"`([\w./-]+(?:\.py|\.md|\.txt|/))`", page.read_text(encoding="utf-8"))
    return sorted(set(named))


@pytest.mark.parametrize("page", [PAGE, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_every_path_exists(page: Path) -> None:
    paths = paths_of(page)
    assert len(paths) > 4
    missing = [path for path in paths if not ((ROOT if path.startswith(ELSEWHERE) else PACKAGE) / path).exists()]
    assert missing == []


def listed() -> list[list[str]]:
    """The files of the page's two tables of the path, in their order."""
    tables = re.findall(r"<!-- path -->\n(.*?)\n\n", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    rows = [[line.split("|")[1] for line in table.splitlines()[2:]] for table in tables]
    return [[path for row in table for path in re.findall(r"`([^`]+)`", row)] for table in rows]


def entered(folder: Path) -> list[str]:
    """The files that a step enters, in their order."""
    places = os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, str(Path(__file__).with_name("path_to_loss.py")), str(folder)]
    ended = subprocess.run(words, env={**os.environ, "PYTHONPATH": places}, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_the_path_from_a_text_to_the_loss_is_the_pages(tmp_path: Path) -> None:
    (path, helpers), found = listed(), entered(tmp_path)
    on_page = [*path, *helpers]
    assert len(on_page) == len(set(on_page)), "a file is named twice"
    unknown, absent = set(found) - set(on_page), set(on_page) - set(found)
    assert not unknown and not absent, f"entered, but not on the page: {unknown}; on the page alone: {absent}"
    assert path == [file for file in found if file in path], "the page has another order"
    assert len(path) <= ON_THE_PATH and len(on_page) <= ENTERED
