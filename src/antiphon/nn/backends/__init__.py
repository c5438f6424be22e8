"""Back ends of attention: values in a table, with one signature, each of which says what it cannot compute."""

from __future__ import annotations

from antiphon.nn.backends.backend import Backend, Dropping
from antiphon.nn.backends.choice import BACKENDS, add_backend, choose
from antiphon.nn.backends.dense import eager, logits, needs_eager, sdpa, weigh

__all__ = [
    "BACKENDS",
    "Backend",
    "Dropping",
    "add_backend",
    "choose",
    "eager",
    "logits",
    "needs_eager",
    "sdpa",
    "weigh",
]
