"""`python -m antiphon.bulk.worker`: a process of a bulk job, which loads the model and computes shards.

It is told what to do on standard input, and reports on standard output (see `messages`). It ends when its standard
input ends, so that none is left when the process that started it was killed.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any, BinaryIO

from antiphon.bulk.job import BulkJob
from antiphon.bulk.journal import BlockRecord
from antiphon.bulk.messages import send
from antiphon.errors import AntiphonError, ConfigError, memory_ran_out, on_command_line, one_line


def main() -> None:
    """Run until standard input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all processes of a group; the job's process ends this one
        signal.signal(number, signal.SIG_IGN)
    reports = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints is no message
    orders: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    first = orders.get()
    shown: set[str] = set()

    def warn(message: Warning | str, *_: object) -> None:
        if str(message) not in shown:
            shown.add(str(message))
            send(reports, warning=str(message))

    warnings.showwarning = warn
    with on_command_line():
        try:
            _work(first, orders, reports)
        except BaseException as error:
            send(reports, error=_text(error), code=error.exit_code if isinstance(error, AntiphonError) else 1)
            os._exit(1)


def _listen(orders: queue.Queue[dict[str, Any]]) -> None:
    """Pass orders on. At the end of the input the process ends at once: what is not in a journal is computed again."""
    for line in sys.stdin.buffer:
        orders.put(json.loads(line))
    os._exit(0)


def _work(first: dict[str, Any], orders: queue.Queue[dict[str, Any]], reports: BinaryIO) -> None:
    import torch

    from antiphon.bulk.answering import Answerer
    from antiphon.bulk.shard import run_shard
    from antiphon.generation.load import load

    folder = Path(first["folder"])
    job = BulkJob.from_json(first["job"])  # not of the manifest, which has no credentials
    torch.set_num_threads(first["threads"])
    for name in job.imports:
        _import(name)
    model = load(list(job.models), device=first["device"], dtype=job.dtype, quantize=job.quantize)
    answerer = Answerer(job, model)
    send(reports, ready=True)
    while True:
        number = orders.get()["shard"]

        def report(block: BlockRecord, number: int = number) -> None:
            send(reports, shard=number, block=vars(block))

        run_shard(folder, job, job.shards[number], answerer, report=report)
        send(reports, done=number)


def _import(name: str) -> None:
    """Import a module of the user; the current folder is searched first."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        importlib.import_module(name)
    except Exception as error:  # the user's module may raise anything
        raise ConfigError(f"the module `{name}` cannot be imported ({type(error).__name__}: {error}).") from error
    finally:
        sys.path.pop(0)


def _text(error: BaseException) -> str:
    if isinstance(error, AntiphonError):
        return str(error)
    if memory_ran_out(error):
        return f"memory ran out ({one_line(error)}). Set a smaller `batch_size`, or fewer processes."
    return f"{type(error).__name__}: {one_line(error)}"


if __name__ == "__main__":
    main()
