"""What became of a file's weights in a network that has another attention than the file: kept, new, dropped.

    account = compare(named_weights(network), load_weights(file), roles=["decoder"])
    account.kept, account.new, account.dropped, str(account)

A weight of a role whose attention was replaced is kept where the file has one of that name and shape; a rule keeps its
table so, and every mixer with projections `q k v o` takes those of another. All other weights must be there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

_ATTENTION = re.compile(r"(encoder|decoder)\.(?:layers\.\d+\.)?(mixer|cross|rules|cross_rules)\.")
_MAX_SHOWN_NAMES = 3  # names in a message


@dataclass(frozen=True)
class LoadReport:
    """The names of weights: `kept` come from the file, `new` start untrained, `dropped` are only in the file.

    A weight of another shape is dropped, and the one in its place is new.
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
    """What becomes of `weights` in a network that has its `own`, where the attention of `roles` was replaced."""
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
    """The first of `names`, and how many more there are."""
    more = f" and {len(names) - _MAX_SHOWN_NAMES} more" if len(names) > _MAX_SHOWN_NAMES else ""
    return ", ".join(f"`{name:.100}`" for name in names[:_MAX_SHOWN_NAMES]) + more
