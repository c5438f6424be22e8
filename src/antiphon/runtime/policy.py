"""Which way a network's decoding step is run: recorded by kernels, as a CUDA graph, or by its own code.

A step is recorded, or captured, only where a trial has reproduced what the network's own code computes. The trial is
made once for a network and a kind of step, with the first source of the first batch and two hypotheses of it.
"""

from __future__ import annotations

import contextlib

import torch

from antiphon.errors import AntiphonError, AttentionError, memory_ran_out
from antiphon.nn.mixers import Memory
from antiphon.runtime import graph
from antiphon.runtime.graph import GraphStep
from antiphon.runtime.kernels import functions as kernels
from antiphon.runtime.recorded import RecordedStep
from antiphon.runtime.recorder.record import Unrecordable
from antiphon.runtime.runtime import Runtime
from antiphon.runtime.step import TopKRequest
from antiphon.runtime.stepper import DecodeStepper, StepKind

MAX_RELATIVE_ERROR = 1e-3  # of the largest logit, between a step that is run again and the network's own


def make_stepper(
    runtime: Runtime,
    memory: Memory,
    *,
    width: int,
    capacity: int,
    wanted: TopKRequest | None = None,
    records: bool | None = None,
    joins: bool = False,
    window: int | None = None,
) -> DecodeStepper:
    """The hypotheses over `memory`, with their steps run in the fastest way (see `DecodeStepper`).

    `records` False: by the network's own code, as is needed where attention weights of each step are read; True:
    recorded or captured, whatever a trial would say.
    """
    kind = possible_kind(memory) if records is True else None if records is False else step_kind(runtime, memory)
    return DecodeStepper(
        runtime, memory, width=width, capacity=capacity, wanted=wanted, kind=kind, joins=joins, window=window
    )


def step_kind(runtime: Runtime, memory: Memory) -> StepKind:
    """The fastest way to run the steps over `memory` that reproduces the network's own."""
    kind = possible_kind(memory)
    if kind is None:
        return None
    if kind not in runtime.verdicts:
        first = memory.select(torch.zeros(1, dtype=torch.long, device=memory.hidden.device))
        runtime.verdicts[kind] = _recorded(runtime, first) if kind is RecordedStep else _captured(runtime, first)
    return kind if runtime.verdicts[kind] else None


def possible_kind(memory: Memory) -> StepKind:
    """The way that the device of `memory` allows."""
    if kernels.usable(memory.hidden):
        return RecordedStep
    return GraphStep if graph.usable(memory.hidden) else None


def _recorded(runtime: Runtime, memory: Memory) -> bool:
    """Whether two recorded steps equal the network's own."""
    ids = torch.arange(4).remainder(runtime.network.vocab_size)
    own, again = (DecodeStepper(runtime, memory, width=2, capacity=3, kind=kind) for kind in (None, RecordedStep))
    try:
        for place in range(2):
            for stepper in (own, again):
                stepper.step(ids[2 * place : 2 * place + 2], place)
    except (Unrecordable, AttentionError) as error:
        # What a user's rule raises arrives as an AttentionError.
        if isinstance(error, AttentionError) and not isinstance(error.__cause__, Unrecordable):
            raise
        return False
    assert isinstance(again.current, RecordedStep)
    runtime.torch_calls = again.current.program.calls
    return _is_close(own, again, MAX_RELATIVE_ERROR)


def _captured(runtime: Runtime, memory: Memory) -> bool:
    """Whether four captured steps equal the network's own: the first is its own code, the last two are replayed."""
    ids = torch.arange(8, device=memory.hidden.device).remainder(runtime.network.vocab_size).view(4, 2)
    own, again = (DecodeStepper(runtime, memory, width=2, capacity=5, kind=kind) for kind in (None, GraphStep))
    for place in range(4):
        own.step(ids[place], place)
        try:
            with graph.watched() if place == 0 else contextlib.nullcontext():
                again.step(ids[place], place)
        except (Unrecordable, AntiphonError, RuntimeError) as error:
            if memory_ran_out(error):
                raise
            return False
        if not _is_close(own, again, max(MAX_RELATIVE_ERROR, 4 * torch.finfo(own.logits.dtype).eps)):
            return False
    return isinstance(again.current, GraphStep)


def _is_close(own: DecodeStepper, again: DecodeStepper, most: float) -> bool:
    return bool((own.logits - again.logits).abs().max() <= most * own.logits.abs().max())
