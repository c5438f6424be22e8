"""What a call of an operation of `antiphon.nn` costs beside a plain function and an operator of torch.library.

python benchmarks/operations.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from antiphon.nn.operations import Operation

REPEATS, CALLS = 9, 2000


def body(x: Tensor) -> Tensor:
    """An operation that takes no time to speak of."""
    return x + 1


def microseconds(function: Callable[[Tensor], object], x: Tensor) -> float:
    """The processor time of a call, the least of several runs."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.process_time()
        for _ in range(CALLS):
            function(x)
        best = min(best, (time.process_time() - start) / CALLS)
    return best * 1e6


def main() -> None:
    torch.set_num_threads(1)
    table = Operation(body)
    table.lowering = lambda x: NotImplemented
    custom = torch.library.custom_op("antiphon_benchmark::custom", body, mutates_args=())
    library = torch.library.Library("antiphon_benchmark_library", "DEF")
    library.define("plain(Tensor x) -> Tensor")
    library.impl("plain", body, "CompositeExplicitAutograd")
    ways: dict[str, Callable[[Tensor], object]] = {
        "a plain function": body,
        "an operation whose lowering passes the call on": table,
        "an operator of torch.library.Library": torch.ops.antiphon_benchmark_library.plain,
        "torch.library.custom_op": custom,
    }
    x = torch.ones(4)
    with torch.inference_mode():
        for name, function in ways.items():
            print(f"{microseconds(function, x):6.2f} µs  {name}")


if __name__ == "__main__":
    main()
