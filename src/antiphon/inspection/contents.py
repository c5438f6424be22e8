"""What an inspection holds: plain data, which terminal, page and notebook show."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from antiphon.inspection.estimate import Estimate
from antiphon.inspection.findings import Finding, SplitReport
from antiphon.inspection.scaling.plan import RunPlan
from antiphon.inspection.tokens import SideTokens, TokenReport


@dataclass(frozen=True)
class InspectionContents:
    """`findings` come in the order in which to deal with them. `snippet` is YAML for the recipe that removes what
    settings can remove. `tokens` and `estimate` are None where `problem` says why.
    """

    recipe: str
    task: str
    splits: list[SplitReport]
    findings: list[Finding]
    snippet: str
    tokens: TokenReport | None = None
    estimate: Estimate | None = None
    world: RunPlan | None = None
    problem: str = ""
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return {
            "recipe": self.recipe,
            "task": self.task,
            "splits": [asdict(split) for split in self.splits],
            "findings": [
                {
                    "kind": finding.kind.name,
                    "urgency": finding.urgency,
                    "title": finding.kind.title,
                    "split": finding.split,
                    "count": finding.count,
                    "of": finding.of,
                    "usual": finding.usual,
                    "about": finding.about,
                    "filter": finding.filter,
                    "setting": None if finding.setting is None else dict([finding.setting]),
                    "remedy": finding.remedy,
                    "examples": [asdict(row) for row in finding.examples],
                }
                for finding in self.findings
            ],
            "snippet": self.snippet,
            "tokens": None if self.tokens is None else _tokens(self.tokens),
            "estimate": None if self.estimate is None else self.estimate.as_dict(),
            "world": None if self.world is None else self.world.as_dict(),
            "problem": self.problem,
            "notes": self.notes,
            "seconds": round(self.seconds, 2),
        }

    def to_json(self) -> str:
        """`as_dict` as one JSON object."""
        return json.dumps(self.as_dict(), ensure_ascii=False)


def _tokens(tokens: TokenReport) -> dict[str, Any]:
    names = ("source", "target")
    sides = {name: None if side is None else _side(side) for name, side in zip(names, tokens.sides, strict=True)}
    return {"sampled_pairs": tokens.pairs, "max_length": tokens.max_length, **sides}


def _side(side: SideTokens) -> dict[str, Any]:
    return {**asdict(side), "fertility": side.fertility, "characters_per_token": side.characters_per_token}
