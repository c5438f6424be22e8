"""The laws by name, in the order in which they are checked. The text of a law is the docstring of its function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from antiphon.config import ROLES
from antiphon.conformance import backends, decoding, images, independence, learning, recorded, scoring, whole
from antiphon.conformance.meter import DifferenceMeter
from antiphon.conformance.subject import Subject
from antiphon.nn.attend import BACKENDS

Check = Callable[[Subject, str, DifferenceMeter], None]


@dataclass(frozen=True)
class Law:
    """A law: `check` compares two computations in one of `roles` and reports to a `DifferenceMeter`. It raises Skip if
    the law does not apply."""

    name: str
    check: Check
    says: str
    roles: tuple[str, ...] = ROLES


def _law(name: str, check: Check, *roles: str) -> Law:
    return Law(name, check, (check.__doc__ or "").strip(), roles or ROLES)


FIRST = _law("shape", independence.shape)  # if it fails, the other laws are not checked
LAWS = (
    FIRST,
    _law("causality", independence.causality, "decoder"),
    _law("padding", independence.padding),
    _law("batch", independence.batch),
    _law("packing", independence.packing),
    _law("patches", images.patches, "encoder", "cross"),
    _law("unused", independence.unused),
    _law("visible keys", scoring.visible),
    _law("element-wise", scoring.elementwise),
    _law("additive", scoring.additive),
    _law("reach", scoring.reach),
    *(
        Law(f"back end {name}", partial(backends.backend, name=name), (backends.backend.__doc__ or "").strip())
        for name in BACKENDS
        if name != "eager"
    ),
    _law("steps", decoding.steps, "decoder", "cross"),
    _law("caches", decoding.caches, "decoder"),
    _law("ring cache", decoding.ring, "decoder"),
    _law("joining", decoding.joining, "decoder", "cross"),
    _law("beams", decoding.beams, "cross"),
    _law("reorder", decoding.reorder, "decoder", "cross"),
    _law("recorded step", recorded.recorded, "decoder", "cross"),
    _law("gradients", learning.gradients),
    _law("parameters", learning.parameters),
    _law("checkpointing", learning.checkpointed),
    _law("half precision", scoring.half),
    _law("images", images.networks, "encoder"),
    _law("saving", whole.saved),
    _law("tracing", whole.trace),
    _law("search", whole.search),
)
