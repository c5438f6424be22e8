"""The results of a run for its report: metrics with intervals, examples, and where the errors are."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from antiphon.errors import AntiphonError
from antiphon.evaluation.comet import comet
from antiphon.evaluation.comparing import groups_by_length, groups_by_rarity, in_order
from antiphon.evaluation.metrics import Metric, know_labels, measure, parse_metrics
from antiphon.evaluation.result import MetricResult
from antiphon.evaluation.segments import scores_of, segment_scores
from antiphon.registry import names
from antiphon.reports.answers import ValidAnswer
from antiphon.reports.contents import RunContents
from antiphon.text import CLASSIFICATION
from antiphon.training.reporting.rows import Row

EXAMPLES = 5  # of each kind
MIN_GROUPED = 20  # answers below which groups say nothing
MAX_GROUPED_METRICS = 3
MAX_SEGMENTS = 5_000  # answers of which each is scored
NOT_HERE = "not computed again: "

Kind = Literal["worst", "typical", "best"]


@dataclass(frozen=True)
class RankedExample:
    """An answer with its source, references, and score."""

    kind: Kind
    answer: ValidAnswer
    score: float


@dataclass(frozen=True)
class ErrorGroup:
    """The scores of the answers of one group, by metric."""

    name: str
    count: int
    scores: dict[str, float]


@dataclass(frozen=True)
class RunResults:
    """What the answers of the best validation say.

    `measured` has the metrics that were computed from the answers. `logged` has the other figures of that validation
    (`valid_loss`, metrics that are not computed here), from the log. `chosen` is the metric of the examples.
    """

    row: Row | None
    measured: dict[str, MetricResult]
    logged: dict[str, float]
    notes: list[str]
    chosen: Metric | None = None
    examples: list[RankedExample] = field(default_factory=list)
    by_length: list[ErrorGroup] = field(default_factory=list)
    by_rarity: list[ErrorGroup] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The metrics as plain values, for run.json and the server."""
        found: dict[str, Any] = {}
        for name, result in self.measured.items():
            found[name] = {"score": round(result.score, 4), "signature": result.signature}
            if result.interval is not None:
                found[name] |= {"low": round(result.interval.low, 4), "high": round(result.interval.high, 4)}
        return {**found, **{name: {"score": round(value, 4)} for name, value in self.logged.items()}}


def results_of(run: RunContents, metrics: Sequence[Metric] | None = None) -> RunResults:
    """The results of a run. `metrics`: those of its recipe; None: parsed here, without importing code that it names."""
    notes: list[str] = []
    known = _metrics(run, notes) if metrics is None else list(metrics)
    known = [metric for metric in known if _cheap(metric, notes)]
    answers = run.answers
    texts, references = [each.answer for each in answers], [each.references for each in answers]
    sources = [each.source for each in answers]
    measured: dict[str, MetricResult] = {}
    for metric in known if answers and _whole(run) else []:
        try:
            measured |= measure(texts, references, [metric], sources)
        except AntiphonError as error:
            notes.append(f"{metric.name} is {NOT_HERE}{error}")
    row = _row(run, measured)
    logged = {} if row is None else _figures(run, row, set(measured))
    notes += [f"{name}: {result.note}" for name, result in measured.items() if result.note]
    found = RunResults(row, measured, logged, notes)
    if not answers:
        return found
    chosen = _chosen(run, [metric for metric in known if metric.name in measured])
    sample = slice(0, MAX_SEGMENTS)
    result = measured.get(chosen.name) if len(answers) <= MAX_SEGMENTS else None
    scores = _scores(chosen, result, texts[sample], references[sample], sources[sample])
    lower = chosen.name in measured and measured[chosen.name].lower_is_better
    return RunResults(
        row,
        measured,
        logged,
        notes,
        chosen,
        _examples(answers[sample], scores, lower=lower),
        _groups(answers, known, measured, groups_by_length(references)),
        _groups(answers, known, measured, _rarities(run, references)),
    )


def _metrics(run: RunContents, notes: list[str]) -> list[Metric]:
    """The metrics of the recipe that are known in this process; a run folder never makes us import a module."""
    found: list[Metric] = []
    items = run.section("validation").get("metrics")
    for item in items if isinstance(items, list) else []:
        name = next(iter(item), "") if isinstance(item, Mapping) else item
        if name not in names("metric"):
            notes.append(f"{name} is {NOT_HERE}it is not registered here")
            continue
        try:
            found += parse_metrics([item])
        except AntiphonError as error:
            notes.append(f"{name} is {NOT_HERE}{error}")
    if len({metric.name for metric in found}) < len(found):  # one metric with several settings
        found = parse_metrics([item for item in items or [] if _name(item) in {each.name for each in found}])
    return know_labels(found, run.labels)


