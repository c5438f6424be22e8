"""The choice of a back end: the fastest one, by measurements, that can compute a call."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch
from torch import Tensor

from antiphon.nn.backends.backend import Backend, Dropping, learned
from antiphon.nn.backends.blocks import BLOCKS, keys_of_a_block
from antiphon.nn.backends.dense import EAGER, SDPA
from antiphon.nn.backends.flex import FLEX
from antiphon.nn.backends.varlen import VARLEN
from antiphon.nn.scores import Scores

# A runtime adds its own (`antiphon.runtime` adds `kernel`), by `add_backend`.
BACKENDS: dict[str, Backend] = {found.name: found for found in (EAGER, SDPA, BLOCKS, FLEX, VARLEN)}
_for_few_queries: dict[str, int] = {}  # name -> number of queries a row up to which it is the fastest

_any_number: ContextVar[bool] = ContextVar("any number of queries", default=False)


def add_backend(backend: Backend, *, max_queries: int) -> None:
    """Add a back end, chosen before any other for rows of at most `max_queries` queries without a gradient."""
    BACKENDS[backend.name] = backend
    _for_few_queries[backend.name] = max_queries


@contextlib.contextmanager
def for_any_number_of_queries() -> Iterator[None]:
    """Choose the back ends of `add_backend` within the context whatever the number of queries, for results that do not
    depend on other rows."""
    token = _any_number.set(True)
    try:
        yield
    finally:
        _any_number.reset(token)


# Pairs of a query and a key in a row from which PyTorch's fused attention takes less time than batched products, on a
# CPU by its instructions. AVX512: one thread of a Zen 4, from shared/design/performance.md. AVX2: an EPYC without
# AVX-512, one thread, median processor times of 9 calls forward and backward by turns, 512 tokens in 8 heads of 64,
# float32 eager/sdpa in ms at 16, 32, 64, 128, 256 tokens: 8.7/7.6, 7.5/6.4, 14/11, 18/15, 43/20; bfloat16: 26/11,
# 38/15, 60/28, 104/43, 235/113. Other work ran on that machine: take them to 20 %. One query over 32 keys in 32 rows
# of float32 took 0.39/0.47 ms.
SDPA_FROM_PAIRS = {
    ("AVX512", torch.float32): 256 * 256,
    ("AVX512", torch.bfloat16): 256 * 256,
    ("AVX2", torch.float32): 64 * 64,
    ("AVX2", torch.bfloat16): 1,
}
DEFAULT_SDPA_FROM_PAIRS = 256 * 256
INSTRUCTIONS = torch.backends.cpu.get_cpu_capability()
# Blocks take less time than the fused attention where a row has at least this many times the keys of a block; the same
# machine, 512 tokens in all, eager/sdpa/blocks in ms, keys of a block/of a row: 128/256 45/23/20, 128/384 41/23/16,
# 192/384 49/23/24, 384/512 84/39/41, 384/768 155/108/86, 192/1024 395/202/79. Rows have at least
# BLOCKS_FROM_LENGTH tokens.
MIN_BLOCKS_RATIO, BLOCKS_FROM_LENGTH = 2, 256


def choose(q: Tensor, k: Tensor, scores: Scores, *, dropout: Dropping | None) -> str:
    """The back end that was fastest where it was measured (`benchmarks/attention.py`) and can compute this.

    With a bias that needs a gradient, PyTorch's fused attention on a CPU uses its math path, which is slower than
    `eager`. Nothing was measured on a GPU: there the choice is as on a CPU, and `flex` and `varlen` are used only if
    they are named.
    """
    if not torch.is_grad_enabled():
        for name, max_queries in _for_few_queries.items():
            if (q.shape[2] <= max_queries or _any_number.get()) and BACKENDS[name].refuses(
                q, k, scores, dropout=dropout
            ) is None:
                return name
    width = keys_of_a_block(scores) if k.shape[2] >= BLOCKS_FROM_LENGTH else None
    if (
        width is not None
        and MIN_BLOCKS_RATIO * width <= k.shape[2]
        and BLOCKS.refuses(q, k, scores, dropout=dropout) is None
    ):
        return "blocks"
    if q.device.type == "cpu":
        least = SDPA_FROM_PAIRS.get((INSTRUCTIONS, q.dtype), DEFAULT_SDPA_FROM_PAIRS)
        if q.shape[2] * k.shape[2] < least or learned(scores):
            return "eager"
    return "eager" if SDPA.refuses(q, k, scores, dropout=dropout) is not None else "sdpa"
