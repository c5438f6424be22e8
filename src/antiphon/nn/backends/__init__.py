"""Back ends of attention: implementations with one signature, each with a test of the calls that it can compute."""

from __future__ import annotations

from antiphon.nn.backends.backend import Backend, Dropping
from antiphon.nn.backends.choice import BACKENDS, add_backend, choose, for_any_number_of_queries
from antiphon.nn.backends.dense import eager, logits, needs_eager, sdpa, weigh

__all__ = [
    "BACKENDS",
    "Backend",
    "Dropping",
    "add_backend",
    "choose",
    "eager",
    "for_any_number_of_queries",
    "logits",
    "needs_eager",
    "sdpa",
    "weigh",
]
