"""What a kernel is given, as step.h lays it out; and whether a compiled library computes right on this processor."""

from __future__ import annotations

import ctypes
import random

TENSORS, SIZES, NUMBERS = 8, 32, 2


class KernelArguments(ctypes.Structure):
    """A kernel's address and what it works on; the layout of step.h."""

    _fields_ = (
        ("run", ctypes.c_void_p),
        ("p", ctypes.c_void_p * TENSORS),
        ("n", ctypes.c_int64 * SIZES),
        ("f", ctypes.c_double * NUMBERS),
    )


def right(kernels: ctypes.CDLL) -> bool:
    """Whether its products are what they must be: a processor may have instructions that ours have not run on yet."""
    return all(_near(kernels, kind, bound) for kind, bound in (("float", 1e-4), ("int8", 0.1)))


def _near(kernels: ctypes.CDLL, kind: str, bound: float) -> bool:
    """Seven rows of 70 numbers by 40 weights of each, beside plain Python."""
    dice, (rows, inner, outer) = random.Random(kind), (7, 70, 40)
    x, weight = ([dice.gauss(0, 1) for _ in range(count * inner)] for count in (rows, outer))
    given = [(ctypes.c_float * len(numbers))(*numbers) for numbers in (x, weight)]
    sizes = ctypes.c_int64(outer), ctypes.c_int64(inner)
    for name in (f"packed_{kind}_bytes", "workspace_bytes"):
        getattr(kernels, name).restype = ctypes.c_int64
    packed = (ctypes.c_char * getattr(kernels, f"packed_{kind}_bytes")(*sizes))()
    room = (ctypes.c_char * kernels.workspace_bytes(ctypes.c_int64(rows), sizes[1]))()
    scales, out = (ctypes.c_float * outer)(), (ctypes.c_float * (rows * outer))()
    getattr(kernels, f"pack_{kind}")(given[1], *sizes, packed, *([scales] if kind == "int8" else []))
    step = KernelArguments()
    for place, held in ((0, given[0]), (1, room), (2, packed), (3, scales), (6, out)):
        step.p[place] = ctypes.addressof(held)
    step.n[:5] = [rows, inner, outer, inner, outer]
    getattr(kernels, f"linear_{kind}")(ctypes.byref(step))
    wanted = [
        sum(x[row * inner + k] * weight[column * inner + k] for k in range(inner))
        for row in range(rows)
        for column in range(outer)
    ]
    size = max(map(abs, wanted))
    return all(abs(mine - theirs) <= bound * size for mine, theirs in zip(out, wanted, strict=True))
