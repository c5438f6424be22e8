"""The largest `batch_tokens` that fits into memory, and the fastest.

    found = find_batch("recipe.yaml")
    found.largest, found.fastest, found.rows

Sizes are doubled until one does not fit, or a step takes too long; then the interval is halved. Each size trains with
the heaviest batches of the data (the longest rows, the most positions) and some others, in a process of its own
(`batch_trial.py`): memory that runs out ends only that process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from antiphon import errors
from antiphon.display import Markup, line_chart, note, panel, table
from antiphon.errors import AntiphonError, ConfigError, UsageError, WorkError
from antiphon.workflows.finding.batch_trial import BatchRequest
from antiphon.workflows.finding.machine_memory import available_memory

SMALLEST, LARGEST = 256, 2**22
HALVINGS = 2  # of the interval between the largest that fits and the smallest that does not: to an eighth of it
MEMORY_SHARE = 0.9  # of the memory that is free, when no limit is given
STEP_SECONDS = 30.0


@dataclass(frozen=True)
class BatchSizes:
    """The result: a row for each size that was tried, in order; `limit_bytes` is the memory that could be used (None:
    that of the GPU), and `ended` says why no larger size was tried."""

    rows: Sequence[Mapping[str, Any]]
    limit_bytes: int | None
    ended: str

    @property
    def fitting(self) -> list[Mapping[str, Any]]:
        """The rows of the sizes that fit."""
        return [row for row in self.rows if row["fits"]]

    @property
    def largest(self) -> int:
        """The largest size that fits."""
        return max(int(row["batch_tokens"]) for row in self.fitting)

    @property
    def fastest(self) -> int:
        """The size with the most real tokens per second among those that fit."""
        return int(max(self.fitting, key=lambda row: row["tokens_per_second"])["batch_tokens"])

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        fast = max(self.fitting, key=lambda row: row["tokens_per_second"])
        return (
            f"batch_tokens: the largest that was tried and fits is {self.largest:,} ({self.ended}); the fastest is "
            f"{self.fastest:,} ({fast['tokens_per_second']:,.0f} tokens/s)"
        )

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        found = {"largest": self.largest, "fastest": self.fastest, "ended": self.ended}
        return {**found, "limit_bytes": self.limit_bytes, "sizes": [dict(row) for row in self.rows]}

    def __repr__(self) -> str:
        return f"BatchSizes({self.verdict})"

    def _repr_html_(self) -> str:
        cells = [list(text.values()) for text in map(text_row, self.rows)]
        heads = list(text_row(self.rows[0]))
        points = [(float(row["batch_tokens"]), float(row["tokens_per_second"])) for row in self.fitting]
        chart: Markup = line_chart({"tokens/s": sorted(points)}, title="tokens/s", across="batch_tokens", log=True)
        return panel("Batch sizes", chart, table(heads, cells, right=range(len(heads))), note(self.verdict))


def text_row(row: Mapping[str, Any]) -> dict[str, str]:
    """A row with formatted figures."""
    fits = bool(row["fits"])
    return {
        "batch_tokens": f"{row['batch_tokens']:,}",
        "fits": "yes" if fits else "no",
        "tokens/s": f"{row['tokens_per_second']:,.0f}" if fits else "",
        "s a step": f"{row['step_seconds']:.2f}" if fits else "",
        "padding": f"{row['padding_waste']:.0%}" if fits else "",
        "peak MiB": f"{row['peak_memory_bytes'] / 2**20:,.0f}" if "peak_memory_bytes" in row else "",
    }


def find_batch(
    recipe: str | Path,
    *,
    overrides: Mapping[str, str] | None = None,
    variant: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    memory_bytes: int | None = None,
    step_seconds: float = STEP_SECONDS,
    report: Callable[[Mapping[str, Any]], None] = lambda row: None,
) -> BatchSizes:
    """Try sizes of `training.batch_tokens` for the recipe in a file.

    `memory_bytes`: the memory that a run may use; none: MEMORY_SHARE of what is free on a CPU (the system's, and that
    of a container), all of a GPU. No larger size is tried once a step takes `step_seconds`. `report` is called with
    each row. Raises what the recipe raises, WorkError if not even the smallest size fits.
    """
    import torch

    on_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    limit = memory_bytes if memory_bytes is not None or not on_cpu else int(MEMORY_SHARE * available_memory())
    made = {"recipe": str(recipe), "overrides": dict(overrides or {}), "variant": variant, "device": device}
    made |= {"threads": threads, "memory_bytes": limit, "step_seconds": step_seconds}
    rows: list[dict[str, Any]] = []

    def run(sizes: list[int]) -> list[dict[str, Any]]:
        found = _in_process(BatchRequest(**made, sizes=sizes), lambda row: _add(rows, row, report))
        return [row for row in found if "too_small" not in row]

    sizes = [SMALLEST * 2**power for power in range(30) if SMALLEST * 2**power <= LARGEST]
    found = run(sizes)
    fitting = [row for row in found if row["fits"]]
    if not fitting:
        raise WorkError(
            f"no batch fits into {_gib(limit)}: not even the smallest that holds the longest example. Use a smaller "
            "model, `data.max_length`, or a machine with more memory."
        )
    ended = _end_of(fitting, found, step_seconds, limit)
    if not found[-1]["fits"]:
        low, high = int(fitting[-1]["batch_tokens"]), int(found[-1]["batch_tokens"])
        for _ in range(HALVINGS):
            middle = (low + high) // 2
            fits = all(row["fits"] for row in run([middle]))
            low, high = (middle, high) if fits else (low, middle)
    return BatchSizes(sorted(rows, key=lambda row: row["batch_tokens"]), limit, ended)


def _add(rows: list[dict[str, Any]], row: dict[str, Any], report: Callable[[Mapping[str, Any]], None]) -> None:
    if "too_small" not in row:
        rows.append(row)
        report(row)


def _end_of(
    fitting: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]], step_seconds: float, limit: int | None
) -> str:
    last = fitting[-1]
    if not found[-1]["fits"]:
        return f"a larger one needs more than {_gib(limit)}"
    if last["batches_per_pass"] == 1:
        return "one batch then holds all the data"
    if last["step_seconds"] > step_seconds:
        return f"a step then takes {last['step_seconds']:.0f} s"
    return "larger ones were not tried"


def _gib(limit: int | None) -> str:
    return "the GPU's memory" if limit is None else f"{limit / 2**30:.1f} GiB"


def _in_process(request: BatchRequest, report: Callable[[dict[str, Any]], None]) -> list[dict[str, Any]]:
    """The rows of a process that tries the sizes. One that is killed did not fit the size that it was at."""
    command = [sys.executable, "-m", "antiphon.workflows.finding.batch_trial"]
    rows: list[dict[str, Any]] = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        try:
            process.stdin.write(json.dumps(asdict(request)))
            process.stdin.close()
            for line in process.stdout:
                row = json.loads(line)
                if "error" in row:
                    raise _error(row)
                rows.append(row)
                report(row)
            said = process.stderr.read()
        except BaseException:
            process.kill()
            raise
    if process.returncode == 0:
        return rows
    done = {row["batch_tokens"] for row in rows}
    left = [size for size in request.sizes if size not in done]
    killed = process.returncode < 0 or "bad_alloc" in said or "MemoryError" in said
    if not killed or not left:
        last = (said.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise WorkError(f"the trial of batch sizes failed: {last}")
    row = {"batch_tokens": left[0], "fits": False}
    report(row)
    return [*rows, row]


def _error(row: Mapping[str, str]) -> AntiphonError:
    kind = getattr(errors, row["kind"], None)
    if kind in (errors.DataError, errors.ModelError):
        return kind(row["error"])
    usage = isinstance(kind, type) and issubclass(kind, UsageError)
    return ConfigError(row["error"]) if usage else WorkError(row["error"])
