"""A step of decoding on a GPU that is captured once as a CUDA graph and launched again as a whole.

    made = GraphStep(network, memory, state, ids, pos, candidates=None)    # takes the first step
    made.run(ids, place=1, sources=5)                        # captures the step, and takes the second one
    made.logits(rows), made.best

The first step is the network's own code, which also warms up what is set up when it is first used. The second one is
captured: nothing is computed meanwhile, the state least of all, so that a step that cannot be captured is simply taken
by the network's code. From then on a step is one launch. Inputs, logits and the leaves of the state stay in the same
memory; weights are read each time. How graphs work: PyTorch's notes on CUDA semantics, "CUDA Graphs".

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
from antiphon.runtime.step import TopIds, TopKRequest, fill_gaps

NEG_INF = float("-inf")
# Hypotheses up to which a step is not captured again for half of them: the weights are read all the same, and a new
# capture costs two steps of the network's own code. An estimate, from the bytes that a step reads; not measured.
SHRINK_FROM_ROWS = 64


class Graph(Protocol):
    """Work that is noted once and done again."""

    def warm(self, work: Callable[[], None]) -> None:
        """Do `work`, where `capture` will note it."""

    def capture(self, work: Callable[[], None]) -> None:
        """Note what `work` does, and do nothing."""

    def replay(self) -> None:
        """Do what was noted, in the same memory."""


class CudaGraph:
    """A graph of CUDA's. Warmed up and captured on a stream of its own, as PyTorch asks for."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream, self.graph = device, torch.cuda.Stream(device), torch.cuda.CUDAGraph()

    def warm(self, work: Callable[[], None]) -> None:
        with self._aside():
            work()

    def capture(self, work: Callable[[], None]) -> None:
        # Outermost, since PyTorch's own context leaves its stream in place where the capture fails. Other threads may
        # ask for memory meanwhile.
        with self._aside(), torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode="thread_local"):
            work()

    def replay(self) -> None:
        self.graph.replay()

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        """On the other stream, behind what this one was given; and this one goes on behind that."""
        here = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(here)
        try:
            with torch.cuda.stream(self.stream):
                yield
        finally:
            here.wait_stream(self.stream)


def graph_on(device: torch.device) -> Graph:
    """An empty graph."""
    return CudaGraph(device)


def usable(hidden: Tensor) -> bool:
    """Whether steps that read this memory can be captured at all."""
    return hidden.is_cuda


class GraphTopK:
    """Finds what is wanted in logits, as part of the step; what is not to be found is told by a tensor."""

    def __init__(self, wanted: TopKRequest, size: int, device: torch.device) -> None:
        self.wanted, self.size, self.held = wanted, size, False
        self.added = torch.zeros(size, device=device)  # to each id's log-probability
        self.added[list(wanted.never)] = NEG_INF
        self.behind = torch.arange(size - 1, -1, -1, device=device)

    def suppress_end(self, end: bool) -> None:
        """Whether the end is held back."""
        self.added[self.wanted.end] = NEG_INF if end or self.wanted.end in self.wanted.never else 0.0
        self.held = end

    def best(self, logits: Tensor) -> TopIds:
        """Of logits (R, V), best first; of equals the lower id first."""
        log_p, count = log_softmax(logits) + self.added, min(self.wanted.k, self.size)
        if log_p.dtype != torch.float32:
            ids = log_p.sort(dim=1, descending=True, stable=True).indices[:, :count]
            return log_p.gather(1, ids), ids
        # Among equals `topk` may take any, so that it is given whole numbers of which no two are equal: in the upper
        # half the bits of the value, in an order that whole numbers have, in the lower half how many ids are behind.
        bits = log_p.view(torch.int32)
        rising = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
        ids = self.size - 1 - ((rising << 32) + self.behind).topk(count).values.bitwise_and(0xFFFFFFFF)
        return log_p.gather(1, ids), ids


class GraphStep:
    """The step of `network` from `state`, of which the first is taken at once.

    `heavy` says that a graph of fewer rows pays for itself where half of the sources have left.
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
        self.state, self.sources, self.candidates = state, memory.hidden.shape[0], candidates
        rows = self.sources * state.width
        self.ids, self.pos = ids.reshape(rows, 1).clone(), pos.clone()
        self.heavy = rows > SHRINK_FROM_ROWS
        self._network, self._memory = network, memory
        self._graph, self._noted = graph_on(ids.device), False
        self._graph.warm(self._step)

    def _step(self) -> None:
        hidden, _ = self._network.decode(self.ids, Tokens(self.pos), self._memory, self.state)
        self._logits = self._network.logits(hidden[:, -1])
        self.best = None if self.candidates is None else self.candidates.best(self._logits)

    def logits(self, rows: int) -> Tensor:
        """(rows, V), those of the last step."""
        return self._logits[:rows]

    def run(self, ids: Tensor, position: int | Tensor, sources: int) -> None:
        """One more token of the hypotheses of the first `sources`, at one position.

        The others are computed too, from what they held, and nobody looks at them. Unrecordable, with the state as it
        was, where the step cannot be captured.
        """
        self.ids[: ids.numel(), 0] = ids
        self.pos.fill_(int(position))
        if not self._noted:
            self._capture()
        self._graph.replay()

    def keep(self, staying: Tensor) -> Tensor:
        """Only the sources `staying` (n,) remain, moved to the first places; returns their order."""
        return fill_gaps(self.state, staying)

    def join(self, first: int, state: DecoderState, count: int) -> None:
        """No source joins: all rows are at one position."""
        raise AssertionError("sources join a recorded step only")

    def is_oversized(self, sources: int) -> bool:
        """Whether half of the sources have left a graph of many rows."""
        return self.heavy and 2 * sources <= self.sources

    def _capture(self) -> None:
        try:
            self._graph.capture(self._step)
        except (RuntimeError, AntiphonError) as error:
            if memory_ran_out(error):
                raise
            raise Unrecordable(one_line(error)) from error
        self._noted = True


class _Watch(TorchDispatchMode):
    """Refuses what gives Python a value, before a capture would fail at it: a failed one leaves PyTorch's allocator and
    generators as they were in its midst."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self, function: Any, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = function._schema.name.removeprefix("aten::")
        if name in VALUE_READS:
            raise Unrecordable(f"its code looks at the value of a tensor (`{name}`)")
        found = function(*args, **(kwargs or {}))
        if name in ("_to_copy", "copy_"):
            source = args[1] if name == "copy_" else args[0]
            if source.device != found.device:
                raise Unrecordable(f"its code copies from {source.device.type} to {found.device.type}")
        return found


def watched() -> contextlib.AbstractContextManager[Any]:
    """Within, Unrecordable where code looks at the value of a tensor or moves one to another device."""
    return _Watch()
