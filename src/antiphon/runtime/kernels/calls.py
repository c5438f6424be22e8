"""Runs kernels on tensors. While a step is recorded (`record.py`), each call is computed and recorded as well."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from antiphon.runtime.kernels.compiler import library
from antiphon.runtime.kernels.layout import KernelArguments
from antiphon.runtime.kernels.steps import NO_NUMBERS, pack, run_packed
from antiphon.runtime.kernels.table import SIGNATURES


@dataclass(slots=True)
class KernelCall:
    """One call of a kernel: the tensors that it reads and writes, and its arguments, `step`.

    `held` are the tensors that the step points to, so that they stay alive; at first in the order of table.py.
    """

    name: str
    reads: tuple[Tensor, ...]
    writes: tuple[Tensor, ...]
    step: KernelArguments
    held: tuple[Tensor | None, ...]

    def pointer(self, tensor: str) -> int | None:
        """The address of the tensor with this name in table.py."""
        return self.step.p[SIGNATURES[self.name].tensor_index[tensor]]

    def set_pointer(self, tensor: str, address: int | None) -> None:
        self.step.p[SIGNATURES[self.name].tensor_index[tensor]] = address

    def size(self, name: str) -> int:
        """The size, stride or flag with this name in table.py."""
        return self.step.n[SIGNATURES[self.name].size_index[name]]

    def set_size(self, name: str, value: int) -> None:
        self.step.n[SIGNATURES[self.name].size_index[name]] = value


class CallRecorder(Protocol):
    """Records calls of kernels."""

    def record(self, kernel: KernelCall) -> None: ...


class _RecordingState(threading.local):
    """The recording of this thread: `recorder`, None if no step is being recorded; `capacity`, the maximum number of
    positions; `frozen`, whether the weights do not change."""

    recorder: CallRecorder | None = None
    capacity = 0
    frozen = False


recording_state = _RecordingState()
here = recording_state


def capturing() -> bool:
    """Whether a step is being recorded on this thread: then no code may depend on the value of a tensor."""
    return recording_state.recorder is not None


def capacity() -> int:
    """The maximum number of positions of the step that is being recorded."""
    return recording_state.capacity


def usable(*tensors: Tensor | None) -> bool:
    """Whether the kernels are compiled and can compute with these tensors: float32, on the CPU, without gradients."""
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors):
        return False
    given = [tensor for tensor in tensors if tensor is not None]
    if any(tensor.dtype != torch.float32 or tensor.device.type != "cpu" for tensor in given):
        return False
    return library() is not None


def cacheable(cache: Tensor) -> bool:
    """Whether kernels read and write a cache of this type: float32, or the float16 of a network in int8."""
    return cache.dtype in (torch.float32, torch.float16) and cache.device.type == "cpu"


def do(
    name: str,
    *,
    reads: Sequence[Tensor | None],
    writes: Sequence[Tensor],
    tensors: Mapping[str, Tensor | None],
    sizes: Mapping[str, int],
    numbers: Mapping[str, float] = NO_NUMBERS,
) -> None:
    """Run a kernel; where a step is recorded, record the call. Arguments as in `steps.pack`."""
    arguments = pack(name, tensors=tensors, sizes=sizes, numbers=numbers)
    run_packed(arguments)
    recorder = recording_state.recorder
    if recorder is not None:
        made = KernelArguments.from_buffer_copy(arguments)
        held = tuple(tensors[each] for each in SIGNATURES[name].tensors)
        given = tuple(each for each in reads if each is not None)
        recorder.record(KernelCall(name, given, tuple(writes), made, held))
