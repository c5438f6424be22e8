"""The page as an object: its address, and itself in a notebook."""

from __future__ import annotations

import os
from pathlib import Path

from antiphon.display import Markup, details, panel
from antiphon.display.html import escaped
from antiphon.errors import UsageError
from antiphon.training.reporting.record import read_rows
from antiphon.training.reporting.rows import MetricRows
from antiphon.watching.runs import WatchedRuns
from antiphon.watching.server import WatchServer, open_server

FRAME_HEIGHT = 720


class WatchPage:
    """A page that is served by this process until `close`, or until the process ends."""

    def __init__(self, runs: WatchedRuns, port: int | None) -> None:
        self._server: WatchServer | None = open_server(runs, port, embedded=True)
        self._runs, self.url = runs, self._server.url
        self._server.start()

    def close(self) -> None:
        """End the server. May be called again."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def __enter__(self) -> WatchPage:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        names = ", ".join(run.name for run in self._runs.all)
        return f"WatchPage({self.url!r}: {names}{'' if self._server else '; closed'})"

    def _repr_html_(self) -> str:
        """The page in a frame, with its address; below it the curves as they are now, for kernels on another machine,
        whose page a browser does not reach, and for notebooks that are opened later."""
        frame = Markup(
            f'<p><a href="{escaped(self.url)}" target="_blank" rel="noopener">{escaped(self.url)}</a></p>'
            f'<iframe src="{escaped(self.url)}" title="Runs" width="100%" height="{FRAME_HEIGHT}" '
            'style="border:1px solid rgba(128,128,128,.4);border-radius:8px"></iframe>'
        )
        curves = [panel(run.name, MetricRows(read_rows(run.folder)).curves()) for run in self._runs.all]
        return panel("Runs", frame, details("the curves at this moment", *map(Markup, curves)))


def watch(run: str | os.PathLike[str], *others: str | os.PathLike[str], port: int | None = None) -> WatchPage:
    """Serve a page with the curves of run folders (or of folders with run folders in them) and return it.

    `port`: None is 6007, or the next free one; 0 is any. UsageError for a path without a run, or a port in use.
    """
    if isinstance(port, bool) or not (port is None or (isinstance(port, int) and 0 <= port <= 65535)):
        raise UsageError(f"`port` must be None or a number from 0 to 65535, but is {port!r}.")
    return WatchPage(WatchedRuns([Path(path).expanduser() for path in (run, *others)]), port)
