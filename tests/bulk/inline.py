"""Bulk jobs in this process, for tests: a pool without processes, and a small model with its folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from antiphon.bulk.answering import Answerer
from antiphon.bulk.job import BulkJob
from antiphon.bulk.shard import run_shard
from antiphon.generation.load import load


class InlinePool:
    """A `WorkerPool` whose work is done here."""

    def __init__(self, folder: Path, job: BulkJob, *, listener: Any, **_: object) -> None:
        self.folder, self.job, self.listener = folder, job, listener

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, shards: Iterable[int]) -> None:
        job = BulkJob.from_json(json.loads(json.dumps(self.job.as_json(secrets=True))))  # as a process gets it
        answerer = Answerer(job, load(list(job.models), device=job.device, dtype=job.dtype, quantize=job.quantize))
        for number in shards:
            run_shard(
                self.folder,
                job,
                job.shards[number],
                answerer,
                report=lambda block, number=number: self.listener.block(number, block),
            )
            self.listener.finished(number)
