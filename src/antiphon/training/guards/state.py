"""What the guards know of a run, as plain numbers in its snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from antiphon.training.guards.loss_range import LossRange
from antiphon.training.guards.splitting import SplitSizes


@dataclass(slots=True)
class ProtectionState:
    """The sizes of micro-batches that are computed in parts, the range of the training loss, and the number of times
    that the run went back to a snapshot."""

    split: SplitSizes = field(default_factory=SplitSizes)
    loss_range: LossRange = field(default_factory=LossRange)
    rollbacks: int = 0

    @staticmethod
    def read(state: Mapping[str, Any]) -> ProtectionState:
        """The inverse of `dataclasses.asdict`."""
        return ProtectionState(SplitSizes(**state["split"]), LossRange(**state["loss_range"]), state["rollbacks"])
