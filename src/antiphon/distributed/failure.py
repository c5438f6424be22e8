"""How one of several ranks ends with an error: what it leaves for the process that started it.

torchrun gives each rank a file for its error (TORCHELASTIC_ERROR_FILE) and reads it. `antiphon train --processes N`
prints the message of the rank that failed first, and starts all ranks again if one was lost. So a rank writes its
message, its exit code and whether it failed because another one was lost.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from antiphon.errors import argument, one_line

LAUNCHER = "ANTIPHON_LAUNCHER"  # set by our own launcher, which prints the error
_RESTARTS, _RUN, _FILE = "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_ERROR_FILE"
# Messages of gloo, NCCL and the store of torchrun when a process at the other end is gone.
_LOST = (
    "connection closed by peer",
    "connection reset by peer",
    "connection was likely closed",
    "broken pipe",
    "timed out waiting",
    "application timeout caused pair closure",
    "remote process exited",
    "ncclremoteerror",
    "nccl communicator was aborted",
    "failed to recv, got 0 bytes",
    "connect timeout",
    "connection refused",
)


class _Report:
    """Whether this rank reports its error."""

    left_to_main = False


def leave_to_main() -> None:
    """Report no error of this rank: rank 0 has the same one, and reports it."""
    _Report.left_to_main = True


def is_rank() -> bool:
    """Whether a launcher such as torchrun started this process as one of several ranks."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def is_main() -> bool:
    """Whether this is rank 0, or the only process."""
    return not is_rank() or os.environ["RANK"] == "0"


def restarts() -> int:
    """How often torchrun has started the ranks again."""
    return int(os.environ.get(_RESTARTS, "0")) if is_rank() else 0


def launch_id() -> str | None:
    """What all starts of the ranks by one torchrun have in common; None if it was given no name."""
    found = os.environ.get(_RUN)
    return None if not is_rank() or found in (None, "", "none") else found


def is_lost_peer(error: BaseException) -> bool:
    """Whether a rank failed because another one is gone: a broken connection in a collective."""
    if not is_rank() or not isinstance(error, RuntimeError | OSError):
        return False
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__
    return any(words in str(each).lower() for each in causes for words in _LOST)


def describe_lost_peer(error: BaseException) -> str:
    """The message of a rank whose peer is gone."""
    return (
        f"another rank must answer, but was lost ({one_line(error)[:200]}). The last snapshot is untouched. Continue "
        f"with {argument('resume=True', flag='--resume')}, or let torchrun start the ranks again (--max-restarts)."
    )


def record_failure(text: str, code: int, *, lost: bool, expected: bool, restart: bool = False) -> None:
    """Write the error of this rank to the file that torchrun reads, if there is one. `expected`: raised on purpose;
    `restart`: an error after which the ranks, started again, go on."""
    if not is_rank() or _Report.left_to_main or not (file := os.environ.get(_FILE)):
        return
    message = {"message": text, "extraInfo": {"py_callstack": text, "timestamp": str(int(time.time()))}}
    row = {"message": message, "code": code, "lost": lost, "expected": expected, "restart": restart}
    draft = Path(f"{file}.tmp")  # torchrun fails on a file that is only half written
    try:
        draft.write_text(json.dumps(row), encoding="utf-8")
        draft.replace(file)
    except OSError:
        return


def prefix() -> str | None:
    """What stands before the error of this rank on its standard error; None: the launcher prints it."""
    if not is_rank():
        return ""
    if LAUNCHER in os.environ or _Report.left_to_main:
        return None
    rank = os.environ["RANK"]
    return "" if rank == "0" else f"rank {rank}: "
