"""What the guards did in this start of a run: one line each on the display, and a row each in `run.json`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class RunEvents:
    """The events, oldest first, as JSON values in `rows`. `say` shows a line."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.rows: list[dict[str, Any]] = []

    def add(self, event: str, line: str | None = None, /, **facts: Any) -> None:
        """Record an event with its figures; show `line`, if there is one."""
        self.rows.append({"event": event, **facts})
        if line is not None:
            self.say(line)
