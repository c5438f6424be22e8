"""The kernels as functions of tensors. While a step is recorded (`record.py`), each call is noted as well as done.

All tensors are float32 on the CPU, and nothing here has a gradient: see `usable`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from ctypes import c_int64
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from antiphon.runtime.kernels.compiler import library
from antiphon.runtime.kernels.layout import KernelArguments
from antiphon.runtime.kernels.packed import Packed
from antiphon.runtime.kernels.steps import run, step

ACTIVATIONS = {"plain": 0, "relu": 1, "gelu": 2, "gelu_tanh": 3, "silu": 4}


@dataclass(slots=True)
class KernelCall:
    """One call of a kernel: what it reads and writes, and its `step`, whose first size counts rows. `held` is all that
    the step points to."""

    name: str
    reads: tuple[Tensor, ...]
    writes: tuple[Tensor, ...]
    step: KernelArguments
    held: tuple[Tensor | None, ...]


class CallSink(Protocol):
    """Who writes down what is done."""

    def note(self, kernel: KernelCall) -> None: ...


class _RecordingState(threading.local):
    notes: CallSink | None = None
    capacity = 0  # positions that may come, while a step is recorded
    settled = False  # whether the weights of that step stay as they are


here = _RecordingState()


def capturing() -> bool:
    """Whether a step is being recorded on this thread: then nothing may depend on the value of a tensor."""
    return here.notes is not None


def capacity() -> int:
    """How many positions there may be in the step that is being recorded."""
    return here.capacity


def usable(*tensors: Tensor | None) -> bool:
    """Whether kernels can compute with these: float32 on the CPU, no gradient asked for, and kernels there."""
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors):
        return False
    there = [tensor for tensor in tensors if tensor is not None]
    if any(tensor.dtype != torch.float32 or tensor.device.type != "cpu" for tensor in there):
        return False
    return library() is not None


def cacheable(kept: Tensor) -> bool:
    """Whether kernels read and write a cache of this type: float32, or float16 of a network in int8."""
    return kept.dtype in (torch.float32, torch.float16) and kept.device.type == "cpu"


def do(
    name: str,
    reads: Sequence[Tensor | None],
    writes: Sequence[Tensor],
    arguments: tuple[Sequence[Tensor | None], Sequence[int], Sequence[float]],
) -> None:
    """Run a kernel now, and note it where a step is recorded."""
    made = step(name, *arguments)
    run(made)
    if here.notes is not None:
        held = tuple(arguments[0])
        here.notes.note(KernelCall(name, tuple(each for each in reads if each is not None), tuple(writes), made, held))


def linear(x: Tensor, packed: Packed, bias: Tensor | None, *, activation: str = "plain") -> Tensor:
    """x (…, K) by a packed weight (N, K), plus bias (N,), under an activation: (…, N)."""
    return linears(x, [(packed, bias)], activation=activation)[0]


def linears(x: Tensor, parts: Sequence[tuple[Packed, Tensor | None]], *, activation: str = "plain") -> list[Tensor]:
    """The same for several weights of one kind, with as many inputs: in int8 x is quantized once."""
    inputs = parts[0][0].inputs
    rows = x.reshape(-1, inputs)
    rows = rows if rows.stride(1) == 1 else rows.contiguous()
    count = rows.shape[0]
    stride = rows.stride(0) if count > 1 else inputs
    room: Tensor | None = None
    found = []
    for packed, bias in parts:
        out = torch.empty((*x.shape[:-1], packed.outputs))
        quantized = room is not None and not capturing()  # a recorded step finds out by itself (joining.py)
        room = room if quantized else _workspace(count, packed)
        tensors = (rows, room, packed.data, packed.scales, bias, None, out)
        sizes = (count, inputs, packed.outputs, stride, packed.outputs, ACTIVATIONS[activation], int(quantized))
        do(f"linear_{_NAMES[packed.kind]}", (rows, packed.data, packed.scales, bias), (out,), (tensors, sizes, ()))
        found.append(out)
    return found


_NAMES = {"int8": "int8", "float32": "float"}


def _workspace(rows: int, packed: Packed) -> Tensor | None:
    """Where quantized activations go."""
    if packed.kind != "int8":
        return None
    found = library()
    assert found is not None
    found.workspace_bytes.restype = c_int64
    whole = torch.empty(found.workspace_bytes(c_int64(rows), c_int64(packed.inputs)) + 64, dtype=torch.uint8)
    return whole[-whole.data_ptr() % 64 :]


def norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, *, kind: str, eps: float) -> Tensor:
    """LayerNorm (`kind` layer) or RMSNorm (`rms`) over the last dimension of x, which is contiguous."""
    size, out = x.shape[-1], torch.empty_like(x, memory_format=torch.contiguous_format)
    sizes = (x.numel() // max(size, 1), size, int(kind == "rms"), size, size)
    do("norm", (x, weight, bias), (out,), ((x, weight, bias, out, None, None), sizes, (eps,)))
    return out


def attend(
    q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None, bias: Tensor | None, extra: Tensor | None, *, scale: float
) -> Tensor:
    """softmax(q·k·scale + bias, over the visible keys and those of `extra`)·v, (B,H,Q,D), laid out as (B,Q,H,D).

    q (B,H,Q,D), k and v (B,G,C,D) in float32 or both in float16, visible (bool) and bias broadcast to (B,H,Q,C), extra
    (H,E). A query that sees nothing gives zeros.
    """
    rows, heads, queries, size = q.shape
    groups, keys = k.shape[1:3]
    out = torch.empty((rows, queries, heads, size))
    whole = (rows, heads, queries, keys)
    seen, added = (None if part is None else part.expand(whole) for part in (visible, bias))
    sizes = (
        *(rows, heads, groups, queries, keys, size),
        *q.stride()[:3],
        *k.stride()[:3],
        *v.stride()[:3],
        *((0,) * 4 if seen is None else seen.stride()),
        *((0,) * 4 if added is None else added.stride()),
        *out.stride()[:3],
        *(0 if extra is None else extra.shape[1], 0, 0, int(k.dtype == torch.float16)),
    )
    tensors = (q, k, v, seen, added, extra, out)
    do("attend", (q, k, v, visible, bias, extra), (out,), (tensors, sizes, (scale,)))
    return out.transpose(1, 2)


def put(leaf: Tensor, slots: Tensor, new: Tensor) -> None:
    """leaf (R,G,C,D), float32 or float16, at slots (R or 1, L) becomes new (R,G,L,D)."""
    rows, groups, length, size = new.shape
    across = slots.stride(0) if slots.shape[0] > 1 else 0
    sizes = (rows, groups, length, size, *new.stride()[:3], *leaf.stride()[:3], across, slots.stride(1))
    sizes = (*sizes, int(leaf.dtype == torch.float16))
    do("put", (new, slots), (leaf,), ((new, leaf, slots), sizes, ()))


def embed(ids: Tensor, table: Tensor) -> Tensor:
    """The rows of table (V, D) that ids name, (…, D)."""
    out = torch.empty((*ids.shape, table.shape[1]))
    sizes = (ids.numel(), table.shape[1], table.shape[0], 0)
    do("embed", (ids, table), (out,), ((ids, table, None, out), sizes, (1.0,)))
    return out


def elementwise(name: str, left: Tensor, right: Tensor | None = None, *, kind: int = 0, factor: float = 0.0) -> Tensor:
    """`add`, `multiply`, `scale` or `activate` on contiguous tensors of one shape."""
    out = torch.empty_like(left)
    do(name, (left, right), (out,), ((left, right, out), (left.numel(), kind), (factor,)))
    return out


def top(logits: Tensor, k: int, forbidden: Tensor | None) -> tuple[Tensor, Tensor]:
    """The k best of each row of logits (R, V) that are not `forbidden` (sorted ids): log-probabilities and ids, (R, k)
    each, best first; of equals the lower id first. Where fewer are left, -inf fills up."""
    rows, size = logits.shape
    lse, values = torch.empty(rows), torch.empty((rows, k))
    ids = torch.empty((rows, k), dtype=torch.long)
    count = 0 if forbidden is None else forbidden.numel()
    sizes = (rows, size, logits.stride(0), k, count, 0)
    do("top", (logits, forbidden), (lse, values, ids), ((logits, forbidden, lse, values, ids), sizes, ()))
    return values, ids


def reorder(leaf: Tensor, index: Tensor, *, width: int) -> None:
    """Row r of leaf (R,G,U,D), whose last two dimensions are contiguous, becomes what row index[r] was, one of the same
    `width` rows."""
    rows, groups, used, size = leaf.shape
    scratch = torch.empty(groups * (used * size + 2 * width))  # what `reorder_scratch_floats` says
    sizes = (rows, groups, used * size, *leaf.stride()[:2], width)
    do("reorder", (leaf, index), (leaf,), ((leaf, index, scratch), sizes, ()))


def place(held: Tensor, count: Tensor, pos: Tensor) -> Tensor:
    """The slots (R, L) that new positions (R or 1, L) take in `held` (R, C + 1), of which `count` (R,) are in use; both
    are told."""
    rows, capacity = held.shape[0], held.shape[1] - 1
    slots = torch.empty((rows, pos.shape[1]), dtype=torch.long)
    sizes = (rows, pos.shape[1], capacity, pos.stride(0) if pos.shape[0] > 1 else 0)
    do("place", (held, count, pos), (held, count, slots), ((held, count, pos, slots), sizes, ()))
    return slots


def sight(q_pos: Tensor, k_pos: Tensor, *, causal: bool) -> Tensor:
    """(B or 1, 1, Q, K) bool: the keys (B or 1, K) that are there and, where `causal`, no later than the query."""
    rows = max(q_pos.shape[0], k_pos.shape[0])
    out = torch.empty((rows, 1, q_pos.shape[1], k_pos.shape[1]), dtype=torch.bool)
    strides = (each.stride(0) if each.shape[0] > 1 else 0 for each in (q_pos, k_pos))
    sizes = (rows, q_pos.shape[1], k_pos.shape[1], int(causal), *strides)
    do("sight", (q_pos, k_pos) if causal else (k_pos,), (out,), ((q_pos, k_pos, out), sizes, ()))
    return out


def blank(x: Tensor, valid: Tensor) -> Tensor:
    """x (B,L,D), contiguous, zero where `valid` (B or 1, L) is false."""
    out = torch.empty_like(x)
    sizes = (*x.shape, valid.stride(0) if valid.shape[0] > 1 else 0)
    do("blank", (x, valid), (out,), ((x, valid, out), sizes, ()))
    return out


def whole_numbers(name: str, numbers: Tensor, least: int) -> Tensor:
    """`at_least` (bool) or `raise_to` of contiguous whole numbers and one of them."""
    out = torch.empty(numbers.shape, dtype=torch.bool if name == "at_least" else torch.long)
    do(name, (numbers,), (out,), ((numbers, None, out), (numbers.numel(), least), ()))
    return out


def rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (B,H,L,D), of which pairs (i, i + D/2) are turned by tables (B or 1, 1, L, D/2)."""
    rows, heads, length, size = x.shape
    out = torch.empty((rows, length, heads, size)).transpose(1, 2)
    across = cos.stride(0) if cos.shape[0] > 1 else 0
    sizes = (rows, heads, length, size, *x.stride()[:3], across, cos.stride(2), *out.stride()[:3])
    do("rotary", (x, cos, sin), (out,), ((x, cos, sin, out), sizes, ()))
    return out
