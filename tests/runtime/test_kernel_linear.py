"""The linear kernels against float64, and against themselves: a row alone = the row in any batch."""

from __future__ import annotations

import ctypes
import os
import random
import threading
from collections.abc import Callable

import pytest
import torch
from runtime.native_build import Kernels, library
from torch import Tensor
from torch.nn import functional

from antiphon.runtime.kernels.table import ACTIVATIONS as CODES

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda x: x,
    "relu": functional.relu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
}
VARIANTS = {
    "native": ("-march=native",),
    "plain": (),
    "dots": ("-march=native", "-DANTIPHON_EMULATE_VNNI"),
    "shuffled": ("-march=native",),
}


class Layer:
    """A packed layer: `layer(x, ...)` is one call of its kernel."""

    def __init__(self, kernels: Kernels, kind: str, weight: Tensor) -> None:
        self.kernels, self.kind, self.outer, self.inner = kernels, kind, *weight.shape
        sizes = ctypes.c_int64(self.outer), ctypes.c_int64(self.inner)
        self.packed = torch.empty(getattr(kernels, f"packed_{kind}_bytes")(*sizes), dtype=torch.int8)
        self.scales = torch.empty(self.outer)
        tensors = (self.packed, self.scales) if kind == "int8" else (self.packed,)
        getattr(kernels, f"pack_{kind}")(pointer(weight), *sizes, *map(pointer, tensors))

    def workspace(self, rows: int) -> Tensor:
        size = self.kernels.workspace_bytes(ctypes.c_int64(rows), ctypes.c_int64(self.inner))
        return torch.empty(size, dtype=torch.int8)

    def __call__(
        self,
        x: Tensor,
        *,
        bias: Tensor | None = None,
        residual: Tensor | None = None,
        activation: str = "plain",
        out: Tensor | None = None,
        workspace: Tensor | None = None,
        reuse: bool = False,
    ) -> Tensor:
        out = torch.full((len(x), self.outer), 7.0) if out is None else out
        work = self.workspace(len(x)) if workspace is None else workspace
        tensors = {"x": x, "workspace": work, "packed": self.packed, "scales": self.scales, "bias": bias}
        sizes = {"rows": len(x), "inputs": self.inner, "outputs": self.outer, "reuse_workspace": int(reuse)}
        sizes |= {"x_stride": x.stride(0), "out_stride": out.stride(0), "activation": CODES[activation]}
        self.kernels.call(f"linear_{self.kind}", {**tensors, "residual": residual, "out": out}, sizes)
        return out


