"""Counts of what happened to the calls of a model, for metrics."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass
class Counters:
    """Sums since the start of the server. `seconds` are of whole calls, the waiting time included."""

    calls: int = 0
    inputs: int = 0
    answers: int = 0
    shared: int = 0
    cancelled: int = 0
    refused: int = 0
    timeouts: int = 0
    failed: int = 0
    unavailable: int = 0
    source_characters: int = 0
    target_tokens: int = 0
    call_seconds: float = 0.0

    def as_numbers(self) -> dict[str, float]:
        """The counts by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}
