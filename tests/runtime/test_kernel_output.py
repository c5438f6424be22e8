"""`output` = the product and `top` one after the other, bit by bit."""

from __future__ import annotations

import ctypes

import pytest
import torch
from runtime.native_build import library
from runtime.test_kernel_linear import VARIANTS, Layer
from torch import Tensor

from antiphon.runtime.kernels.layout import KernelArguments


@pytest.fixture(params=VARIANTS, scope="module")
def kernels(request: pytest.FixtureRequest) -> ctypes.CDLL:
    return library(*VARIANTS[request.param])


def called(kernels: ctypes.CDLL, name: str, tensors: list[Tensor | None], sizes: list[int]) -> None:
    step = KernelArguments()
    for i, tensor in enumerate(tensors):
        step.p[i] = None if tensor is None else tensor.data_ptr()
    step.n[: len(sizes)] = sizes
    getattr(kernels, name)(ctypes.byref(step))


@pytest.mark.parametrize("kind", ["float", "int8"])
@pytest.mark.parametrize(
    ("rows", "inner", "V", "k"),
    [(1, 8, 5, 8), (7, 33, 300, 3), (25, 64, 256, 1), (200, 20, 513, 8), (193, 16, 1000, 2)],
)
@pytest.mark.parametrize("threads", [1, 3])
def test_output_is_product_and_top(
    kernels: ctypes.CDLL, kind: str, rows: int, inner: int, V: int, k: int, threads: int
) -> None:
    torch.manual_seed(rows)
    kernels.set_threads(ctypes.c_int64(threads))
    x, bias = torch.randn(rows, inner), torch.randn(V)
    x[rows // 2, 0] = float("nan")
    layer = Layer(kernels, kind, torch.randn(V, inner))
    logits = layer(x, bias=bias)
    ban = torch.tensor([0, 3, V])  # V is no id
    wanted = torch.empty(rows, k), torch.empty(rows, k, dtype=torch.long)
    called(kernels, "top", [logits, ban, torch.empty(rows), *wanted], [rows, V, V, k, 3])
    found = torch.empty(rows, k), torch.empty(rows, k, dtype=torch.long)
    tensors = [x, layer.workspace(rows), layer.packed, layer.scales, bias, ban, *found]
    called(kernels, "output", tensors, [rows, inner, V, inner, int(kind == "int8"), k, 3])
    kernels.set_threads(ctypes.c_int64(1))
    assert torch.equal(found[1], wanted[1]) and torch.equal(found[0].nan_to_num(7.0), wanted[0].nan_to_num(7.0))
    assert bool(found[0][rows // 2].isnan().all())
