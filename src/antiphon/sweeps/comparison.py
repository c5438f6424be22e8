"""Is the best setting better than the others? Tests over seeds, and over the sentences of the validation set.

    verdict = judge(settings, definition, ("bleu", False))
    verdict.winner, verdict.text

The runs of a setting with several seeds are repeats: Welch's test compares their means. Where the runs have recorded
the answers of their best validation, the paired bootstrap over its pairs is a second test (the validation set is a
sample too). A setting wins only if it is significantly better than every other finished setting by each test that can
be made, corrected by Holm. With one seed a setting the spread of the seeds is unknown: then nothing wins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from antiphon.display import fixed
from antiphon.sweeps.definition import Definition
from antiphon.sweeps.results import SettingResult, finished
from antiphon.sweeps.statistics import holm, welch


@dataclass(frozen=True)
class Verdict:
    """The winner (None: there is none), the settings that the best is not significantly better than, and the p of each
    comparison with the best by the number of the setting, corrected. `text` says it in a sentence or two."""

    winner: SettingResult | None
    rivals: Sequence[SettingResult]
    text: str
    by_seeds: Mapping[int, float] = field(default_factory=dict)
    by_pairs: Mapping[int, float] = field(default_factory=dict)

    def p_of(self, setting: SettingResult) -> float | None:
        """The larger p of the tests that were made; None if there is none."""
        found = [table[setting.number] for table in (self.by_seeds, self.by_pairs) if setting.number in table]
        known = [p for p in found if not math.isnan(p)]
        return max(known) if known else None

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "winner": None if self.winner is None else self.winner.params,
            "not_separated": [rival.params for rival in self.rivals],
            "text": self.text,
            "p_by_seeds": {str(number): p for number, p in self.by_seeds.items() if not math.isnan(p)},
            "p_by_pairs": dict(map(lambda item: (str(item[0]), item[1]), self.by_pairs.items())),
        }


def judge(settings: Sequence[SettingResult], definition: Definition, metric: tuple[str, bool]) -> Verdict:
    """The verdict on the finished settings, whose order is from the best to the worst."""
    done = finished(settings)
    if not done:
        return Verdict(None, (), "No winner: no setting has finished.")
    best, others = done[0], done[1:]
    if not others:
        return Verdict(None, (), f"No winner: only one setting has finished ({best}).")
    seeds = holm([welch(best.values, other.values) for other in others])
    by_seeds = {other.number: p for other, p in zip(others, seeds, strict=True)}
    alpha = definition.config.alpha
    verdict = Verdict(None, (), "", by_seeds)
    rivals = [other for other in others if not _separated(verdict, other, alpha)]
    mean = f"{metric[0]} {fixed(best.mean)}"
    if min(len(one.values) for one in done) < 2:
        text = (
            f"No winner: with one run a setting, the spread of the seeds is unknown. The best is {best} ({mean}); "
            "give `seeds: 3` or more."
        )
        return Verdict(None, rivals, text, by_seeds)
    if not rivals:
        text = (
            f"The winner is {best} ({mean}): better than each of the {len(others)} others "
            f"(p < {alpha:g}, Welch's test over {len(best.values)} seeds, corrected by Holm)."
        )
        return Verdict(best, (), text, by_seeds)
    text = (
        f"No winner: {best} has the best mean ({mean}), but is not significantly better than {len(rivals)} of the "
        f"{len(others)} others (p >= {alpha:g}, Welch's test over {len(best.values)} seeds, corrected by Holm): "
        + "; ".join(f"{rival} ({fixed(rival.mean)}, p {by_seeds[rival.number]:.2g})" for rival in rivals[:3])
        + ("; ..." if len(rivals) > 3 else "")
        + "."
    )
    return Verdict(None, rivals, text, by_seeds)


def _separated(verdict: Verdict, other: SettingResult, alpha: float) -> bool:
    p = verdict.p_of(other)
    return p is not None and p < alpha
