"""The law of recorded decoding steps (antiphon.runtime.recorded)."""

from __future__ import annotations

import torch

from antiphon.conformance.meter import DifferenceMeter, Skip
from antiphon.conformance.subject import Subject, padded
from antiphon.runtime.kernels.compiler import why_not
from antiphon.runtime.policy import make_stepper
from antiphon.runtime.recorder.record import Unrecordable
from antiphon.runtime.runtime import Runtime

NEAR = 1e-4  # tolerance relative to the largest logit, in float32
STEPS, WIDTH = 5, 2


def recorded(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """a decoding step that is recorded and replayed by kernels computes what the network's code computes"""
    if (reason := why_not()) is not None:
        raise Skip(f"there are no kernels to replay it: {reason}")
    network = subject.network(role).float()
    source, tokens = torch.tensor([[5, 6, 7, 4, 2], [9, 8, 2, 0, 0], [4, 4, 2, 0, 0]]), padded(5, 3, 3)
    with torch.inference_mode():
        memory = network.encode(source, tokens)
        eager, replayed = (
            make_stepper(Runtime(network), memory, width=WIDTH, capacity=STEPS, records=records)
            for records in (False, True)
        )
        staying = torch.arange(3)
        for place in range(STEPS):
            ids = torch.arange(3 * WIDTH).add(5 * place).remainder(network.vocab_size)
            ids = ids.view(3, WIDTH)[staying].flatten()
            try:
                for stepper in (eager, replayed):
                    stepper.step(ids, place)
            except Unrecordable as error:
                raise Skip(f"{error}: each step is run by the network's code, which is slower") from error
            meter.equal(
                replayed.logits,
                eager.logits,
                axes=("hypothesis", "id"),
                what=f"the logits of step {place}",
                tolerance=NEAR,
            )
            if place == 1:
                swap = torch.tensor([1, 0, 2, 3, 5, 5])
                for stepper in (eager, replayed):
                    stepper.state.reorder(swap)
            if place == 2:  # the last source leaves the batch
                staying = torch.arange(2)
                for stepper in (eager, replayed):
                    stepper.keep(staying)
