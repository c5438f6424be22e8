"""What a GPU does, on a processor: a stand-in for a captured graph, and networks whose code looks at no value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from antiphon.nn.backends import choice
from antiphon.nn.operations import OPERATIONS
from antiphon.runtime import graph as captured
from antiphon.runtime import stepper as stepping


class Noted(TorchDispatchMode):
    """Operations are noted, with their memory, and done again without any Python code but PyTorch's: what was a number
    or a shape when they were noted is one for ever. While they are noted the state does not change, as on a GPU."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.calls: list[tuple[Callable[..., Any], Any, Any, list[Tensor] | None]] = []
        self.before: dict[int, tuple[Tensor, Tensor]] = {}
        self.warmed = self.replayed = 0

    def __torch_dispatch__(self, function: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = function._schema.name.removeprefix("aten::")
        if name in ("_local_scalar_dense", "item", "nonzero", "equal"):
            raise RuntimeError("operation not permitted when stream is capturing")
        mutable = function._schema.is_mutable
        if mutable:
            for tensor in tensors((args, kwargs)):
                whole = tensor.untyped_storage()
                if whole.data_ptr() not in self.before:
                    flat = torch.empty(0, dtype=torch.uint8).set_(whole)  # type: ignore[call-overload]
                    self.before[whole.data_ptr()] = (flat, flat.clone())
        found = function(*args, **kwargs)
        read = {tensor.untyped_storage().data_ptr() for tensor in tensors((args, kwargs))}
        results = tensors(found)
        view = results and all(tensor.untyped_storage().data_ptr() in read for tensor in results)
        self.calls.append((function, args, kwargs, None if mutable or view else results))
        return found

    def warm(self, work: Callable[[], None]) -> None:
        self.warmed += 1
        work()

    def capture(self, work: Callable[[], None]) -> None:
        assert self.warmed, "what is captured must have been warmed up"
        try:
            with self:
                work()
        finally:
            for flat, before in self.before.values():
                flat.copy_(before)
        for *_, results in self.calls:
            for tensor in results or []:  # nothing was computed
                if tensor.is_floating_point() and tensor.numel():
                    tensor.fill_(float("nan"))

    def replay(self) -> None:
        self.replayed += 1
        for function, args, kwargs, results in self.calls:
            found = function(*args, **kwargs)
            for mine, new in zip(results or [], tensors(found) if results else [], strict=True):
                mine.copy_(new)


def pytorch_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every operation is computed by its PyTorch body, and attention by the back ends of `nn`."""
    for each in OPERATIONS.values():
        monkeypatch.setattr(each, "lowering", None)
    monkeypatch.delitem(choice._for_few_queries, "kernel", raising=False)
    monkeypatch.setattr("antiphon.runtime.kernels.functions.usable", lambda *tensors: False)


def tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Noted]:
    """Steps are captured by the stand-in, by code that takes a processor for a GPU; the graphs that were made."""
    made: list[Noted] = []

    def graph(device: torch.device) -> Noted:
        made.append(Noted(device))
        return made[-1]

    monkeypatch.setattr(captured, "graph_on", graph)
    monkeypatch.setattr(captured, "usable", lambda hidden: True)
    monkeypatch.setattr(stepping, "_verdicts", type(stepping._verdicts)())
    pytorch_only(monkeypatch)
    # No code reads the value of a tensor.
    monkeypatch.setattr(OPERATIONS["slots_in_use"], "lowering", lambda count, capacity: capacity)
    monkeypatch.setattr(OPERATIONS["all_true"], "lowering", lambda mask: False)
    return made
