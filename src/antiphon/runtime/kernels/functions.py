"""The kernels as functions of tensors. While a step is recorded (`record.py`), each call is computed and recorded.

Tensors of floats are float32 on the CPU, without gradients: see `usable`.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import c_int64

import torch
from torch import Tensor

from antiphon.runtime.kernels.calls import KernelCall, cacheable, capacity, capturing, do, here, usable
from antiphon.runtime.kernels.compiler import library
from antiphon.runtime.kernels.packed import SHORT_NAMES, Packed
from antiphon.runtime.kernels.table import ACTIVATIONS, CACHE_LINE_BYTES, NORM_KINDS

__all__ = [
    "ACTIVATIONS",
    "KernelCall",
    "add_shared",
    "attend",
    "blank",
    "cacheable",
    "capacity",
    "capturing",
    "do",
    "elementwise",
    "embed",
    "here",
    "linear",
    "linears",
    "norm",
    "place",
    "put",
    "reorder",
    "rotary",
    "sight",
    "top",
    "usable",
    "whole_numbers",
]


def linear(x: Tensor, packed: Packed, bias: Tensor | None, *, activation: str = "plain") -> Tensor:
    """x (…, K) by a packed weight (N, K), plus bias (N,), under an activation: (…, N)."""
    return linears(x, [(packed, bias)], activation=activation)[0]


def linears(x: Tensor, parts: Sequence[tuple[Packed, Tensor | None]], *, activation: str = "plain") -> list[Tensor]:
    """The same for several weights of one kind and one number of inputs: for int8, x is quantized once."""
    inputs = parts[0][0].inputs
    rows = x.reshape(-1, inputs)
    rows = rows if rows.stride(1) == 1 else rows.contiguous()
    count = rows.shape[0]
    x_stride = rows.stride(0) if count > 1 else inputs
    workspace: Tensor | None = None
    results = []
    for packed, bias in parts:
        out = torch.empty((*x.shape[:-1], packed.outputs))
        # In a recorded step, fusion.py decides which products share a workspace.
        reuse = workspace is not None and not capturing()
        workspace = workspace if reuse else _workspace(count, packed)
        do(
            f"linear_{SHORT_NAMES[packed.kind]}",
            reads=(rows, packed.data, packed.scales, bias),
            writes=(out,),
            tensors={
                "x": rows,
                "workspace": workspace,
                "packed": packed.data,
                "scales": packed.scales,
                "bias": bias,
                "residual": None,
                "out": out,
            },
            sizes={
                "rows": count,
                "inputs": inputs,
                "outputs": packed.outputs,
                "x_stride": x_stride,
                "out_stride": packed.outputs,
                "activation": ACTIVATIONS[activation],
                "reuse_workspace": int(reuse),
            },
        )
        results.append(out)
    return results


def _workspace(rows: int, packed: Packed) -> Tensor | None:
    """Memory for the quantized rows of x."""
    if packed.kind != "int8":
        return None
    kernels = library()
    assert kernels is not None
    kernels.workspace_bytes.restype = c_int64
    size = kernels.workspace_bytes(c_int64(rows), c_int64(packed.inputs))
    memory = torch.empty(size + CACHE_LINE_BYTES, dtype=torch.uint8)
    return memory[-memory.data_ptr() % CACHE_LINE_BYTES :]


def norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, *, kind: str, eps: float) -> Tensor:
    """LayerNorm (`kind` layer) or RMSNorm (`rms`) over the last dimension of x, which is contiguous."""
    dim, out = x.shape[-1], torch.empty_like(x, memory_format=torch.contiguous_format)
    rows = x.numel() // max(dim, 1)
    do(
        "norm",
        reads=(x, weight, bias),
        writes=(out,),
        tensors={"x": x, "weight": weight, "bias": bias, "out": out, "residual": None, "sum": None},
        sizes={"rows": rows, "dim": dim, "kind": NORM_KINDS[kind], "x_stride": dim, "out_stride": dim},
        numbers={"eps": eps},
    )
    return out


def attend(
    q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None, bias: Tensor | None, extra: Tensor | None, *, scale: float
) -> Tensor:
    """softmax(q·k·scale + bias, over the visible keys and those of `extra`)·v, (B,H,Q,D), laid out as (B,Q,H,D).

    q (B,H,Q,D), k and v (B,G,C,D) in float32 or both in float16, visible (bool) and bias broadcast to (B,H,Q,C), extra
    (H,E). A query that sees no key gives zeros.
    """
    rows, heads, queries, dim = q.shape
    kv_heads, keys = k.shape[1:3]
    out = torch.empty((rows, queries, heads, dim))
    shape = (rows, heads, queries, keys)
    mask, terms = (None if part is None else part.expand(shape) for part in (visible, bias))
    q_row, q_head, q_query, _ = q.stride()
    k_row, k_head, k_key, _ = k.stride()
    v_row, v_head, v_key, _ = v.stride()
    mask_row, mask_head, mask_query, mask_key = _NO_STRIDES if mask is None else mask.stride()
    bias_row, bias_head, bias_query, bias_key = _NO_STRIDES if terms is None else terms.stride()
    out_row, out_query, out_head, _ = out.stride()
    sizes = {
        "rows": rows, "heads": heads, "kv_heads": kv_heads, "queries": queries, "keys": keys, "dim": dim,
        "q_stride_row": q_row, "q_stride_head": q_head, "q_stride_query": q_query,
        "k_stride_row": k_row, "k_stride_head": k_head, "k_stride_key": k_key,
        "v_stride_row": v_row, "v_stride_head": v_head, "v_stride_key": v_key,
        "visible_stride_row": mask_row, "visible_stride_head": mask_head,
        "visible_stride_query": mask_query, "visible_stride_key": mask_key,
        "bias_stride_row": bias_row, "bias_stride_head": bias_head,
        "bias_stride_query": bias_query, "bias_stride_key": bias_key,
        "out_stride_row": out_row, "out_stride_query": out_query, "out_stride_head": out_head,
        "sink_count": 0 if extra is None else extra.shape[1], "ancestry_stride": 0, "beam_width": 0,
        "kv_half": int(k.dtype == torch.float16),
    }  # fmt: skip
    do(
        "attend",
        reads=(q, k, v, visible, bias, extra),
        writes=(out,),
        tensors={"q": q, "k": k, "v": v, "visible": mask, "bias": terms, "sinks": extra, "out": out, "ancestry": None},
        sizes=sizes,
        numbers={"scale": scale},
    )
    return out.transpose(1, 2)


_NO_STRIDES = (0, 0, 0, 0)  # of a mask or bias that is not given


def put(cache: Tensor, slots: Tensor, new: Tensor) -> None:
    """cache (R,G,C,D), float32 or float16, at slots (R or 1, L) becomes new (R,G,L,D)."""
    rows, heads, length, dim = new.shape
    new_row, new_head, new_position, _ = new.stride()
    cache_row, cache_head, cache_slot, _ = cache.stride()
    sizes = {
        "rows": rows, "heads": heads, "length": length, "dim": dim,
        "new_stride_row": new_row, "new_stride_head": new_head, "new_stride_position": new_position,
        "cache_stride_row": cache_row, "cache_stride_head": cache_head, "cache_stride_slot": cache_slot,
        "slots_stride_row": _row_stride(slots), "slots_stride_position": slots.stride(1),
        "cache_half": int(cache.dtype == torch.float16),
    }  # fmt: skip
    do(
        "put",
        reads=(new, slots),
        writes=(cache,),
        tensors={"new": new, "cache": cache, "slots": slots},
        sizes=sizes,
    )


def _row_stride(tensor: Tensor) -> int:
    """The stride between rows; 0 where one row serves all."""
    return tensor.stride(0) if tensor.shape[0] > 1 else 0


def embed(ids: Tensor, table: Tensor) -> Tensor:
    """The rows of table (V, D) with these ids, (…, D)."""
    out = torch.empty((*ids.shape, table.shape[1]))
    do(
        "embed",
        reads=(ids, table),
        writes=(out,),
        tensors={"ids": ids, "table": table, "added": None, "out": out},
        sizes={"rows": ids.numel(), "dim": table.shape[1], "vocab_size": table.shape[0], "added_stride": 0},
        numbers={"factor": 1.0},
    )
    return out


def elementwise(name: str, left: Tensor, right: Tensor | None = None, *, kind: int = 0, factor: float = 0.0) -> Tensor:
    """`add`, `multiply`, `scale` (by `factor`) or `activate` (`kind`: of ACTIVATIONS) on contiguous tensors of one
    shape."""
    out = torch.empty_like(left)
    do(
        name,
        reads=(left, right),
        writes=(out,),
        tensors={"left": left, "right": right, "out": out},
        sizes={"count": left.numel(), "activation": kind},
        numbers={"factor": factor},
    )
    return out


def add_shared(x: Tensor, shared: Tensor) -> Tensor:
    """x (R, …) plus shared (1, …), both contiguous."""
    out = torch.empty_like(x)
    do(
        "add_shared",
        reads=(x, shared),
        writes=(out,),
        tensors={"x": x, "shared": shared, "out": out},
        sizes={"count": x.numel(), "shared_count": shared.numel()},
    )
    return out


def top(logits: Tensor, k: int, forbidden: Tensor | None) -> tuple[Tensor, Tensor]:
    """The k largest of each row of logits (R, V) that are not `forbidden` (sorted ids): log-probabilities and ids, each
    (R, k), in descending order; of equals the lower id first. With fewer than k candidates the rest is -inf."""
    rows, vocab_size = logits.shape
    logsumexp, values = torch.empty(rows), torch.empty((rows, k))
    ids = torch.empty((rows, k), dtype=torch.long)
    do(
        "top",
        reads=(logits, forbidden),
        writes=(logsumexp, values, ids),
        tensors={"logits": logits, "forbidden": forbidden, "logsumexp": logsumexp, "values": values, "ids": ids},
        sizes={
            "rows": rows,
            "vocab_size": vocab_size,
            "logits_stride": logits.stride(0),
            "k": k,
            "forbidden_count": 0 if forbidden is None else forbidden.numel(),
        },
    )
    return values, ids


def reorder(cache: Tensor, index: Tensor, *, width: int) -> None:
    """Row r of cache (R,G,C,D), whose last two dimensions are contiguous, gets the content that row index[r] had, which
    is one of the same `width` rows."""
    rows, heads, length, dim = cache.shape
    scratch = torch.empty(heads * (length * dim + 2 * width))  # as `reorder_scratch_floats` in copies.c
    do(
        "reorder",
        reads=(cache, index),
        writes=(cache,),
        tensors={"cache": cache, "index": index, "scratch": scratch},
        sizes={
            "rows": rows,
            "heads": heads,
            "used": length * dim,
            "cache_stride_row": cache.stride(0),
            "cache_stride_head": cache.stride(1),
            "group_rows": width,
        },
    )


def place(key_pos: Tensor, count: Tensor, pos: Tensor) -> Tensor:
    """The slots (R, L) for new positions (R or 1, L). In place, `key_pos` (R, C + 1) gets the positions at these slots
    and `count` (R,), the slots in use, grows."""
    rows, capacity = key_pos.shape[0], key_pos.shape[1] - 1
    slots = torch.empty((rows, pos.shape[1]), dtype=torch.long)
    do(
        "place",
        reads=(key_pos, count, pos),
        writes=(key_pos, count, slots),
        tensors={"key_pos": key_pos, "slots_used": count, "new_pos": pos, "slots": slots, "ancestry": None},
        sizes={
            "rows": rows,
            "length": pos.shape[1],
            "capacity": capacity,
            "new_pos_stride": _row_stride(pos),
            "beam_width": 0,
            "ancestry_rows": 0,
            "ancestry_stride": 0,
        },
    )
    return slots


def sight(q_pos: Tensor, k_pos: Tensor, *, causal: bool) -> Tensor:
    """(B or 1, 1, Q, K) bool: keys (B or 1, K) that are not padding and, if `causal`, not later than the query."""
    rows = max(q_pos.shape[0], k_pos.shape[0])
    out = torch.empty((rows, 1, q_pos.shape[1], k_pos.shape[1]), dtype=torch.bool)
    do(
        "sight",
        reads=(q_pos, k_pos) if causal else (k_pos,),
        writes=(out,),
        tensors={"q_pos": q_pos, "k_pos": k_pos, "out": out},
        sizes={
            "rows": rows,
            "queries": q_pos.shape[1],
            "keys": k_pos.shape[1],
            "causal": int(causal),
            "q_pos_stride": _row_stride(q_pos),
            "k_pos_stride": _row_stride(k_pos),
        },
    )
    return out


def blank(x: Tensor, valid: Tensor) -> Tensor:
    """x (B,L,D), contiguous, with zeros where `valid` (B or 1, L) is false."""
    rows, length, dim = x.shape
    out = torch.empty_like(x)
    do(
        "blank",
        reads=(x, valid),
        writes=(out,),
        tensors={"x": x, "valid": valid, "out": out},
        sizes={"rows": rows, "length": length, "dim": dim, "valid_stride": _row_stride(valid)},
    )
    return out


def whole_numbers(name: str, numbers: Tensor, least: int) -> Tensor:
    """`at_least` (bool) or `raise_to` of contiguous int64 numbers and an integer: numbers >= least, or the maximum."""
    out = torch.empty(numbers.shape, dtype=torch.bool if name == "at_least" else torch.long)
    do(
        name,
        reads=(numbers,),
        writes=(out,),
        tensors={"x": numbers, "out": out},
        sizes={"count": numbers.numel(), "bound": least},
    )
    return out


def rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (B,H,L,D), whose pairs (i, i + D/2) are rotated by tables (B or 1, 1, L, D/2)."""
    rows, heads, length, dim = x.shape
    out = torch.empty((rows, length, heads, dim)).transpose(1, 2)
    x_row, x_head, x_position, _ = x.stride()
    out_row, out_head, out_position, _ = out.stride()
    sizes = {
        "rows": rows, "heads": heads, "length": length, "dim": dim,
        "x_stride_row": x_row, "x_stride_head": x_head, "x_stride_position": x_position,
        "angle_stride_row": _row_stride(cos), "angle_stride_position": cos.stride(2),
        "out_stride_row": out_row, "out_stride_head": out_head, "out_stride_position": out_position,
    }  # fmt: skip
    do(
        "rotary",
        reads=(x, cos, sin),
        writes=(out,),
        tensors={"x": x, "cos": cos, "sin": sin, "out": out},
        sizes=sizes,
    )
    return out
