"""The choice of how a decoding step is run: recorded kernels, a CUDA graph, or the network's own code.

A step is recorded or captured only if a trial reproduces the results of the network's own code. There is one trial for
a network and a kind of step, with the first source of the first batch and two hypotheses of it.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

from antiphon.errors import AntiphonError, AttentionError, memory_ran_out
from antiphon.nn.mixers import Memory
from antiphon.runtime import graph
from antiphon.runtime.graph import GraphStep
from antiphon.runtime.kernels import functions as kernels
from antiphon.runtime.recorded import RecordedStep
from antiphon.runtime.recorder.record import Unrecordable
from antiphon.runtime.runtime import Runtime
from antiphon.runtime.step import TopKRequest
from antiphon.runtime.stepper import DecodeStepper, JoinSize, StepKind

MAX_RELATIVE_ERROR = 1e-3  # of the largest logit, between a replayed step and the network's own code


def make_stepper(
    runtime: Runtime,
    memory: Memory,
    *,
    width: int,
    capacity: int,
    wanted: TopKRequest | None = None,
    records: bool | None = None,
    joins: JoinSize | None = None,
    window: int | None = None,
) -> DecodeStepper:
    """A `DecodeStepper` for hypotheses over `memory`, which runs steps in the fastest way that passed the trial.

    `records` False: by the network's own code, for example to read the attention weights of each step; True: recorded
    or captured, without a trial. `joins`: other sources should be able to join; without effect where they cannot.
    """
    kind = possible_kind(memory) if records is True else None if records is False else step_kind(runtime, memory)
    if joins is not None and not (kind is RecordedStep and can_join(runtime, memory)):
        joins = None
    return DecodeStepper(
        runtime, memory, width=width, capacity=capacity, wanted=wanted, kind=kind, joins=joins, window=window
    )


def step_kind(runtime: Runtime, memory: Memory) -> StepKind:
    """The fastest way to run steps over `memory` that reproduces the network's own results."""
    kind = possible_kind(memory)
    if kind is None:
        return None
    if kind not in runtime.verdicts:
        first = memory.select(torch.zeros(1, dtype=torch.long, device=memory.hidden.device))
        runtime.verdicts[kind] = _recorded(runtime, first) if kind is RecordedStep else _captured(runtime, first)
    return kind if runtime.verdicts[kind] else None


def can_join(runtime: Runtime, memory: Memory) -> bool:
    """Whether sources may join a recorded step over `memory`, each at its own position."""
    if memory.tokens.segment is not None or memory.tokens.prefix is not None:
        return False
    if runtime.can_join is None:
        runtime.can_join = _joined(runtime, memory.select(torch.zeros(1, dtype=torch.long)))
    return runtime.can_join


def possible_kind(memory: Memory) -> StepKind:
    """The fast way to run steps on the device of `memory`; None if there is none."""
    if kernels.usable(memory.hidden):
        return RecordedStep
    return GraphStep if graph.usable(memory.hidden) else None


def _recorded(runtime: Runtime, memory: Memory) -> bool:
    """Whether two recorded steps reproduce the network's own results."""
    ids = torch.arange(4).remainder(runtime.network.vocab_size)
    own, again = (DecodeStepper(runtime, memory, width=2, capacity=3, kind=kind) for kind in (None, RecordedStep))
    try:
        for place in range(2):
            for stepper in (own, again):
                stepper.step(ids[2 * place : 2 * place + 2], place)
    except (Unrecordable, AttentionError) as error:
        # An exception of a user's rule arrives as an AttentionError.
        if isinstance(error, AttentionError) and not isinstance(error.__cause__, Unrecordable):
            raise
        return False
    return _is_close(own.logits, again.logits, MAX_RELATIVE_ERROR)


def _joined(runtime: Runtime, memory: Memory) -> bool:
    """Whether a source and the same one, which joins a step later, have the results of the network's own code."""
    ids = torch.arange(4).remainder(runtime.network.vocab_size)
    own = DecodeStepper(runtime, memory, width=2, capacity=3)
    size = JoinSize(2, memory.hidden.shape[1])
    again = DecodeStepper(runtime, memory, width=2, capacity=3, kind=RecordedStep, joins=size)
    own.step(ids[:2], 0)
    first = own.logits.clone()
    own.step(ids[2:], 1)
    try:
        again.step(ids[:2], torch.tensor([0]))
        again.join(again.initial(memory), 1)
        again.step(torch.cat([ids[2:], ids[:2]]), torch.tensor([1, 0]))
    except (Unrecordable, AttentionError) as error:
        if isinstance(error, AttentionError) and not isinstance(error.__cause__, Unrecordable):
            raise
        return False
    return _is_close(torch.cat([own.logits, first]), again.logits, MAX_RELATIVE_ERROR)


def _captured(runtime: Runtime, memory: Memory) -> bool:
    """Whether four steps with a CUDA graph reproduce the network's own results. The first runs its own code,
    the last two are replayed."""
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
        if not _is_close(own.logits, again.logits, max(MAX_RELATIVE_ERROR, 4 * torch.finfo(own.logits.dtype).eps)):
            return False
    return isinstance(again.current, GraphStep)


def _is_close(own: Tensor, again: Tensor, most: float) -> bool:
    return bool((own - again).abs().max() <= most * own.abs().max())
