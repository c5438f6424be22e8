"""Writes the notebooks of examples/ from pages of docs/: prose as Markdown cells, Python blocks as code cells.

    python docs/make_notebook.py            # --check: exit 1 where a notebook is not that of its page

Links of the page are relative to docs/, the notebook lies in examples/.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = {"first-steps.md": "first_steps.ipynb", "compare-and-explain.md": "compare_and_explain.ipynb"}
BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.DOTALL | re.MULTILINE)


def cells(page: str) -> list[dict[str, object]]:
    """The notebook's cells, in the order of the page."""
    found: list[dict[str, object]] = []
    for place, part in enumerate(BLOCK.split(page)):
        if text := part.strip("\n"):
            found.append(cell("code" if place % 2 else "markdown", text if place % 2 else relinked(text), len(found)))
    return found


def cell(kind: str, text: str, number: int) -> dict[str, object]:
    extra: dict[str, object] = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text.splitlines(True), **extra}


def relinked(text: str) -> str:
    """Markdown of docs/ for a file in examples/."""
    text = re.sub(r"\]\((?!\.\./|https?:|#)([\w-]+\.md)", r"](../docs/\1", text)
    return text.replace("](../examples/", "](")


def notebook(page: str) -> str:
    """The .ipynb file of a page."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {
        "cells": cells(page),
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def main(arguments: list[str]) -> int:
    differ = False
    for page, name in NOTEBOOKS.items():
        wanted, file = notebook((ROOT / "docs" / page).read_text(encoding="utf-8")), ROOT / "examples" / name
        if "--check" in arguments:
            differ |= file.read_text(encoding="utf-8") != wanted
        else:
            file.write_text(wanted, encoding="utf-8")
    return int(differ)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
