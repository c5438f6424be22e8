"""A back end for decoding steps on a CPU: attention of a few queries over a cache or a memory, in one C kernel.

Masked keys are skipped, so a cache may be passed whole. The keys of a source are read once for all its hypotheses. The
result of a row does not depend on the other rows of the batch, bit for bit.
"""

from __future__ import annotations

from torch import Tensor

from antiphon.nn.backends.backend import Backend, Dropping
from antiphon.nn.scores import Scores
from antiphon.runtime.kernels import functions as kernels

MAX_QUERIES = 16  # queries of a row; for more, other back ends are faster


def kernel(
    q: Tensor, k: Tensor, v: Tensor, scores: Scores, *, scale: float, dropout: Dropping | None
) -> tuple[Tensor, Tensor | None]:
    """Returns the output (B,H,Q,D), and None for the weights."""
    return kernels.attend(q, k, v, scores.visible, scores.bias, scores.extra, scale=scale), None


def _refuses(q: Tensor, k: Tensor, scores: Scores, *, dropout: Dropping | None) -> str | None:
    if dropout is not None:
        return "it has no dropout"
    if scores.rule.needs_logits:
        return "the rule's score is more than a bias"
    if not (kernels.usable(q, scores.bias, scores.extra) and kernels.cacheable(k)) or k.requires_grad:
        return "it computes float32 on a CPU, without gradients, where there is a C compiler"
    return "its features must lie side by side" if {q.stride(3), k.stride(3)} != {1} else None


KERNEL = Backend("kernel", kernel, _refuses)
