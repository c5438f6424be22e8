"""A decoding step on a GPU that is captured once as a CUDA graph and then replayed.

    made = GraphStep(network, memory, state, ids, pos, candidates=None)    # runs the first step
    made.run(ids, place=1, sources=5)                        # captures the second step and runs it
    made.logits(rows), made.best

The first step runs the network's own code, which also initializes libraries on their first use. The second step is
captured. A capture computes nothing and does not change the state, so if it fails the network's code runs that step.
Every later step is one launch. Inputs, logits and the leaves of the state stay in the same memory; weights are read
each time. See "CUDA Graphs" in PyTorch's notes on CUDA semantics.

Written and tested with a stand-in for the graph; not yet run on a GPU. Shapes: N sources, W hypotheses of each,
R = N·W, V ids.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from antiphon.batch import Tokens
from antiphon.errors import AntiphonError, memory_ran_out, one_line
from antiphon.models.protocol import Seq2Seq
from antiphon.nn.mixers import Memory
from antiphon.nn.state import DecoderState
from antiphon.runtime.inference import log_softmax
from antiphon.runtime.recorder.record import VALUE_READS, Unrecordable
from antiphon.runtime.step import ReplayedStep, TopIds, TopKRequest, fill_gaps

NEG_INF = float("-inf")
# Number of hypotheses from which a step is captured again for half of them. With fewer, reading the weights takes most
# of the time, and a capture costs two steps of the network's own code. Estimated from the bytes read, not measured.
SHRINK_FROM_ROWS = 64


class Graph(Protocol):
    """Work that is captured once and replayed."""

    def warm(self, work: Callable[[], None]) -> None:
        """Run `work` on the stream on which `capture` will capture it."""

    def capture(self, work: Callable[[], None]) -> None:
        """Capture `work` without running it."""

    def replay(self) -> None:
        """Run the captured work, in the same memory."""


class CudaGraph:
    """A CUDA graph. Warmed up and captured on a stream of its own, as PyTorch requires."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream, self.graph = device, torch.cuda.Stream(device), torch.cuda.CUDAGraph()

    def warm(self, work: Callable[[], None]) -> None:
        with self._aside():
            work()

    def capture(self, work: Callable[[], None]) -> None:
        # Outermost, since PyTorch's own context does not restore the stream if the capture fails. Other threads may
        # allocate memory meanwhile.
        with self._aside(), torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode="thread_local"):
            work()

    def replay(self) -> None:
        self.graph.replay()

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        """Use the other stream within the context. Each stream waits for the work of the other."""
        here = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(here)
        try:
            with torch.cuda.stream(self.stream):
                yield
        finally:
            here.wait_stream(self.stream)


def graph_on(device: torch.device) -> Graph:
    """A new graph."""
    return CudaGraph(device)


def usable(hidden: Tensor) -> bool:
    """Whether steps over this memory can be captured at all."""
    return hidden.is_cuda


class GraphTopK:
    """Finds the requested ids as part of the captured step. Ids are excluded by a tensor, which may change."""

    def __init__(self, wanted: TopKRequest, size: int, device: torch.device) -> None:
        self.wanted, self.size = wanted, size
        self.added = torch.zeros(size, device=device)  # added to the log-probability of each id
        self.added[list(wanted.never)] = NEG_INF
        self.behind = torch.arange(size - 1, -1, -1, device=device)

    def best(self, logits: Tensor) -> TopIds:
        """The best ids of logits (R, V), best first; of equal ones the lower id first."""
        log_p, count = log_softmax(logits) + self.added, min(self.wanted.k, self.size)
        if log_p.dtype != torch.float32:
            ids = log_p.sort(dim=1, descending=True, stable=True).indices[:, :count]
            return log_p.gather(1, ids), ids
        # Among equal values `topk` may select any, so it gets integers of which no two are equal: the bits of the value
        # in the upper half, in the order of integers, and the number of higher ids in the lower half.
        bits = log_p.view(torch.int32)
        rising = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
        ids = self.size - 1 - ((rising << 32) + self.behind).topk(count).values.bitwise_and(0xFFFFFFFF)
        return log_p.gather(1, ids), ids


class GraphStep(ReplayedStep):
    """The step of `network` from `state`. The constructor runs the first step.

    `heavy`: whether a new graph of fewer rows is worthwhile once half of the sources have left.
    """

    def __init__(
        self,
        network: Seq2Seq,
        memory: Memory,
        state: DecoderState,
        ids: Tensor,
        pos: Tensor,
        *,
        candidates: GraphTopK | None,
    ) -> None:
        super().__init__(state, ids, pos)
        self.candidates = candidates
        self.heavy = ids.numel() > SHRINK_FROM_ROWS
        self._network, self._memory = network, memory
        self._graph, self._noted = graph_on(ids.device), False
        self._graph.warm(self._step)

    def _step(self) -> None:
        hidden, _ = self._network.decode(self.ids, Tokens(self.pos), self._memory, self.state)
        self._logits = self._network.logits(hidden[:, -1])
        self.best = None if self.candidates is None else self.candidates.best(self._logits)

    def logits(self, rows: int) -> Tensor:
        """The logits (rows, V) of the last step."""
        return self._logits[:rows]

    def run(self, ids: Tensor, position: int | Tensor, sources: int) -> None:
        """Run the next token of the hypotheses of the first `sources`, at one position.

        The other rows are computed too, from their last inputs, and ignored. Raises Unrecordable, with unchanged state,
        if the step cannot be captured.
        """
        self.ids[: ids.numel(), 0] = ids
        self.pos.fill_(int(position))
        if not self._noted:
            self._capture()
        self._graph.replay()

    def keep(self, staying: Tensor) -> Tensor:
        """Keep only the sources `staying` (n,), moved to the first rows. Returns their order."""
        return fill_gaps(self.state, staying)

    def join(self, first: int, state: DecoderState, count: int) -> None:
        """Not supported: all rows are at one position."""
        raise AssertionError("sources join a recorded step only")

    def _capture(self) -> None:
        try:
            self._graph.capture(self._step)
        except (RuntimeError, AntiphonError) as error:
            if memory_ran_out(error):
                raise
            raise Unrecordable(one_line(error)) from error
        self._noted = True


class _Watch(TorchDispatchMode):
    """Raises Unrecordable at operations that return a value to Python, before a capture fails at them: a failed capture
    does not restore PyTorch's allocator and generators."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self, function: Any, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = function._schema.name.removeprefix("aten::")
        if name in VALUE_READS:
            raise Unrecordable(f"its code reads the value of a tensor (`{name}`)")
        found = function(*args, **(kwargs or {}))
        if name in ("_to_copy", "copy_"):
            source = args[1] if name == "copy_" else args[0]
            if source.device != found.device:
                raise Unrecordable(f"its code copies from {source.device.type} to {found.device.type}")
        return found


def watched() -> contextlib.AbstractContextManager[Any]:
    """Raise Unrecordable within the context if code reads the value of a tensor or moves one to another device."""
    return _Watch()
