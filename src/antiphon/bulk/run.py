"""Runs a bulk job: manifest, processes, progress, and the summary at the end.

totals = run_bulk(job, "answers", processes=2, resume=True)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from antiphon.bulk.job import BulkJob, BulkShard
from antiphon.bulk.journal import BlockRecord
from antiphon.bulk.manifest import begin, manifest_path
from antiphon.bulk.processes import WorkerPool
from antiphon.bulk.progress import BulkProgress, ProgressDisplay, counted
from antiphon.bulk.shard import FAILURES_FOLDER, shard_progress
from antiphon.devices import choose_device
from antiphon.display import clock
from antiphon.errors import AntiphonError, ConfigError, UsageError, WorkError, argument
from antiphon.training.lock import exclusive_lock
from antiphon.urls import RemoteName


def run_bulk(
    job: BulkJob,
    folder: str | Path,
    *,
    processes: int = 1,
    threads: int | None = None,
    resume: bool = False,
    command: str = "",
    say: Callable[[str], None] = lambda line: None,
    quiet: bool = False,
) -> BlockRecord:
    """Compute the job's shards into `folder`, on several processes; returns the sums over all rows.

    `threads`: of each process (default: the cores, divided). Several GPUs are dealt to the processes. `resume`:
    continue the job in the folder, or begin it. `command`: what the user types to continue, for messages. `say`
    writes a line to the user; with `quiet` there is no display of the progress.

    UsageError if the folder holds another job, or a row cannot be answered; WorkError if the work fails. What is
    durable stays in each case, and after KeyboardInterrupt or SystemExit, too.
    """
    folder = Path(folder)
    _check_inputs(job, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"`{folder}` must be a folder that can be written, but is not ({error.strerror}). Choose another "
            f"{argument('output', flag='--output')}."
        ) from error
    with _alone(folder):
        begin(folder, job, resume=resume)
        done = [shard_progress(folder, shard) for shard in job.shards]
        progress = BulkProgress(job.shards, [_size(shard) for shard in job.shards], done)
        display = ProgressDisplay(progress, say, quiet=quiet)
        try:
            _compute(job, folder, progress, display, processes=processes, threads=threads, say=say)
        except AntiphonError as error:
            raise _with_rest(error, progress, command) from error
        except (KeyboardInterrupt, SystemExit):
            display.close()
            say(f"antiphon: stopped, {_kept(progress, command)}")
            raise
        finally:
            display.close()
    totals = progress.before + progress.now
    say(f"antiphon: {_summary(progress, folder)}")
    return totals


def _compute(
    job: BulkJob,
    folder: Path,
    progress: BulkProgress,
    display: ProgressDisplay,
    *,
    processes: int,
    threads: int | None,
    say: Callable[[str], None],
) -> None:
    left = [number for number, whole in enumerate(progress.complete) if not whole]
    if not left:
        return
    count = min(processes, len(left))
    own = threads or max(1, _cores() // count)
    devices = devices_of(job)
    if progress.before.rows_read:
        say(f"antiphon: of a run before: {counted(progress.before.rows_read, 'row')}")
    where = ", ".join(devices)
    say(f"antiphon: {counted(len(left), 'shard')} on {_processes(count)} of {counted(own, 'thread')} each, on {where}")
    # The largest first: at the end no process works alone for long.
    left.sort(key=lambda number: -progress.sizes[number])
    with WorkerPool(folder, job, count=count, devices=devices, threads=own, listener=display) as pool:
        pool.run(left)


def devices_of(job: BulkJob) -> list[str]:
    """The devices that processes are dealt to: each GPU, or the one that the job names."""
    import torch

    device = choose_device("cpu" if job.quantize is not None and job.device == "auto" else job.device)
    if device.type == "cuda" and device.index is None:
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [str(device)]


def _processes(count: int) -> str:
    return f"{count:,} process{'' if count == 1 else 'es'}"


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if "sched_getaffinity" in dir(os) else os.cpu_count() or 1


def _size(shard: BulkShard) -> int:
    return sum(_file_size(file) for file in shard.files)


def _file_size(file: str) -> int:
    """The bytes of a file; 0 for one that is not there yet to be named in an error, or whose size is not known."""
    if isinstance(file, RemoteName):
        from antiphon.data.remote.filesystem import details

        return details(file).size or 0
    return os.path.getsize(file) if os.path.exists(file) else 0


def _check_inputs(job: BulkJob, folder: Path) -> None:
    """UsageError if there is no shard, or an output would replace an input."""
    if not job.shards:
        raise UsageError("a bulk job must have at least one input, but has none. Check the paths.")
    outputs = {os.path.realpath(folder / shard.output): shard for shard in job.shards}
    for shard in job.shards:
        for file in shard.files:
            if os.path.realpath(file) in outputs:
                raise UsageError(
                    f"outputs must not replace inputs, but `{file}` would be one. Choose another "
                    f"{argument('output', flag='--output')}."
                )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The lock of the output folder. ConfigError if another process has it."""
    state = manifest_path(folder).parent
    state.mkdir(exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive_lock(state))
        except ConfigError:
            raise ConfigError(
                f"`{folder}` must be free, but another process works on its job. Wait for its end, or stop it."
            ) from None
        yield


def _kept(progress: BulkProgress, command: str) -> str:
    total = progress.before + progress.now
    again = f"`{command}` continues" if command else f"{argument('resume=True', flag='--resume')} continues"
    shards = f"{sum(progress.complete):,} of {counted(len(progress.complete), 'shard')}"
    return f"{shards} and {counted(total.rows, 'row')} are kept; {again}"


def _with_rest(error: AntiphonError, progress: BulkProgress, command: str) -> AntiphonError:
    """The error, with what is kept and how to continue."""
    kind = UsageError if isinstance(error, UsageError) else WorkError
    return kind(f"{str(error).rstrip('.')}. {_kept(progress, command)}.")


def _summary(progress: BulkProgress, folder: Path) -> str:
    total = progress.before + progress.now
    failed = f"; {total.failed:,} failed, see `{folder / FAILURES_FOLDER}`" if total.failed else ""
    speed = f" ({progress.rows_per_second:,.0f} rows/s)" if progress.now.rows_read else ""
    shards = counted(len(progress.complete), "shard")
    return f"{counted(total.rows, 'row')} of {shards} in {clock(progress.seconds)}{speed}{failed}"
