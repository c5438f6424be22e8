"""torchrun's agent for the ranks of one machine, with the rule which of them are started again.

    end = run_ranks(Ranks(processes=2, arguments=("-m", "antiphon.distributed.child", ...), ...))

The methods that are overridden are those that the documentation of `SimpleElasticAgent` names for agents of one's own.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.distributed.elastic.agent.server import WorkerGroup, WorkerSpec, WorkerState
from torch.distributed.elastic.agent.server.api import RunResult
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from antiphon.errors import argument

# A stopped rank saves after its step. Others wait for it: only a second signal ends it before.
STOP_SECONDS = 600
MONITOR_SECONDS = 0.1
_STOPS = (-signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Ranks:
    """What to start: Python with `arguments`, `processes` times. `logs` gets the output of all ranks but 0."""

    processes: int
    arguments: tuple[str, ...]
    max_restarts: int
    name: str
    logs: Path
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class End:
    """How the ranks ended: the exit code, the message of the error, and whether what they printed explains it."""

    code: int
    message: str | None = None
    keep_logs: bool = False
    lost: bool = False  # a rank was lost: starting again may help
    is_whole: bool = False  # the message says what was kept and how to continue


def run_ranks(ranks: Ranks) -> End:
    """Run the ranks to their end, starting them again where one was lost."""
    parameters = RendezvousParameters("c10d", "localhost:0", ranks.name, 1, 1, local_addr="localhost")
    spec = WorkerSpec(
        role="rank",
        local_world_size=ranks.processes,
        entrypoint=sys.executable,
        args=ranks.arguments,
        rdzv_handler=get_rendezvous_handler(parameters),
        max_restarts=ranks.max_restarts,
        monitor_interval=MONITOR_SECONDS,
        local_addr="localhost",
    )
    redirects = {rank: Std.NONE if rank == 0 else Std.ALL for rank in range(ranks.processes)}
    agent = Agent(spec, DefaultLogsSpecs(str(ranks.logs), redirects), say=ranks.say)
    try:
        agent.run()
    except SignalException as error:
        return agent.stopped(error.sigval)
    finally:
        spec.rdzv_handler.shutdown()
    return agent.end


class Agent(LocalElasticAgent):
    """Starts ranks again if one was lost, and not if one failed with an error of its own."""

    def __init__(self, spec: WorkerSpec, logs: DefaultLogsSpecs, *, say: Callable[[str], None]) -> None:
        super().__init__(spec, logs)
        self.say, self.end = say, End(0)

    def stopped(self, number: signal.Signals) -> End:
        """The end after a signal to this process: that of a rank which could not save, else the signal's."""
        for file in [] if self._pcontext is None else self._pcontext.error_files.values():
            if (found := _read(Path(file))) and not found.get("lost"):
                return End(int(found["code"]), str(found["message"]["message"]))
        return End(128 + number)

    # PyTorch wraps the method by a decorator without types.
    def _monitor_workers(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, worker_group: WorkerGroup
    ) -> RunResult:
        # `super` ends all ranks when it finds that one has failed. What happened before that is the cause.
        began, first = time.time(), self._failed()
        result: RunResult = super()._monitor_workers(worker_group)  # pyright: ignore[reportCallIssue]
        if result.state == WorkerState.FAILED:
            self.end = end_of(result.failures, first, began=began)
            left, most = self._remaining_restarts, worker_group.spec.max_restarts
            if not self.end.lost:
                self._remaining_restarts = 0
            elif left:
                what = (self.end.message or "").rstrip(".")
                self.say(
                    f"antiphon: {what}; all ranks start again from the newest whole snapshot "
                    f"({most - left + 1} of {most} restarts)"
                )
            elif not self.end.is_whole:
                self.end = End(1, f"{self.end.message}{_after(most)}", self.end.keep_logs)
        elif result.state == WorkerState.SUCCEEDED:
            self.end = End(0)
        return result

    def _failed(self) -> set[int]:
        """The ranks that have ended with an error by now."""
        handlers: Mapping[int, Any] = getattr(self._pcontext, "subprocess_handlers", {})
        return {rank for rank, handler in handlers.items() if handler.proc.poll() not in (None, 0)}

    def _shutdown(self, death_sig: signal.Signals = signal.SIGTERM, timeout: int = STOP_SECONDS) -> None:
        # Only after a signal to this process do ranks run here. The timeout of `super` is too short for a big save.
        try:
            super()._shutdown(death_sig, STOP_SECONDS)
        except SignalException:
            super()._shutdown(signal.SIGKILL, timeout)


def end_of(failures: Mapping[int, ProcessFailure], first: set[int], *, began: float) -> End:
    """The end of ranks of which some failed: `first` by themselves, before `began`, the others when they were ended.

    An error of a rank comes before lost ranks: a rank that fails closes its connections, so the others lose it.
    """
    causes = {rank: failure for rank, failure in failures.items() if rank in first} or dict(failures)
    killed = [rank for rank, failure in causes.items() if failure.exitcode < 0 and failure.exitcode not in _STOPS]
    written: list[tuple[float, int, dict[str, Any]]] = []
    for rank, failure in failures.items():
        file = Path(failure.error_file)
        found = _read(file)
        if found is None or found.get("lost"):
            continue
        when = file.stat().st_mtime
        # A rank closes its connections just before it writes its error, so that the others may end before it.
        if rank in causes or when < began or (found.get("expected") and not killed):
            written.append((when, rank, found))
    if written:
        _, rank, found = min(written, key=lambda row: row[:2])
        text = str(found["message"]["message"])
        again = bool(found.get("restart"))
        return End(int(found["code"]), text if rank == 0 else f"rank {rank}: {text}", lost=again, is_whole=again)
    codes = {rank: failure.exitcode for rank, failure in causes.items()}
    if all(code in _STOPS for code in codes.values()):
        code = next(iter(codes.values()))
        return End(128 - code if code < 0 else code)
    for rank in killed:
        return End(1, f"rank {rank} was lost ({_signal(-codes[rank])})", keep_logs=rank != 0, lost=True)
    for rank, failure in causes.items():
        if _read(Path(failure.error_file)) is None and failure.exitcode not in _STOPS:
            return End(1, f"rank {rank} ended with exit code {failure.exitcode} and no message.", keep_logs=rank != 0)
    return End(1, f"rank {min(causes)} lost its connection to another rank", keep_logs=True, lost=True)


def _after(restarts: int) -> str:
    """What follows the message of a lost rank when it is not started again."""
    again = f" after {restarts} restarts" if restarts else ""
    return f"{again}. The last snapshot is untouched. Continue with {argument('resume=True', flag='--resume')}."


def _signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    hint = ", as the system does when memory runs out" if number == signal.SIGKILL else ""
    return f"signal {number}, {name}{hint}"


def _read(file: Path) -> dict[str, Any] | None:
    """What a rank has recorded about its error; None if it has not."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) and isinstance(found["message"], dict) and "code" in found else None
    except (OSError, ValueError, KeyError):
        return None
