"""Is the best setting better than the others? Tests over seeds, and over the pairs of the validation set.

    verdict = judge(settings, definition, ("bleu", False))
    verdict.winner, verdict.text

The runs of a setting with several seeds are repeats: Welch's test compares their means. Where the runs have recorded
the answers of their best validation, the paired bootstrap over its pairs is a second test (the validation set is a
sample too), of the mean over the seeds. A setting wins only if it is significantly better than every other finished
setting by each test that can be made, corrected by Holm for the number of comparisons. With one seed a setting the
spread of the seeds is unknown: then nothing wins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from antiphon.display import fixed
from antiphon.evaluation.comparing.resampling import bootstrap_p, bootstrap_scores, holm
from antiphon.evaluation.metrics import Metric, parse_metrics
from antiphon.evaluation.result import MetricResult
from antiphon.reports.answers import ValidAnswer, read_answers
from antiphon.sweeps.definition import Definition
from antiphon.sweeps.results import RUNNING, WAITING, SettingResult, finished
from antiphon.sweeps.runs import run_config
from antiphon.sweeps.statistics import welch

if TYPE_CHECKING:
    import numpy as np

MOST_NAMED = 3  # settings that a sentence names


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
        return max((ps[setting.number] for ps in (self.by_seeds, self.by_pairs) if setting.number in ps), default=None)

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "winner": None if self.winner is None else self.winner.params,
            "not_separated": [rival.params for rival in self.rivals],
            "text": self.text,
            "p_by_seeds": {str(number): p for number, p in self.by_seeds.items()},
            "p_by_pairs": {str(number): p for number, p in self.by_pairs.items()},
        }


def judge(settings: Sequence[SettingResult], definition: Definition, metric: tuple[str, bool]) -> Verdict:
    """The verdict on the finished settings, whose order is from the best to the worst."""
    done = finished(settings)
    if not done:
        return Verdict(None, (), "No winner: no setting has finished.")
    if len(done) == 1:
        return Verdict(None, (), f"No winner: only one setting has finished ({done[0]}).")
    best, others = done[0], done[1:]
    by_seeds = _corrected({other.number: welch(best.values, other.values) for other in others})
    by_pairs = _corrected(_pairs(done, definition, metric[0]))
    tested = Verdict(None, (), "", by_seeds, by_pairs)
    alpha = definition.config.alpha
    rivals = [other for other in others if other.number not in by_seeds or (tested.p_of(other) or 0.0) >= alpha]
    text = _text(best, others, rivals, tested, definition, metric[0])
    going = sum(setting.state in (RUNNING, WAITING) for setting in settings)
    if going:
        text = f"So far, with {going} of {len(settings)} settings not finished: {text[0].lower()}{text[1:]}"
    return Verdict(None if rivals or going else best, rivals, text, by_seeds, by_pairs)


def _corrected(ps: Mapping[int, float]) -> dict[int, float]:
    """The p by number, corrected by Holm; without those that are NaN (fewer than two seeds)."""
    known = {number: p for number, p in ps.items() if not math.isnan(p)}
    return dict(zip(known, holm(list(known.values())), strict=True))


def _text(
    best: SettingResult,
    others: Sequence[SettingResult],
    rivals: Sequence[SettingResult],
    tested: Verdict,
    definition: Definition,
    metric: str,
) -> str:
    mean, alpha = f"{metric} {fixed(best.mean)}", definition.config.alpha
    if not tested.by_seeds:
        extra = " The tests over the validation pairs are in the table." if tested.by_pairs else ""
        return (
            f"No winner: with one run a setting, the spread of the seeds is unknown. The best is {best} ({mean}); give "
            f"`seeds: 3` or more.{extra}"
        )
    tests = f"Welch's test over {len(best.values)} seeds"
    tests += " and the paired bootstrap over the validation pairs" if tested.by_pairs else ""
    tests += ", corrected by Holm"
    if not rivals:
        count = f"each of the {len(others)} others" if len(others) > 1 else "the other"
        return f"The winner is {best} ({mean}): better than {count} (p < {alpha:g}; {tests})."
    named = [f"{rival} ({fixed(rival.mean)}, {_p_text(tested.p_of(rival))})" for rival in rivals[:MOST_NAMED]]
    more = [f"and {len(rivals) - MOST_NAMED} more"] if len(rivals) > MOST_NAMED else []
    whom = f"{len(rivals)} of the {len(others)} others" if len(rivals) < len(others) else f"any other of {len(others)}"
    return (
        f"No winner: {best} has the best mean ({mean}), but is not significantly better than {whom} (p >= {alpha:g}; "
        f"{tests}): {'; '.join([*named, *more])}."
    )


def _p_text(p: float | None) -> str:
    return "not tested" if p is None else f"p {p:.2g}"


def _pairs(done: Sequence[SettingResult], definition: Definition, metric: str) -> dict[int, float]:
    """The p of the paired bootstrap of the best setting against each other one whose runs are here with their answers
    to the same sources. Empty if those of the best are not here, or the metric has no statistics of segments."""
    scorer = _scorer(definition, done[0], metric)
    tables = {} if scorer is None else {one.number: _results(one, definition, scorer) for one in done}
    best = tables.pop(done[0].number, None)
    same = {number: found for number, found in tables.items() if found is not None and best is not None}
    if best is None or not same:
        return {}
    sources = best[0]
    same = {number: found for number, found in same.items() if found is not None and found[0] == sources}
    every = [*best[1], *(result for found in same.values() for result in found[1])] if same else []
    if not every:
        return {}
    sampled = bootstrap_scores(every)
    ours, place, ps = sampled[: len(best[1])].mean(0), len(best[1]), {}
    for number, (_, results) in same.items():
        theirs: np.ndarray = sampled[place : place + len(results)].mean(0)
        measured = _mean(best[1]) - _mean(results)
        ps[number] = bootstrap_p(ours - theirs, measured)
        place += len(results)
    return ps


def _mean(results: Sequence[MetricResult]) -> float:
    return sum(result.score for result in results) / len(results)


def _scorer(definition: Definition, setting: SettingResult, metric: str) -> Metric | None:
    metrics = parse_metrics(run_config(definition, setting.params).validation.metrics)
    return next((one for one in metrics if one.name == metric), None)


def _results(
    setting: SettingResult, definition: Definition, metric: Metric
) -> tuple[list[tuple[str, list[str]]], list[MetricResult]] | None:
    """The sources and references, and the result of each run; None if an answer is missing or scores cannot be
    resampled."""
    found: list[MetricResult] = []
    pairs: list[tuple[str, list[str]]] = []
    for seed in sorted(setting.runs):
        rows: list[ValidAnswer] = read_answers(definition.folder / setting.folder / f"seed-{seed}")
        asked = [(row.source, row.references) for row in rows]
        if not rows or (pairs and asked != pairs):
            return None
        pairs = asked
        result = metric([row.answer for row in rows], [row.references for row in rows], [row.source for row in rows])
        if result.score_of is None or len(result.statistics) != len(rows):
            return None
        found.append(result)
    return (pairs, found) if found else None
