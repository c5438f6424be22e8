"""Trackio: local experiment tracking (`trackio show`), or in a Space of the Hugging Face hub."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

from antiphon.training.reporting.reporters.base import BuiltInReporter, ReportedRun, flat, numbers


class TrackioReporter(BuiltInReporter):
    """A run of Trackio; the settings are those of `trackio.init` (project, name, space_id, ...).

    A resumed run continues the run of the same name.
    """

    def __init__(
        self, run: ReportedRun, *, project: str = "antiphon", name: str | None = None, **settings: Any
    ) -> None:
        import trackio

        super().__init__(run)
        known = {"auto_log_gpu": False, "auto_log_cpu": False, "embed": False, **settings}
        name = name or run.saved_id("trackio") or run.name
        resume = "never" if run.resumed_at is None else "allow"
        with redirect_stdout(sys.stderr):  # its messages: standard output is for answers
            self._run = trackio.init(project=project, name=name, config=flat(run.recipe), resume=resume, **known)
        run.save_id("trackio", self._run.name)

    def __call__(self, row: Mapping[str, Any]) -> None:
        self._run.log(numbers(row), step=row["step"])

    def close(self, *, failed: bool) -> None:
        import trackio

        with redirect_stdout(sys.stderr):
            trackio.finish()
