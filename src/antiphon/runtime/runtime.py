"""Data of a network that is shared by the batches it decodes: recorded steps, trial results, the batch limit.

    runtime = Runtime(network)
    search = Search(runtime, requests, config)

To decode with one network from several threads, acquire `runtime.lock`: recorded steps and their decoding state are
used by one batch at a time.
"""

from __future__ import annotations

import threading
from functools import cached_property

from torch import nn

from antiphon.models.protocol import Seq2Seq
from antiphon.runtime.batch_limit import BatchLimit
from antiphon.runtime.quantized import Int8Linear, is_quantized
from antiphon.runtime.recorded import RecordedStep

MAX_STORED_STEPS = 4
CALL_WEIGHTS = 100_000_000  # int8 products of one thread in the time of a call's Python code, 4 ms on one machine


class Runtime:
    """Runs the decoding steps of `network`.

    `verdicts`: for each kind of step, whether it reproduced the network's own results. `can_join`: whether a recorded
    step did so too for sources at different positions, one of which joined. policy.py sets both when they are first
    needed, None until then. `pads_exactly`: whether padding changes no bit of a memory, set by encoding.py.
    `batch_limit` bounds batches by what fitted into memory.
    """

    def __init__(self, network: Seq2Seq) -> None:
        self.network = network
        self.lock = threading.RLock()
        self.verdicts: dict[type, bool] = {}
        self.can_join: bool | None = None
        self.pads_exactly: bool | None = None
        self.batch_limit = BatchLimit()
        self._steps: dict[object, RecordedStep] = {}

    @cached_property
    def is_quantized(self) -> bool:
        """Whether the network has int8 weights: then the result of a row must not depend on the others in any bit."""
        return is_quantized(self.network)

    @cached_property
    def call_tokens(self) -> int:
        """The number of source tokens that the encoder reads in the time that a call of it takes besides."""
        encoder = getattr(self.network, "encoder", None)
        weights = sum(map(_num_weights, encoder.modules())) if isinstance(encoder, nn.Module) else 0
        return CALL_WEIGHTS // max(weights, CALL_WEIGHTS // 1000)

    @classmethod
    def of(cls, network: Seq2Seq | Runtime) -> Runtime:
        """`network` if it is a runtime; for a network, a new runtime."""
        return network if isinstance(network, Runtime) else cls(network)

    def take(self, shape: object) -> RecordedStep | None:
        """Remove and return the stored step for this shape; None if there is none or the weights have changed."""
        version = self._version()
        return None if version is None else self._steps.pop((shape, version), None)

    def store(self, shape: object, step: RecordedStep) -> None:
        """Store a recorded step for the next batch of this shape."""
        version = self._version()
        if version is None:
            return
        while len(self._steps) >= MAX_STORED_STEPS:
            self._steps.pop(next(iter(self._steps)), None)
        self._steps[shape, version] = step

    def _version(self) -> int | None:
        """A number that changes if a weight changes or a module is replaced. None if weights may be trained, since
        `_version` does not show every change. For frozen weights, one number of each is compared as well."""
        values: list[int] = []
        if not isinstance(self.network, nn.Module):
            return None
        modules: list[nn.Module] = [self.network]
        while modules:  # `network.parameters()` takes ten times as long
            module = modules.pop()
            values.append(id(module))
            modules += [part for part in module._modules.values() if part is not None]
            for weight in module._parameters.values():
                if weight is not None and weight.requires_grad:
                    if not self.network.frozen:
                        return None
                    values.append(hash(weight.detach().flatten()[weight.numel() // 2].item()))
                if weight is not None:
                    values += [weight.data_ptr(), 0 if weight.is_inference() else weight._version]
        return hash(tuple(values))


def _num_weights(module: nn.Module) -> int:
    return module.in_features * module.out_features if isinstance(module, Int8Linear) else 0
