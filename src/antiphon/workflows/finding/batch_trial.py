"""Trains a few steps with one batch size after the other, in a process of its own (`find_batch.py` starts it).

It reads a request from standard input as JSON and writes a line of JSON for each size. Memory that runs out then ends
only this process, or only the size.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import torch

from antiphon.batch import Example
from antiphon.data import Batches
from antiphon.errors import AntiphonError, DataError, memory_ran_out
from antiphon.recipe import read_recipe
from antiphon.training.ahead import BatchPrefetcher
from antiphon.training.loop import Loop
from antiphon.training.progress import Progress, peak_memory
from antiphon.workflows.finding.bare_job import bare_job

MOST_BATCHES = 2000  # batches of a pass that are looked at
TIMED_BATCHES = 6


@dataclass(frozen=True)
class BatchRequest:
    """What to try: a recipe with overrides, sizes in `batch_tokens`, and the memory that may be used (None: any)."""

    recipe: str
    overrides: dict[str, str]
    variant: str | None
    sizes: list[int]
    device: str
    threads: int | None
    memory_bytes: int | None
    step_seconds: float


class GivenBatches:
    """A stream of given batches, again and again."""

    def __init__(self, batches: Sequence[list[Example]]) -> None:
        self.batches, self.epoch, self._next = batches, 0, 0

    def __next__(self) -> list[Example]:
        batch = self.batches[self._next % len(self.batches)]
        self._next += 1
        return batch

    def state(self) -> dict[str, Any]:
        """The position."""
        return {"next": self._next}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a position."""
        self._next = state["next"]


def main(answers: TextIO) -> None:
    """Answer the request on standard input, a line each."""
    request = BatchRequest(**json.loads(sys.stdin.read()))
    try:
        for row in measured(request):
            answers.write(json.dumps(row) + "\n")
            answers.flush()
    except AntiphonError as error:
        answers.write(json.dumps({"error": str(error), "kind": type(error).__name__}) + "\n")


def measured(request: BatchRequest) -> Iterator[dict[str, Any]]:
    """A row for each size: whether it fits, tokens per second, the peak of memory, batches in a pass."""
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    config = read_recipe(request.recipe, request.overrides, variant=request.variant)
    job = bare_job(config, device=request.device)
    loop, corpus = job.loop, job.data.train
    loop.protection.splitter.enabled = False  # the sizes that fit in one part are what is asked for
    _bound_memory(request.memory_bytes)
    for size in request.sizes:
        try:
            batches, count = _batches(Batches(corpus, batch_tokens=size, seed=config.training.seed))
            row = _trained(loop, batches, count=count)
        except DataError as error:  # shorter than the longest example
            yield {"batch_tokens": size, "fits": True, "too_small": str(error)}
            continue
        except (MemoryError, RuntimeError) as error:
            if not memory_ran_out(error):
                raise
            row = {"fits": False}
        if row["fits"] and request.memory_bytes is not None and row["peak_memory_bytes"] > request.memory_bytes:
            row = {**row, "fits": False}
        yield {"batch_tokens": size, **row}
        _forget(loop)
        if not row["fits"] or row["step_seconds"] > request.step_seconds or row["batches_per_pass"] == 1:
            return


def _batches(stream: Batches) -> tuple[list[list[Example]], int]:
    """The two heaviest batches of a pass (the longest rows, the most positions), then TIMED_BATCHES at equal distances;
    and the number of batches of the pass, at most MOST_BATCHES."""
    found: list[list[Example]] = []
    for batch in islice(stream, MOST_BATCHES):
        found.append(batch)
        if stream.epoch:
            break

    def widths(batch: list[Example]) -> tuple[int, int]:
        return max(len(one.source) for one in batch), max(len(one.target) for one in batch)

    longest = max(found, key=lambda batch: (max(widths(batch)), len(batch) * sum(widths(batch))))
    largest = max(found, key=lambda batch: len(batch) * sum(widths(batch)))
    even = [found[place * len(found) // TIMED_BATCHES] for place in range(TIMED_BATCHES)]
    return [longest, largest, *even], len(found)


def _trained(loop: Loop, batches: list[list[Example]], *, count: int) -> dict[str, Any]:
    """Train with the batches: the heaviest ones for the memory, the others for the speed."""
    _reset_peak(loop.network.device)
    loop.parts = replace(loop.parts, batches=GivenBatches(batches), schedule=lambda step: 0.0)
    loop.ahead = BatchPrefetcher(loop.parts.batches, loop.make)
    loop.progress = Progress()
    heavy = max(1, 2 // loop.settings.accumulate)
    for _ in range(heavy):
        loop.step()
    loop.progress.row(loop.settings)  # starts a new window
    began = time.perf_counter()
    for _ in range(max(2, TIMED_BATCHES // loop.settings.accumulate)):
        loop.step()
    seconds = time.perf_counter() - began
    window = loop.progress.window
    return {
        "fits": True,
        "tokens_per_second": round(window.tokens / seconds, 1),
        "step_seconds": round(seconds / len(window.seconds), 4),
        "padding_waste": round(1 - window.tokens / window.positions, 4),
        "peak_memory_bytes": _peak(loop.network.device),
        "batches_per_pass": count,
    }


def _forget(loop: Loop) -> None:
    """Free what a size has left."""
    loop.network.zero_grad(set_to_none=True)
    gc.collect()
    if loop.network.device.type == "cuda":
        torch.cuda.empty_cache()


def _bound_memory(limit: int | None) -> None:
    """Make allocations above `limit` bytes of resident memory fail, where the system can (Linux): the limit counts
    private writable memory, of which some is not resident."""
    status = _status()
    if limit is None or "VmData" not in status:
        return
    room = max(0, limit - status["VmRSS"])
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (status["VmData"] + room, hard))


def _status() -> dict[str, int]:
    """The figures in bytes of /proc/self/status; empty where there is none."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    parts = [line.split() for line in lines]
    return {part[0].rstrip(":"): int(part[1]) * 1024 for part in parts if len(part) == 3 and part[2] == "kB"}


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # no Linux, or not allowed: the peak is that of all sizes so far
        pass


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return _status().get("VmHWM") or peak_memory()


if __name__ == "__main__":
    main(sys.stdout)
