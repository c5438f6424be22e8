"""`antiphon watch`: runs as curves on a local page."""

from __future__ import annotations

import getpass
import os
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from antiphon.cli.command import Command
from antiphon.cli.flags import Flag, Positional
from antiphon.errors import UsageError
from antiphon.settings import CountOrZero

MAX_NAMES = 5


@dataclass(frozen=True, kw_only=True)
class Watch(Command):
    """Show runs as curves on a page of this machine, while they train or afterwards.

    A run is a run folder; a folder with run folders in it stands for all of them, also those that are made later. The
    page is at http://127.0.0.1:6007, for this machine alone. From another one: ssh -L 6007:127.0.0.1:6007 HOST
    """

    runs: Annotated[tuple[str, ...], Positional("RUN ...")]
    """Run folders, or folders with run folders in them."""
    port: Annotated[CountOrZero | None, Flag("PORT", default="6007, or the next free one")] = None
    """The port; 0 is any free one."""

    def check(self) -> None:
        if self.seed is not None or self.dtype is not None:
            raise UsageError("`antiphon watch` computes nothing: drop `--seed` and `--dtype`.")
        if self.port is not None and self.port > 65535:
            raise UsageError(f"`--port` must be at most 65535, but is {self.port}.")

    def run(self) -> int:
        from antiphon.watching.runs import WatchedRuns
        from antiphon.watching.server import open_server

        runs = WatchedRuns([Path(each).expanduser() for each in self.runs])
        server = open_server(runs, self.port)
        names = [run.name for run in runs.all]
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        server.start()
        self.say(f"antiphon: {server.url} shows {', '.join(names[:MAX_NAMES])}{more}; Ctrl-C ends it")
        if "SSH_CONNECTION" in os.environ:
            port = server.server_address[1]
            host = f"{getpass.getuser()}@{socket.gethostname()}"
            self.say(f"from your machine: ssh -N -L {port}:127.0.0.1:{port} {host}, then open http://127.0.0.1:{port}/")
        try:
            threading.Event().wait()
        finally:
            server.stop()
        return 0
