"""The only place where dot-product softmax attention is computed.

`plan` (scores.py) computes the mask and the bias of a rule. `attend` computes softmax(rule(q·k·scale) + mask)·v by one
of the back ends (backends/), which share one signature. `eager` is the definition. Every other back end is faster and
gives the same result for each call that it does not refuse.

Shapes: q (B,H,Q,D), k and v (B,G,K,D) with G key-value heads, G dividing H; the result is (B,H,Q,D).
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from antiphon.nn.backends import BACKENDS, Dropping, choose, eager, logits, sdpa, weigh
from antiphon.nn.rules import name_of
from antiphon.nn.scores import Scores, plan

__all__ = [
    "BACKENDS",
    "Dropping",
    "attend",
    "choose",
    "choose_or_fall_back",
    "eager",
    "logits",
    "plan",
    "sdpa",
    "weigh",
]

_warned: set[str] = set()


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scores: Scores,
    *,
    scale: float,
    dropout: Dropping | None = None,
    backend: str = "auto",
    record: list[Tensor] | None = None,
) -> Tensor:
    """Attention of q over k and v, (B,H,Q,D).

    If the named back end cannot compute this call, `eager` does, with one warning. If `record` is given, the weights
    (B,H,Q,K) are appended to it; for a back end without weights, `eager` computes them. Recording does not change the
    output.
    """
    name, reason = choose_or_fall_back(backend, q, k, scores, dropout=dropout)
    if reason is not None and not torch.compiler.is_compiling():
        _warn_once(f"the back end `{backend}` cannot compute {name_of(scores.rule)}: {reason}; `eager` does.")
    if k.dtype != q.dtype and (name != "kernel" or record is not None):
        k, v = k.to(q.dtype), v.to(q.dtype)  # an int8 network has them in 16 bits
    out, weights = BACKENDS[name](q, k, v, scores, scale=scale, dropout=dropout)
    if record is not None:
        if weights is None:
            found = logits(q, k, scores, scale=scale)
            weights = weigh(found, scores.visible, scores.seeing, extra=scores.extra).to(v.dtype)
        record.append(weights)
    return out


def choose_or_fall_back(
    backend: str, q: Tensor, k: Tensor, scores: Scores, *, dropout: Dropping | None
) -> tuple[str, str | None]:
    """The name of the back end for this call, and a reason for a warning or None.

    The back end is the named one, or the fastest for `auto`. The reason is given if `eager` replaces the named one,
    unless that back end is never used for such calls (`Backend.of_itself`).
    """
    if backend == "auto":
        return choose(q, k, scores, dropout=dropout), None
    reason = BACKENDS[backend].refuses(q, k, scores, dropout=dropout)
    if reason is None:
        return backend, None
    expected = not BACKENDS[backend].of_itself or scores.keys is scores.queries
    return "eager", reason if expected else None


def _warn_once(text: str) -> None:
    """Warn, the first time that this text is given."""
    if text not in _warned:
        _warned.add(text)
        warnings.warn(text, stacklevel=3)
