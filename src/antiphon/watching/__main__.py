"""The program of a page beside a training: `python -m antiphon.watching FOLDER ...`, started by `WatchProcess`.

It answers with a line on standard output, its address or what is wrong. It ends some seconds after its standard input:
the run that it shows has ended then.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from antiphon.errors import AntiphonError
from antiphon.watching.runs import WatchedRuns
from antiphon.watching.server import open_server

LAST_ROWS_SECONDS = 5.0  # in which an open page asks for the last rows


def main() -> int:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is for the training, which ends this one
    runs = WatchedRuns([Path(each) for each in sys.argv[1:]], expected=True)
    try:
        server = open_server(runs, None)
    except AntiphonError as error:
        os.write(1, f"{error}\n".encode())
        return error.exit_code
    server.start()
    os.write(1, f"{server.url}\n".encode())
    sys.stdin.buffer.read()
    if runs.is_seen:
        time.sleep(LAST_ROWS_SECONDS)
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