def pointer(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


def variant(name: str) -> Kernels:
    return library(*VARIANTS[name], shuffled=name == "shuffled")


@pytest.fixture(params=VARIANTS, scope="module")
def kernels(request: pytest.FixtureRequest) -> Kernels:
    return variant(request.param)


kinds = pytest.mark.parametrize("kind", ["float", "int8"])


def bound(x: Tensor, weight: Tensor, kind: str) -> Tensor:
    """How far a product may be off: the rounding of both sides by half a level each, or that of float32."""
    size = x.abs().double() @ weight.abs().double().T
    if kind == "float":
        return 1e-6 * size + 1e-6
    level = x.abs().amax(1, keepdim=True).double() / 127
    step = weight.abs().amax(1).double() / 127
    return 0.51 * (level * weight.abs().double().sum(1) + x.abs().double().sum(1, keepdim=True) * step) + 1e-5


@kinds
def test_against_float64(kernels: Kernels, kind: str) -> None:
    chance = random.Random(1)
    for trial in range(40):
        torch.manual_seed(trial)
        rows, inner, outer = chance.randint(1, 70), chance.choice([1, 2, 3, 7, 33, 64, 257, 700]), chance.randint(1, 90)
        x = torch.randn(rows, inner + chance.randint(0, 5))[:, :inner]
        weight = torch.randn(outer, inner)
        layer = Layer(kernels, kind, weight)
        bias = torch.randn(outer) if trial % 2 else None
        wide = torch.full((rows, outer + 3), 7.0)
        activation = list(ACTIVATIONS)[trial % 5]
        before = x.double() @ weight.double().T + (0 if bias is None else bias)
        wanted, out, residual = ACTIVATIONS[activation](before), wide[:, :outer], None
        if trial % 3:
            residual = out if trial % 3 == 1 else torch.randn(rows, outer + 3)[:, :outer]
            wanted = wanted + residual
        layer(x, bias=bias, residual=residual, activation=activation, out=out)
        assert ((out - wanted).abs() <= 1.2 * bound(x, weight, kind)).all()  # no activation is steeper than 1.13
        assert (wide[:, outer:] == 7).all()


def test_int8_is_close(kernels: Kernels) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(40, 512), torch.randn(300, 512)
    wanted = x.double() @ weight.double().T
    error = (Layer(kernels, "int8", weight)(x) - wanted).norm() / wanted.norm()
    assert 1e-4 < error < 0.013  # weights alone 0.007; with activations of 8 bits 0.010


@kinds
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_row_has_the_same_bits_everywhere(kernels: Kernels, kind: str, activation: str) -> None:
    torch.manual_seed(2)
    for rows, inner, outer in ((37, 300, 77), (130, 600, 200)):
        x, bias, residual = torch.randn(rows, inner), torch.randn(outer), torch.randn(rows, outer)
        layer = Layer(kernels, kind, torch.randn(outer, inner))
        whole = layer(x, bias=bias, residual=residual, activation=activation)
        for count in (1, 2, 3, 4, 5, 7, 20):
            for first in (0, 11, rows - count):
                some = slice(first, first + count)
                alone = layer(x[some], bias=bias, residual=residual[some], activation=activation)
                assert torch.equal(alone, whole[some])
        for threads in (2, 3):
            kernels.set_threads(ctypes.c_int64(threads))
            try:
                assert torch.equal(layer(x, bias=bias, residual=residual, activation=activation), whole)
            finally:
                kernels.set_threads(ctypes.c_int64(1))


@kinds
@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
def test_a_row_with_nan_is_nan_and_no_other(kernels: Kernels, kind: str, odd: float) -> None:
    torch.manual_seed(3)
    x, layer = torch.randn(9, 50), Layer(kernels, kind, torch.randn(30, 50))
    for activation in ACTIVATIONS:
        clean = layer(x, activation=activation)
        broken = x.clone()
        broken[4, 49] = odd
        out = layer(broken, activation=activation)
        others = torch.arange(9) != 4
        assert torch.equal(out[others], clean[others])
        if kind == "int8" or odd != odd:
            assert out[4].isnan().all()


def test_a_weight_that_is_nan_is_its_channel_only(kernels: Kernels) -> None:
    torch.manual_seed(3)
    x, weight = torch.randn(5, 50), torch.randn(30, 50)
    clean = Layer(kernels, "int8", weight)(x)
    weight[7, 3] = float("nan")
    out = Layer(kernels, "int8", weight)(x)
    others = torch.arange(30) != 7
    assert out[:, 7].isnan().all()
    assert torch.equal(out[:, others], clean[:, others])


@kinds
def test_a_row_of_zeros_is_the_bias(kernels: Kernels, kind: str) -> None:
    torch.manual_seed(4)
    x, bias, layer = torch.randn(8, 50), torch.randn(30), Layer(kernels, kind, torch.randn(30, 50))
    x[3], x[5] = 0, 1e-38
    out = layer(x, bias=bias, activation="relu")
    assert torch.equal(out[3], bias.relu())
    assert torch.allclose(out[5], bias.relu(), atol=1e-30)


@kinds
def test_extremes(kernels: Kernels, kind: str) -> None:
    """All at their largest: no sum overflows."""
    layer = Layer(kernels, kind, torch.full((20, 3001), -2.0))
    for sign in (1.0, -1.0):
        assert torch.allclose(layer(torch.full((3, 3001), 3.0 * sign)), torch.full((3, 20), -18006.0 * sign))


def test_the_workspace_is_used_again(kernels: Kernels) -> None:
    torch.manual_seed(5)
    x, layer, other = torch.randn(9, 50), *(Layer(kernels, "int8", torch.randn(n, 50)) for n in (30, 41))
    workspace = layer.workspace(9)
    layer(x, workspace=workspace)
    assert torch.equal(other(torch.zeros(9, 50), workspace=workspace, reuse=True), other(x))


@kinds
def test_nothing_to_do(kernels: Kernels, kind: str) -> None:
    layer = Layer(kernels, kind, torch.randn(30, 50))
    assert layer(torch.randn(0, 50)).shape == (0, 30)


def test_callers_at_once() -> None:
    """Two Python threads, each with its own numbers, on a pool of three."""
    kernels = library("-march=native")
    torch.manual_seed(6)
    layer = Layer(kernels, "int8", torch.randn(400, 300))
    inputs = [torch.randn(60, 300) for _ in range(3)]
    wanted = [layer(x) for x in inputs]
    wrong: list[int] = []

    def call(i: int) -> None:
        wrong.extend(i for _ in range(60) if not torch.equal(layer(inputs[i]), wanted[i]))

    kernels.set_threads(ctypes.c_int64(3))
    assert kernels.thread_count() == 3
    try:
        callers = [threading.Thread(target=call, args=(i,)) for i in range(3)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    finally:
        kernels.set_threads(ctypes.c_int64(1))
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own() -> None:
    kernels = library("-march=native")
    torch.manual_seed(7)
    layer, x = Layer(kernels, "float", torch.randn(400, 300)), torch.randn(60, 300)
    wanted = layer(x)
    kernels.set_threads(ctypes.c_int64(2))
    try:
        assert torch.equal(layer(x), wanted)
        child = os.fork()
        if child == 0:
            os._exit(0 if torch.equal(layer(x), wanted) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert torch.equal(layer(x), wanted)
    finally:
        kernels.set_threads(ctypes.c_int64(1))


@pytest.mark.parametrize("flags", ["-mavx512f -mavx512bw -mavx512vl -mavx512vnni", "-mavxvnni", "-mavx2"])
def test_other_processors_compile(flags: str) -> None:
    """Without a warning: what cannot run here."""
    if os.uname().machine != "x86_64":
        pytest.skip("flags of x86-64 only")
    compiled = library("-mfma", *flags.split())
    for kernel in ("linear_float", "linear_int8", "pack_int8"):
        assert ctypes.cast(getattr(compiled, kernel), ctypes.c_void_p).value