def _name(item: object) -> str:
    return str(next(iter(item), "")) if isinstance(item, Mapping) else str(item)


def _cheap(metric: Metric, notes: list[str]) -> bool:
    """Whether a metric is computed for a report; others would load a network of gigabytes."""
    if metric.function is comet:
        notes.append(f"{metric.name} is {NOT_HERE}the figure is that of the log")
        return False
    return True


def _whole(run: RunContents) -> bool:
    """Whether there is an answer to each validation pair: without metrics, only the samples are answered."""
    return bool(run.section("validation").get("metrics"))


def _row(run: RunContents, measured: Mapping[str, MetricResult]) -> Row | None:
    """The row of the log that the answers belong to: at their step, the one whose metrics are the nearest (the weights
    of a step, or averaged ones)."""
    rows = [row for row in run.validations if run.answers and row["step"] == run.answers[0].step]
    if not rows or not measured:
        return run.best_row
    return min(rows, key=lambda row: sum(abs(row.get(name, math.inf) - m.score) for name, m in measured.items()))


def _figures(run: RunContents, row: Row, known: set[str]) -> dict[str, float]:
    wanted = ["valid_loss", *run.rows.metrics]
    return {name: row[name] for name in wanted if isinstance(row.get(name), int | float) and name not in known}


def _chosen(run: RunContents, known: Sequence[Metric]) -> Metric:
    """The metric by which examples are chosen: that of `keep_best` or the first one; without metrics chrF."""
    asked = str(run.section("validation").get("keep_best") or "").split(":")[0]
    named = [metric for metric in known if metric.name.split(":")[0] == asked]
    return [*named, *known, *parse_metrics(["chrf"])][0]


def _scores(
    metric: Metric,
    result: MetricResult | None,
    texts: Sequence[str],
    references: Sequence[Sequence[str]],
    sources: Sequence[str],
) -> list[float]:
    if result is None:
        return segment_scores(metric, texts, references, sources)
    return scores_of(metric, result, texts, references, sources)


def _examples(answers: Sequence[ValidAnswer], scores: Sequence[float], *, lower: bool) -> list[RankedExample]:
    """The best, the worst and the most typical (around the median) answers; each different source once.

    Where a metric cannot tell answers apart (exact match), similarity in characters decides.
    """
    ties = segment_scores(parse_metrics(["chrf"])[0], [a.answer for a in answers], [a.references for a in answers])
    sign = -1.0 if lower else 1.0

    def rank(place: int) -> tuple[float, float]:
        return sign * scores[place], ties[place]

    order = sorted({answers[place].source: place for place in reversed(range(len(answers)))}.values(), key=rank)
    count = min(EXAMPLES, -(-len(order) // 3))  # a small set is shared out
    worst, best = order[:count], order[len(order) - count :] if len(order) > count else []
    best = [place for place in best if place not in worst][::-1]
    rest = [place for place in order if place not in {*worst, *best}]
    first = max(0, (len(rest) - count) // 2)
    typical = rest[first : first + count]
    kinds: list[tuple[Kind, list[int]]] = [("worst", worst), ("typical", typical), ("best", best)]
    return [RankedExample(kind, answers[place], scores[place]) for kind, places in kinds for place in places]


def _rarities(run: RunContents, references: Sequence[Sequence[str]]) -> list[str]:
    counts = run.recorded.get("word_counts")
    if not isinstance(counts, Mapping) or not counts or run.task == CLASSIFICATION:
        return []
    known = {str(word): count for word, count in counts.items() if isinstance(count, int)}
    return groups_by_rarity(references, known)


def _groups(
    answers: Sequence[ValidAnswer], metrics: Sequence[Metric], measured: Mapping[str, Any], groups: Sequence[str]
) -> list[ErrorGroup]:
    """The scores of each group; none if there is one group only, or too few answers."""
    if len(answers) < MIN_GROUPED or len(set(groups)) < 2:
        return []
    used = [metric for metric in metrics if metric.name in measured][:MAX_GROUPED_METRICS]
    found = []
    for name in in_order(groups):
        rows = [answer for answer, group in zip(answers, groups, strict=True) if group == name]
        texts, references = [row.answer for row in rows], [row.references for row in rows]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = measure(texts, references, used, [row.source for row in rows])
        found.append(ErrorGroup(name, len(rows), {name: result.score for name, result in results.items()}))
    return found if used else []
