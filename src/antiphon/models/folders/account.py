"""A report on loading a file into a network with another attention: which weights are kept, new or dropped.

    account = compare(named_weights(network), load_weights(file), roles=["decoder"])
    account.kept, account.new, account.dropped, str(account)

A weight of a role with a replaced attention is kept if the file has one of the same name and shape: for example the
table of a rule, or the projections `q k v o` of another mixer. All other weights must be in the file.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

_ATTENTION = re.compile(r"(encoder|decoder)\.(?:layers\.\d+\.)?(mixer|cross|rules|cross_rules)\.")
_MAX_SHOWN_NAMES = 3  # maximum number of names in a message


@dataclass(frozen=True)
class LoadReport:
    """The names of weights: `kept` are loaded from the file, `new` are untrained, `dropped` are only in the file.

    A weight with another shape is dropped, and the one of the network is new.
    """

    kept: tuple[str, ...]
    new: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = [f"{len(self.kept)} weights are kept"]
        for names, what in ((self.new, "new and untrained"), (self.dropped, "dropped")):
            if names:
                said.append(f"{len(names)} {'are' if len(names) > 1 else 'is'} {what} ({some(names)})")
        return ", ".join(said)


def role_of(name: str) -> str | None:
    """The role whose attention a weight belongs to; None for all other weights."""
    found = _ATTENTION.match(name)
    if found is None:
        return None
    return "cross" if found[2].startswith("cross") else found[1]


def compare(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], *, roles: Collection[str]) -> LoadReport:
    """Compare `weights` with the `own` weights of a network in which the attention of `roles` was replaced."""
    kept = tuple(
        name
        for name in own
        if name in weights and (role_of(name) not in roles or own[name].shape == weights[name].shape)
    )
    known = set(kept)
    new, dropped = (
        tuple(name for name in names if name not in known and role_of(name) in roles) for names in (own, weights)
    )
    return LoadReport(kept, new, dropped)


def some(names: Sequence[str]) -> str:
    """The first of `names`, and the number of others."""
    more = f" and {len(names) - _MAX_SHOWN_NAMES} more" if len(names) > _MAX_SHOWN_NAMES else ""
    return ", ".join(f"`{name:.100}`" for name in names[:_MAX_SHOWN_NAMES]) + more
