"""`run.json` in a run folder: what the other files do not hold, for reports.

    {"format": 1, "data": {"train": {...}, "valid": {...}}, "network": {...}, "word_counts": {...},
     "starts": [{"command": [...], "first_step": 0, "versions": {...}, ..., "energy_joules": {...}}],
     "results": {...}}

A run adds an entry to `starts` when it begins and each time it is resumed. The file is for people and reports: training
never reads it, and a run whose file is lost is as good as before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antiphon.models.folders.files import replace_file

RUN_FILE, FORMAT = "run.json", 1


def read_run_file(folder: Path) -> dict[str, Any]:
    """The content of a run's `run.json`; empty if there is none, or it cannot be read."""
    try:
        found = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_run_file(folder: Path, content: Mapping[str, Any]) -> None:
    """Write `run.json` atomically. OSError if the disk does not let it."""
    text = json.dumps({"format": FORMAT, **content}, ensure_ascii=False, indent=1)
    replace_file(folder / RUN_FILE, text.encode("utf-8", "replace"))
