"""Constraints know texts and tokenizers only, so that they can be used and tested without a network."""

from __future__ import annotations

import ast
from pathlib import Path

import antiphon.constraints

FOLDER = Path(antiphon.constraints.__file__).parent
KNOWN = ("antiphon.constraints", "antiphon.text", "antiphon.errors", "antiphon.words")


def test_constraints_import_texts_alone() -> None:
    files = sorted(FOLDER.rglob("*.py"))
    assert len(files) > 5
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert not name.startswith("antiphon") or name.startswith(KNOWN), f"{file.name} imports {name}"
