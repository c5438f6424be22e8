"""What is kept of a network between the batches that it decodes: one object, which a model holds.

    runtime = Runtime(network)
    search = Search(runtime, requests, config)

Whoever decodes one network from several threads takes `runtime.lock`: the recorded steps and the network's state of
decoding belong to one batch at a time.
"""

from __future__ import annotations

import threading

from torch import nn

from antiphon.models.seq2seq import EncoderDecoder
from antiphon.runtime.batch_splitter import BatchSplitter
from antiphon.runtime.recorded import RecordedStep

MAX_STORED_STEPS = 4


class Runtime:
    """How the decoding steps of `network` are run.

    `verdicts` says for each kind of step whether it reproduced the network's own results. `torch_calls` is the number
    of operations of a recorded step that have no kernel. Both are found at the first batch, by policy.py. `splitter`
    knows which batches have not fitted into memory.
    """

    def __init__(self, network: EncoderDecoder) -> None:
        self.network = network
        self.lock = threading.RLock()
        self.verdicts: dict[type, bool] = {}
        self.torch_calls: int | None = None
        self.splitter = BatchSplitter()
        self._steps: dict[object, RecordedStep] = {}

    @classmethod
    def of(cls, network: EncoderDecoder | Runtime) -> Runtime:
        """A runtime itself; of a network, a new one."""
        return network if isinstance(network, Runtime) else cls(network)

    def take(self, shape: object) -> RecordedStep | None:
        """The step that a batch of this shape has stored, which is then gone; None where the weights have changed."""
        version = self._version()
        return None if version is None else self._steps.pop((shape, version), None)

    def store(self, shape: object, step: RecordedStep) -> None:
        """Keep a recorded step for the next batch of this shape."""
        version = self._version()
        if version is None:
            return
        while len(self._steps) >= MAX_STORED_STEPS:
            self._steps.pop(next(iter(self._steps)), None)
        self._steps[shape, version] = step

    def _version(self) -> int | None:
        """Changes whenever a weight changes, or a module is replaced. None where weights may be trained, since a change
        of theirs is not always visible in `_version`; of weights that are frozen, and trained nevertheless, one number
        each is compared."""
        values: list[int] = []
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
