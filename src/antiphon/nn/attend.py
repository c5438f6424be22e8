"""The only place where dot-product softmax attention is computed.

`plan` (scores.py) says what a rule hides and adds; `attend` computes softmax(q·k·scale, after the rule and the mask)·v
by one of the back ends (backends/), which share one signature: `eager` is the definition, the others are accelerators
that must equal it wherever they do not refuse.

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

_said: set[str] = set()


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

    A back end named that cannot compute this falls back to `eager`, and says so once. Where `record` is given the
    weights (B,H,Q,K) are appended to it, by the definition where the back end has none: to look changes no answer.
    """
    name, reason = choose_or_fall_back(backend, q, k, scores, dropout=dropout)
    if reason is not None and not torch.compiler.is_compiling():
        _say(f"the back end `{backend}` cannot compute {name_of(scores.rule)}: {reason}; `eager` does.")
    if k.dtype != q.dtype and (name != "kernel" or record is not None):
        k, v = k.to(q.dtype), v.to(q.dtype)  # a network in int8 keeps them in 16 bits
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
    """The name of the back end that computes this: the one named, or the fastest for `auto`; and, where the one named
    was to be expected but cannot and `eager` takes its place, why."""
    if backend == "auto":
        return choose(q, k, scores, dropout=dropout), None
    reason = BACKENDS[backend].refuses(q, k, scores, dropout=dropout)
    if reason is None:
        return backend, None
    expected = not BACKENDS[backend].of_itself or scores.keys is scores.queries
    return "eager", reason if expected else None


def _say(text: str) -> None:
    """A warning, the first time."""
    if text not in _said:
        _said.add(text)
        warnings.warn(text, stacklevel=3)
