"""Which back end computes a call: the fastest one where it was measured, among those that can."""

from __future__ import annotations

from torch import Tensor

from antiphon.nn.backends.backend import Backend, Dropping, learned
from antiphon.nn.backends.blocks import BLOCKS, band
from antiphon.nn.backends.dense import EAGER, SDPA
from antiphon.nn.backends.flex import FLEX
from antiphon.nn.backends.varlen import VARLEN
from antiphon.nn.scores import Scores

BACKENDS: dict[str, Backend] = {found.name: found for found in (EAGER, SDPA, BLOCKS, FLEX, VARLEN)}
CHOICES = ("auto", *BACKENDS)


def choose(q: Tensor, k: Tensor, scores: Scores, *, dropout: Dropping | None) -> str:
    """The back end that was fastest where it was measured (`benchmarks/attention.py`) and can compute this."""
    if q.device.type == "cpu" and q.shape[2] * k.shape[2] < 256 * 256:
        return "eager"
    if band(scores) is not None and BLOCKS.refuses(q, k, scores, dropout=dropout) is None:
        return "blocks"
    if SDPA.refuses(q, k, scores, dropout=dropout) is None and not learned(scores):
        return "sdpa"
    return "eager"
