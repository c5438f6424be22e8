"""`valid_answers.jsonl` in a run folder: the answers of its best validation, one a line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ANSWERS = "valid_answers.jsonl"


@dataclass(frozen=True, slots=True)
class ValidAnswer:
    """An answer of the validation at `step`, with its source and all its references."""

    step: int
    source: str
    references: list[str]
    answer: str

    def as_json(self) -> dict[str, Any]:
        """The object of a line."""
        return {"step": self.step, "source": self.source, "references": self.references, "answer": self.answer}


def read_answers(folder: Path) -> list[ValidAnswer]:
    """The answers in a run folder; none without the file. Lines that are no such object (half a line) are left out."""
    try:
        lines = (folder / ANSWERS).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return []
    return [found for line in lines if line.strip() and (found := _parsed(line)) is not None]


def _parsed(line: str) -> ValidAnswer | None:
    try:
        row = json.loads(line)
        step, references = int(row["step"]), row["references"]
        source, answer = row["source"], row["answer"]
    except (ValueError, KeyError, TypeError):
        return None
    texts = [source, answer, *references] if isinstance(references, list) and references else [None]
    return ValidAnswer(step, source, references, answer) if all(isinstance(text, str) for text in texts) else None
