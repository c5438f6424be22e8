"""Several processes of one command on this machine, started by torchrun's agent in this process.

    code = launch(8, ["train", "recipe.yaml"], max_restarts=3)

The agent is torch.distributed.elastic's. Ours differs from `torchrun` in what it prints: the output of rank 0, one line
for a rank that was lost, one line for an error; and in what it starts again: a rank that was lost, not one that failed
with an error of its own, which would fail again.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from antiphon.distributed.failure import LAUNCHER, is_rank
from antiphon.errors import ConfigError, WorkError, argument

MAX_RESTARTS = 3
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def launch(
    processes: int,
    arguments: Sequence[str],
    *,
    max_restarts: int = MAX_RESTARTS,
    threads: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> int:
    """Run `antiphon ARGUMENTS` as `processes` ranks and return the exit code: 0, or 143 after SIGTERM.

    KeyboardInterrupt after Ctrl-C. Both signals are passed on to the ranks, which save and end; a second one ends them
    at once. RankError if a rank failed, with its message and exit code.

    If a rank is lost (killed, or its GPU), all are started again, at most `max_restarts` times; the command must then
    go on from what it saved. `threads`: those of each process; None shares the cores of the machine. `say` gets a line
    about each restart.
    """
    if is_rank():
        raise ConfigError(
            f"{argument('processes', flag='--processes')} starts the processes, but torchrun has started this one "
            f"already. Drop one of the two."
        )
    from antiphon.distributed.agent import Ranks, run_ranks  # needs PyTorch

    logs = Path(tempfile.mkdtemp(prefix="antiphon-ranks-"))
    command = ["-m", "antiphon.distributed.child", str(os.getpid()), *arguments]
    ranks = Ranks(processes, tuple(command), max_restarts=max_restarts, name=uuid.uuid4().hex, logs=logs, say=say)
    with _environment(processes, threads), _handlers(), _without_logs():
        end = run_ranks(ranks)
    if not end.keep_logs:
        shutil.rmtree(logs, ignore_errors=True)
    if end.message is not None:
        raise RankError(
            end.message + (f" What the ranks but 0 printed is in `{logs}`." if end.keep_logs else ""), end.code
        )
    if end.code == 128 + signal.SIGINT:
        raise KeyboardInterrupt
    return end.code


class RankError(WorkError):
    """The error of a rank, or that one was lost, with its exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code


@contextmanager
def _environment(processes: int, threads: int | None) -> Iterator[None]:
    """What the ranks inherit: who prints errors, their share of the cores, and where they find each other."""
    affinity = getattr(os, "sched_getaffinity", None)  # on Linux: a container may have fewer than the machine
    cores = os.cpu_count() or 1 if affinity is None else len(affinity(0))
    # Each start of the ranks has a store of its own, held by rank 0. The agent's keeps the addresses of ranks that have
    # ended, on which the next ones would wait; and it ends with this process, before the ranks can save.
    made = {LAUNCHER: str(os.getpid()), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    if "OMP_NUM_THREADS" not in os.environ or threads is not None:
        made["OMP_NUM_THREADS"] = str(threads or max(1, cores // processes))
    before = {name: os.environ.get(name) for name in made}
    os.environ.update(made)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _handlers() -> Iterator[None]:
    """Put the handlers of signals back, which the agent replaces."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _without_logs() -> Iterator[None]:
    """Silence the agent's log, whose warnings say in pages what one line says here."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
