"""A big batch of sources, encoded a few rows at a time: what an encoder makes on its way then stays in the processor's
cache, and never takes more memory than those rows need. Each row's memory is what it is anyway."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.nn.mixers import Memory

MAX_PART_TOKENS = (
    2048  # source tokens, padding counted; measured at d 128: 256 rows of 15 take 78 to 92 ms, in halves 66 to 70
)
MAX_PART_TOKENS_GPU = 2**14  # of windows, whose number a source has no bound for


def encode_in_parts(encode: Callable[[Tensor, Tokens], Memory], source: Tensor, tokens: Tokens) -> Memory:
    """source ids (N, S) to their memory (N, S, D), as `encode` gives it."""
    count, length = source.shape
    parts = max(1, -(-count * length // MAX_PART_TOKENS))
    found = [
        encode(source[rows], tokens.select(rows)).hidden
        for rows in torch.arange(count, device=source.device).chunk(parts)
    ]
    return Memory(torch.cat(found), tokens)
