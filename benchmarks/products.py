"""What a matrix product costs that decoding is made of, by each library that PyTorch brings: microseconds, one thread.

    python benchmarks/products.py                       # the shapes of the presets small and base
    python benchmarks/products.py --shapes 1x512x16000 --threads 2

`linear` is what a layer calls now. `mkl` and `onednn` hold a copy of the weights in their own order. `int8` is that of
fbgemm, weights with a scale a row of the table and activations with one a batch; `error8` and `error7` are its
relative errors with activations of 8 and of 7 bits, against float32, on normally distributed numbers. Where a library
is not there, its column is empty. `ours` and `ours8` are our own kernels, float32 and int8 (`error` is that one's);
`GMAC/s` and `GMAC8/s` are the billions of products and additions a second that they reach. Each figure is the least of
five, in the processor's time with one thread and in the clock's with more.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import torch
from attention import Row, head, say
from torch import Tensor
from torch.nn.functional import linear

from antiphon.runtime.kernels import functions as kernels
from antiphon.runtime.kernels.packed import Kind, Packed
from antiphon.runtime.kernels.steps import run
from antiphon.runtime.recorder.record import recording

SHAPES = (
    "1x512x512,1x512x2048,1x512x16000,4x512x512,4x512x2048,32x512x512,32x512x2048,32x2048x512,32x512x16000,"
    "128x512x2048,128x2048x512"
)
OURS = ("ours", "GMAC/s", "ours8", "GMAC8/s", "error")
PARTS: tuple[tuple[Kind, tuple[str, ...]], ...] = (("float32", OURS[:2]), ("int8", OURS[2:]))
COLUMNS = ("rows x K x N", "linear", "mkl", "onednn", "int8", "error8", "error7", *OURS)
WORK = 2e8  # additions and products of a measurement, at least three calls


def microseconds(run: Callable[[], object], work: float) -> float:
    """The least time of a call."""
    count = max(3, min(300, int(WORK / work)))
    for _ in range(3):
        run()
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times = []
    for _ in range(5):
        began = clock()
        for _ in range(count):
            run()
        times.append((clock() - began) / count)
    return round(min(times) * 1e6, 1)


def packed_int8(weight: Tensor) -> Callable[[Tensor, bool], Tensor]:
    """x @ weight.T with both in eight bits, or with seven for x."""
    scale = weight.abs().amax(1) / 127
    whole = (weight / scale[:, None]).round().to(torch.int8)
    zeros = torch.zeros(len(weight), dtype=torch.long)
    table = torch._make_per_channel_quantized_tensor(whole, scale.double(), zeros, 0)
    packed = torch.ops.quantized.linear_prepack(table, None)
    return lambda x, short: torch.ops.quantized.linear_dynamic(x, packed, short)


def our_own(kind: Kind, x: Tensor, weight: Tensor) -> tuple[Callable[[], object], Tensor]:
    """A call of our kernel, and where its answer goes."""
    with torch.inference_mode(), recording(1) as notes:
        out = kernels.linear(x, Packed(weight, kind), None)
    (call,) = (entry for entry in notes.entries if isinstance(entry, kernels.KernelCall))
    return lambda: run(call.step), out


def measure(rows: int, inner: int, outer: int) -> Row:
    """A row of the table."""
    x, weight = torch.randn(rows, inner), torch.randn(outer, inner)
    wanted, work = linear(x, weight), 2.0 * rows * inner * outer
    found: Row = dict.fromkeys(COLUMNS, "") | {"rows x K x N": f"{rows} x {inner} x {outer}"}
    found["linear"] = microseconds(lambda: linear(x, weight), work)
    if torch.backends.mkl.is_available():
        held = torch.ops.mkl._mkl_reorder_linear_weight(weight, rows)
        found["mkl"] = microseconds(lambda: torch.ops.mkl._mkl_linear(x, held, weight, None, rows), work)
    if torch.backends.mkldnn.is_available():
        own = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
        found["onednn"] = microseconds(lambda: torch.ops.mkldnn._linear_pointwise(x, own, None, "none", [], ""), work)
    if "fbgemm" in torch.backends.quantized.supported_engines:
        torch.backends.quantized.engine = "fbgemm"
        product = packed_int8(weight)
        found["int8"] = microseconds(lambda: product(x, True), work)
        for name, short in (("error8", False), ("error7", True)):
            found[name] = round(float((product(x, short) - wanted).norm() / wanted.norm()), 4)
    for kind, names in PARTS:
        call, out = our_own(kind, x, weight)
        found[names[0]] = microseconds(call, work)
        found[names[1]] = round(work / 2e3 / found[names[0]], 1)
    found["error"] = round(float((out - wanted).norm() / wanted.norm()), 4)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What the matrix products of decoding cost.")
    parser.add_argument("--shapes", default=SHAPES, help="rows x K x N, between commas")
    parser.add_argument("--threads", type=int, default=1)
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", category=UserWarning)  # quantized tensors are on their way out of PyTorch
    head(COLUMNS)
    with torch.inference_mode():
        for shape in flags.shapes.split(","):
            rows, inner, outer = map(int, shape.split("x"))
            say(measure(rows, inner, outer), keys=COLUMNS)


if __name__ == "__main__":
    main()
