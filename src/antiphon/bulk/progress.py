"""The progress of a bulk job: one line with shards, rows, rows/s and the time left.

In a terminal the line is redrawn; elsewhere it is said every half minute.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from antiphon.bulk.job import BulkShard
from antiphon.bulk.journal import BlockRecord
from antiphon.data.lines import PACKED
from antiphon.display import clock
from antiphon.urls import without_query

SAY_SECONDS = 30.0
_UNPACKED = {True: 4.0, False: 1.0}  # bytes of text in a byte of a file that is compressed, or not, until it is known


def counted(count: int, what: str) -> str:
    """A number of things, for example `1 shard` or `1,000 rows`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


class BulkProgress:
    """Counts what is durable. `sizes`: the bytes of each shard's files; `done`: the sums of those that were begun
    before, and whether they are complete."""

    def __init__(
        self, shards: Sequence[BulkShard], sizes: Sequence[int], done: Sequence[tuple[BlockRecord, bool]]
    ) -> None:
        self._packed = [without_query(shard.files[0]).endswith((*PACKED, ".parquet")) for shard in shards]
        self.sizes, self.sums = list(sizes), [block for block, _ in done]
        self.complete = [whole for _, whole in done]
        self.before = sum((block for block, _ in done), BlockRecord())
        self.now = BlockRecord()
        self._began = time.monotonic()

    def add(self, shard: int, block: BlockRecord) -> None:
        """Count a block."""
        self.sums[shard] += block
        self.now += block

    def finish(self, shard: int) -> None:
        """Count a shard."""
        self.complete[shard] = True

    @property
    def seconds(self) -> float:
        """Since the start of this run of the job."""
        return time.monotonic() - self._began

    @property
    def rows_per_second(self) -> float:
        """Of this run."""
        return self.now.rows_read / max(self.seconds, 1e-9)

    def seconds_left(self) -> float | None:
        """An estimate by the bytes of the input; None before the first block."""
        work = sum(self._work(shard) for shard in range(len(self.sizes)))
        read = self.now.input_bytes
        left = work - read - self.before.input_bytes
        return None if not read else max(0.0, left) * self.seconds / read

    def line(self) -> str:
        """The progress in one line."""
        total = self.before + self.now
        left = self.seconds_left()
        parts = [
            f"{sum(self.complete):,}/{counted(len(self.complete), 'shard')}",
            counted(total.rows_read, "row"),
            f"{self.rows_per_second:,.0f} rows/s",
            *([f"{clock(left)} left"] if left is not None else []),
            *([f"{total.failed:,} failed"] if total.failed else []),
        ]
        return "  ".join(parts)

    def _work(self, shard: int) -> float:
        """The bytes of text in a shard: as read if it is complete, else by the ratio of complete shards of its kind."""
        if self.complete[shard]:
            return self.sums[shard].input_bytes
        packed = self._packed[shard]
        known = [i for i, whole in enumerate(self.complete) if whole and self._packed[i] == packed]
        size = sum(self.sizes[i] for i in known)
        ratio = sum(self.sums[i].input_bytes for i in known) / size if size else _UNPACKED[packed]
        return max(self.sizes[shard] * ratio, self.sums[shard].input_bytes)


class ProgressDisplay:
    """Shows a `BulkProgress` and messages; `say` writes a line to the user. Closed at the end."""

    def __init__(self, progress: BulkProgress, say: Callable[[str], None], *, quiet: bool) -> None:
        self.progress, self._say = progress, say
        self._live: Any = None if quiet or not sys.stderr.isatty() else _live_line(progress)
        self._quiet, self._said = quiet, time.monotonic()

    def block(self, shard: int, block: BlockRecord) -> None:
        self.progress.add(shard, block)

    def finished(self, shard: int) -> None:
        self.progress.finish(shard)

    def say(self, line: str) -> None:
        if self._live is not None:
            self._live.console.print(line)
        else:
            self._say(line)

    def tick(self) -> None:
        if self._live is None and not self._quiet and time.monotonic() - self._said >= SAY_SECONDS:
            self._said = time.monotonic()
            self._say(f"antiphon: {self.progress.line()}")

    def close(self) -> None:
        """Remove the line that is redrawn."""
        if self._live is not None:
            self._live.stop()


def _live_line(progress: BulkProgress) -> Any:
    """A line at the bottom of the terminal, redrawn four times a second."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)

    def draw() -> Text:
        return Text(progress.line(), no_wrap=True, overflow="crop")

    live = Live(console=console, get_renderable=draw, transient=True, refresh_per_second=4)
    live.start()
    return live
