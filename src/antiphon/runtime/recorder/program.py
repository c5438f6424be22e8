"""A recorded step that can be repeated: consecutive kernels in one call, other operations through PyTorch, all in the
same memory.

    program = Program(recorder.entries, each=[ids, pos], now_and_then=leaves, rows=(N, N * W), results=[logits])
    program.run(open)            # for the first `open` of the N sources that it was recorded with
    program.refresh()            # after rows of the leaves were exchanged

Operations that depend on no input were computed when the step was recorded and are not repeated. Neighbouring kernels
are merged (fusion.py).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence

from torch import Tensor

from antiphon.runtime.kernels.functions import KernelCall
from antiphon.runtime.kernels.layout import KernelArguments
from antiphon.runtime.kernels.steps import run
from antiphon.runtime.kernels.table import SCALED_SIZE
from antiphon.runtime.recorder.arena import IN_PLACE, share_memory
from antiphon.runtime.recorder.fusion import joined
from antiphon.runtime.recorder.record import Entry, TorchCall, memory_of
from antiphon.runtime.recorder.rows import by_rows


class Program:
    """`each` are the tensors that change before each run, `now_and_then` those that change before a `refresh`.

    `rows` are the sizes of a first dimension that counts rows: N sources, N·W hypotheses. `results` are the tensors
    that the caller reads after a run.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        *,
        each: Iterable[Tensor],
        now_and_then: Iterable[Tensor],
        rows: tuple[int, int],
        results: Iterable[Tensor],
    ) -> None:
        self.sources = rows[0]
        changed = {memory_of(tensor) for entry in entries if _in_place(entry) for tensor in entry.writes}
        often, seldom = {memory_of(tensor) for tensor in each} | changed, {memory_of(tensor) for tensor in now_and_then}
        seldom -= often
        scaled = by_rows(entries, (*each, *now_and_then), rows)
        steps: list[Entry] = []
        self._refresh: list[Entry] = []
        for entry in entries:
            read = {memory_of(tensor) for tensor in entry.reads}
            written = {memory_of(tensor) for tensor in entry.writes}
            if (read | written) & often:
                often |= written
                steps.append(entry)
            elif read & seldom:
                seldom |= written
                self._refresh.append(entry)
        wanted = {memory_of(tensor) for tensor in results}
        steps = joined(_needed(steps, wanted), results=wanted)
        self.calls = sum(isinstance(entry, TorchCall) for entry in steps)
        self.kernels = [entry.name for entry in steps if isinstance(entry, KernelCall)]
        fixed = {memory_of(tensor) for entry in self._refresh for tensor in (*entry.reads, *entry.writes)}
        self._kept = (share_memory(steps, scaled=scaled, apart=wanted | fixed), steps)
        self._parts: list[TorchCall | ctypes.Array[KernelArguments]] = []
        self._scaled: list[tuple[KernelArguments, int]] = []
        self._cut(steps, scaled)
        self._rows = self.sources

    def _cut(self, steps: Sequence[Entry], scaled: set[int]) -> None:
        """Make an array of each sequence of kernels, which is run in one call. The first size of kernels in `scaled`
        counts rows."""
        together: list[KernelCall] = []
        for entry in (*steps, None):
            if isinstance(entry, KernelCall):
                together.append(entry)
                continue
            if together:
                array = (KernelArguments * len(together))(*(kernel.step for kernel in together))
                pairs = zip(array, together, strict=True)
                self._scaled += [(made, made.n[SCALED_SIZE]) for made, kernel in pairs if id(kernel) in scaled]
                self._parts.append(array)
                together = []
            if entry is not None:
                self._parts.append(entry)

    def run(self, sources: int) -> None:
        """Repeat the step for the first `sources` sources."""
        if sources != self._rows:
            self._rows = sources
            for made, rows in self._scaled:
                made.n[SCALED_SIZE] = rows // self.sources * sources
        for part in self._parts:
            if isinstance(part, TorchCall):
                part()
            else:
                run(part, len(part))

    def refresh(self) -> None:
        """Repeat the operations that depend on `now_and_then` and on nothing that changes before each run."""
        for entry in self._refresh:
            if isinstance(entry, TorchCall):
                entry()
            else:
                run(entry.step)


def _in_place(entry: Entry) -> bool:
    return entry.name in IN_PLACE if isinstance(entry, KernelCall) else entry.in_place


def _needed(steps: Sequence[Entry], wanted: set[int]) -> list[Entry]:
    """The steps with a result that is read, or that change a tensor in place."""
    read, found = set(wanted), []
    for entry in reversed(steps):
        if _in_place(entry) or any(memory_of(tensor) in read for tensor in entry.writes):
            read |= {memory_of(tensor) for tensor in entry.reads}
            found.append(entry)
    return found[::-1]
