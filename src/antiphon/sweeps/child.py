"""`python -m antiphon.sweeps.child PARENT WORDS...`: `antiphon WORDS`, ended when the process PARENT ends.

A sweep that is killed cannot end its run. So the run watches its parent: when that is gone, it gets SIGTERM, saves and
ends, and `--resume` continues it.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

POLL_SECONDS = 0.5


def _end_with(parent: int) -> None:
    """Send SIGTERM to this process once its parent is another than `parent`."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run the command of the arguments."""
    parent, *words = sys.argv[1:]
    threading.Thread(target=_end_with, args=(int(parent),), daemon=True).start()
    sys.argv = ["antiphon", *words]
    runpy.run_module("antiphon", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
