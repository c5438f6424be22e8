"""Back ends of attention: values in a table, with one signature, each of which says what it cannot compute."""

from __future__ import annotations

from antiphon.nn.backends.backend import Backend, Dropping
from antiphon.nn.backends.choice import BACKENDS, CHOICES, choose
from antiphon.nn.backends.dense import eager, logits, needs_eager, sdpa, weigh

__all__ = ["BACKENDS", "CHOICES", "Backend", "Dropping", "choose", "eager", "logits", "needs_eager", "sdpa", "weigh"]
