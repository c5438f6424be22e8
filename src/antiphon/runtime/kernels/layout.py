"""The memory layout of a kernel's arguments (step.h), and a test of a compiled library on this processor."""

from __future__ import annotations

import ctypes
import random

from antiphon.runtime.kernels.table import ACTIVATIONS, MAX_NUMBERS, MAX_SIZES, MAX_TENSORS, SIGNATURES


class KernelArguments(ctypes.Structure):
    """The address of a kernel and its arguments; the layout of `Step` in step.h."""

    _fields_ = (
        ("run", ctypes.c_void_p),
        ("p", ctypes.c_void_p * MAX_TENSORS),
        ("n", ctypes.c_int64 * MAX_SIZES),
        ("f", ctypes.c_double * MAX_NUMBERS),
    )


def computes_correctly(kernels: ctypes.CDLL) -> bool:
    """Whether the products of a library are correct: the processor may execute instructions that no test has run on."""
    return all(_product_is_close(kernels, kind, bound) for kind, bound in (("float", 1e-4), ("int8", 0.1)))


def _product_is_close(kernels: ctypes.CDLL, kind: str, bound: float) -> bool:
    """A product of 7 rows of 70 numbers by 40 weights of each, compared with plain Python."""
    generator, (rows, inputs, outputs) = random.Random(kind), (7, 70, 40)
    x, weight = ([generator.gauss(0, 1) for _ in range(count * inputs)] for count in (rows, outputs))
    c_x, c_weight = ((ctypes.c_float * len(values))(*values) for values in (x, weight))
    shape = ctypes.c_int64(outputs), ctypes.c_int64(inputs)
    for name in (f"packed_{kind}_bytes", "workspace_bytes"):
        getattr(kernels, name).restype = ctypes.c_int64
    packed = (ctypes.c_char * getattr(kernels, f"packed_{kind}_bytes")(*shape))()
    workspace = (ctypes.c_char * kernels.workspace_bytes(ctypes.c_int64(rows), shape[1]))()
    scales, out = (ctypes.c_float * outputs)(), (ctypes.c_float * (rows * outputs))()
    getattr(kernels, f"pack_{kind}")(c_weight, *shape, packed, *([scales] if kind == "int8" else []))
    signature, step = SIGNATURES[f"linear_{kind}"], KernelArguments()
    tensors = {"x": c_x, "workspace": workspace, "packed": packed, "scales": scales, "out": out}
    sizes = {"rows": rows, "inputs": inputs, "outputs": outputs, "x_stride": inputs, "out_stride": outputs}
    for name, array in tensors.items():
        step.p[signature.tensor_index[name]] = ctypes.addressof(array)
    for name, size in {**sizes, "activation": ACTIVATIONS["plain"], "reuse_workspace": 0}.items():
        step.n[signature.size_index[name]] = size
    getattr(kernels, f"linear_{kind}")(ctypes.byref(step))
    expected = [
        sum(x[row * inputs + k] * weight[column * inputs + k] for k in range(inputs))
        for row in range(rows)
        for column in range(outputs)
    ]
    largest = max(map(abs, expected))
    return all(abs(mine - theirs) <= bound * largest for mine, theirs in zip(out, expected, strict=True))
