"""`output` = the product and `top` one after the other, bit by bit."""

from __future__ import annotations

import ctypes

import pytest
import torch
from runtime.native_build import Kernels
from runtime.test_kernel_linear import VARIANTS, Layer, variant


@pytest.fixture(params=VARIANTS, scope="module")
def kernels(request: pytest.FixtureRequest) -> Kernels:
    return variant(request.param)


@pytest.mark.parametrize("kind", ["float", "int8"])
@pytest.mark.parametrize(
    ("rows", "inner", "V", "k"),
    [(1, 8, 5, 8), (7, 33, 300, 3), (25, 64, 256, 1), (200, 20, 513, 8), (193, 16, 1000, 2)],
)
@pytest.mark.parametrize("threads", [1, 3])
def test_output_is_product_and_top(
    kernels: Kernels, kind: str, rows: int, inner: int, V: int, k: int, threads: int
) -> None:
    torch.manual_seed(rows)
    kernels.set_threads(ctypes.c_int64(threads))
    x, bias = torch.randn(rows, inner), torch.randn(V)
    x[rows // 2, 0] = float("nan")
    layer = Layer(kernels, kind, torch.randn(V, inner))
    logits = layer(x, bias=bias)
    ban = torch.tensor([0, 3, V])  # V is no id
    wanted, found = ((torch.empty(rows, k), torch.empty(rows, k, dtype=torch.long)) for _ in range(2))
    tensors = {"forbidden": ban, "values": wanted[0], "ids": wanted[1]}
    sizes = {"rows": rows, "k": k, "forbidden_count": 3}
    kernels.call(
        "top",
        {**tensors, "logits": logits, "logsumexp": torch.empty(rows)},
        {**sizes, "vocab_size": V, "logits_stride": V},
    )
    tensors = {"forbidden": ban, "values": found[0], "ids": found[1], "x": x, "workspace": layer.workspace(rows)}
    kernels.call(
        "output",
        {**tensors, "packed": layer.packed, "scales": layer.scales, "bias": bias},
        {**sizes, "inputs": inner, "outputs": V, "x_stride": inner, "is_int8": int(kind == "int8")},
    )
    kernels.set_threads(ctypes.c_int64(1))
    assert torch.equal(found[1], wanted[1]) and torch.equal(found[0].nan_to_num(7.0), wanted[0].nan_to_num(7.0))
    assert bool(found[0][rows // 2].isnan().all())
