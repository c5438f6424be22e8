"""Operations with a PyTorch body, which a runtime may replace by a faster implementation.

    @operation
    def zero_padding(x, valid): ...                  # a call runs the body

    OPERATIONS["zero_padding"].lowering = blank      # from now on `blank` is called first

A lowering takes the arguments of the body and returns an equal result, or NotImplemented for a call that it does not
compute. The package `nn` sets none; `antiphon.runtime` sets kernels for decoding on a CPU. Operators of
torch.library could be used instead, but their calls cost 1.5 to 4 µs more than a function's, a lookup here 0.6 µs
(`python benchmarks/operations.py`); a forward makes about ten such calls a layer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


class Operation(Generic[P, T]):
    """A function with a PyTorch `body`. `lowering`, if set, is tried first, but not under torch.compile."""

    def __init__(self, body: Callable[P, T]) -> None:
        self.body = body
        self.lowering: Callable[..., Any] | None = None
        functools.update_wrapper(self, body)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        if self.lowering is not None and not torch.compiler.is_compiling():
            result = self.lowering(*args, **kwargs)
            if result is not NotImplemented:
                return result
        return self.body(*args, **kwargs)


OPERATIONS: dict[str, Operation[..., Any]] = {}


def operation(body: Callable[P, T]) -> Operation[P, T]:
    """Make `body` an operation, listed in OPERATIONS under its name."""
    made = Operation(body)
    assert body.__name__ not in OPERATIONS, f"two operations are called {body.__name__}"
    OPERATIONS[body.__name__] = made
    return made
