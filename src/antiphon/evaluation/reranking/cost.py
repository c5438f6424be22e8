"""What reranking costs, beside a plain search."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RerankCost:
    """The cost of reranking: `inputs` and their distinct `candidates` in all, `calls` (the segments that the metric or
    the second model scored), and the seconds of generating and of scoring."""

    inputs: int = 0
    candidates: int = 0
    calls: int = 0
    generate_seconds: float = 0.0
    score_seconds: float = 0.0

    def __add__(self, other: RerankCost) -> RerankCost:
        return RerankCost(
            self.inputs + other.inputs,
            self.candidates + other.candidates,
            self.calls + other.calls,
            self.generate_seconds + other.generate_seconds,
            self.score_seconds + other.score_seconds,
        )

    def __str__(self) -> str:
        return (
            f"{self.inputs:,} inputs, {self.candidates:,} different candidates generated in "
            f"{self.generate_seconds:.1f} s; {self.calls:,} scored pairs in {self.score_seconds:.1f} s"
        )
