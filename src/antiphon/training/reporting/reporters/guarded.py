"""A reporter whose faults do not stop the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from antiphon.errors import one_line


class GuardedReporter:
    """Calls a reporter with each row. After its first exception, which is said, it is no longer called."""

    def __init__(
        self,
        name: str,
        report: Callable[[Mapping[str, Any]], object],
        say: Callable[[str], None],
        close: Callable[[bool], None] | None = None,
    ) -> None:
        self.name, self._report, self._say, self._close = name, report, say, close
        self.broken = False

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Report a row."""
        if not self.broken:
            self._guard(lambda: self._report(row), "no longer gets the figures")

    def close(self, *, failed: bool) -> None:
        """End the reporting; `failed`: the run did not come to its end."""
        close = self._close
        if close is not None:
            self._guard(lambda: close(failed), "did not end its run")

    def _guard(self, call: Callable[[], object], what: str) -> None:
        try:
            call()
        except Exception as error:  # a library, a network or a user's function may raise anything
            if not self.broken:
                self._say(
                    f"the reporter `{self.name}` {what} ({type(error).__name__}: {one_line(error)}); the run goes on, "
                    "and metrics.jsonl has all rows"
                )
            self.broken = True
