"""Runs of `antiphon train` as processes: signals are passed on, and a run can be ended early.

    ended = run_training(["train", "recipe.yaml", "--resume"], log=folder / "run.log")
    ended.code, ended.stopped

Each run is a separate process, so that its peak memory can be measured and a failure does not affect the others. A run
whose parent has been killed gets SIGTERM: it saves and ends, and can be continued.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from antiphon.errors import ConfigError
from antiphon.training.lock import exclusive_lock
from antiphon.training.signals import EXIT_TERMINATED

POLL_SECONDS = 0.5
_CHILD = "antiphon.distributed.child"


@dataclass(frozen=True)
class ProcessEnd:
    """How a process ended: its exit code, and whether `should_stop` ended it."""

    code: int
    stopped: bool = False


def run_training(
    words: Sequence[str], *, log: Path | None = None, should_stop: Callable[[], bool] | None = None
) -> ProcessEnd:
    """Run `antiphon WORDS` and wait for its end. SIGINT and SIGTERM are passed on to it, and take effect here when it
    has ended, as KeyboardInterrupt or SystemExit(143).

    `log`: the file to which its standard error is appended, else it is that of this process. `should_stop` is called
    every POLL_SECONDS; when it returns true, the process gets SIGTERM once: it saves and ends.
    """
    received: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if child is not None:
            child.send_signal(number)

    in_main_thread = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if in_main_thread else ()
    before = {number: signal.signal(number, pass_on) for number in numbers}
    command = [sys.executable, "-m", _CHILD, str(os.getpid()), *words]
    stopped = False
    try:
        with ExitStack() as files:
            stream = None if log is None else files.enter_context(log.open("ab"))
            # In a separate process group: a terminal sends Ctrl-C to a whole group, and the child would get it twice.
            child = subprocess.Popen(command, process_group=0, stderr=stream, stdin=subprocess.DEVNULL)
            for number in [*received]:  # signals that arrived before the child was started
                child.send_signal(number)
            while (code := _wait(child)) is None:
                if not stopped and should_stop is not None and should_stop():
                    stopped = True
                    child.terminate()
    except BaseException:  # such as a storage that fails while it is told: the run saves, and can be continued
        if child is not None:
            child.terminate()
            child.wait()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if signal.SIGINT in received:
        raise KeyboardInterrupt
    if received:
        raise SystemExit(EXIT_TERMINATED)
    return ProcessEnd(code, stopped)


def _wait(child: subprocess.Popen[bytes]) -> int | None:
    try:
        return child.wait(timeout=POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def wait_until_free(folder: Path, *, say: Callable[[str], None], seconds: float = 120.0) -> None:
    """Wait until no process trains in the run folder, at most `seconds`: a run whose parent was killed is saving."""
    began = time.monotonic()
    told = False
    while folder.is_dir() and time.monotonic() - began < seconds:
        try:
            with exclusive_lock(folder):
                return
        except ConfigError:
            if not told and time.monotonic() - began > 1:
                told = True
                say(f"waiting for the process that is still training in `{folder}`")
            time.sleep(0.1)


def last_message(log: Path) -> str:
    """The message of the error in a log: its last line that begins with `antiphon: `, without that."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    found = [line for line in lines if line.startswith("antiphon: ")]
    return found[-1].removeprefix("antiphon: ") if found else (lines[-1] if lines else "")
