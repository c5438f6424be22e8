"""The base of everything that a search holds for the sources of a batch: rows that leave, join and are reordered.

A subclass is a dataclass, and the metadata of each field says what its rows are:

    @dataclass(init=False, eq=False)
    class Scores(BatchState):
        lengths: Tensor = field(metadata=PER_SOURCE)          # (N,)
        history: Tensor = field(metadata=PER_HYPOTHESIS)      # (N, W, T)

    scores.select(torch.tensor([0, 2]))       # of three sources the first and the last stay
    scores.append(other)                      # the sources of `other` come behind
    scores.reorder(torch.tensor([[1, 0]]))    # (N, W): hypothesis 0 continues what was hypothesis 1

So a new field takes part in all three at once, and a field without metadata is an error. Shapes: N sources, W
hypotheses of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

PER_SOURCE: Mapping[str, str] = {"rows": "source"}  # a tensor (N, ...) or a list of N
PER_HYPOTHESIS: Mapping[str, str] = {"rows": "hypothesis"}  # a tensor (N, W, ...) or N lists of W
PART: Mapping[str, str] = {"rows": "part"}  # a BatchState of the same sources, or None
SHARED: Mapping[str, str] = {"rows": "shared"}  # the same for all sources


class BatchState:
    """Rows of N sources. Each field of a subclass has the metadata PER_SOURCE, PER_HYPOTHESIS, PART or SHARED."""

    def select(self, rows: Tensor) -> None:
        """Keep the sources `rows` (n,), in that order."""
        for name, kind, value in self._fields():
            if kind == "part" and value is not None:
                value.select(rows)
            elif kind in ("source", "hypothesis"):
                setattr(self, name, _select(value, rows))

    def append(self, other: BatchState) -> None:
        """Put the sources of `other`, which is of the same class, behind these."""
        for name, kind, value in self._fields():
            more = getattr(other, name)
            if kind == "part":
                assert (value is None) == (more is None), f"{name} must be there for all sources or for none"
                if value is not None:
                    value.append(more)
            elif kind in ("source", "hypothesis"):
                setattr(self, name, torch.cat([value, more]) if isinstance(value, Tensor) else [*value, *more])

    def reorder(self, parents: Tensor) -> None:
        """Let each hypothesis continue the hypothesis `parents` (N, W) of its source."""
        width = parents.shape[1]
        rows = parents + width * torch.arange(parents.shape[0], device=parents.device)[:, None]
        for name, kind, value in self._fields():
            if kind == "part" and value is not None:
                value.reorder(parents)
            elif kind == "hypothesis":
                setattr(self, name, _reorder(value, parents, rows.flatten()))

    def _fields(self) -> Iterator[tuple[str, str, Any]]:
        """The name, the kind of rows and the value of each field; KeyError for a field without metadata."""
        for each in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            yield each.name, each.metadata["rows"], getattr(self, each.name)


def _select(value: Any, rows: Tensor) -> Any:
    return value.index_select(0, rows) if isinstance(value, Tensor) else [value[row] for row in rows.tolist()]


def _reorder(value: Any, parents: Tensor, rows: Tensor) -> Any:
    """`rows` (N·W,) are `parents` (N, W) as rows of all hypotheses."""
    if isinstance(value, Tensor):
        return value.flatten(0, 1).index_select(0, rows).view_as(value)
    return [[row[parent] for parent in wanted] for row, wanted in zip(value, parents.tolist(), strict=True)]
