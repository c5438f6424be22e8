"""The HTML of a report for notebooks: scores with intervals and signatures, groups, and examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from antiphon.display import Markup, badge, clock, details, fixed, note, panel, preformatted, table
from antiphon.display.colours import GOOD, NEUTRAL
from antiphon.evaluation.bootstrap import ConfidenceInterval
from antiphon.evaluation.groups import Grouped
from antiphon.evaluation.result import MetricResult
from antiphon.generation.answers import Generation

EXAMPLES, MAX_GROUPS = 5, 30


def page(
    metrics: Mapping[str, MetricResult],
    groups: Grouped | None,
    sources: Sequence[Any],
    references: Sequence[Sequence[str]],
    answers: Sequence[Generation],
    seconds: float | None,
) -> str:
    """The HTML of a report."""
    rows = [[name, fixed(m.score, 2), _interval(m.interval), m.signature] for name, m in metrics.items()]
    parts: list[Markup] = [
        note(f"{len(sources):,} pairs" + ("" if seconds is None else f", answered in {clock(seconds)}")),
        table(["metric", "score", "95 % interval", "signature"], rows, right={1, 2}),
        *(note(f"{name}: {m.note}", strong=True) for name, m in metrics.items() if m.note),
        *(details(f"{name}: table", preformatted(m.table)) for name, m in metrics.items() if m.table),
    ]
    if groups is not None:
        parts.append(_groups(groups))
    parts.append(_examples(sources, references, answers))
    return panel("Report", *parts)


def _groups(groups: Grouped) -> Markup:
    macro = groups.macro
    rows = [
        [name, f"{groups.sizes[name]:,}", *(fixed(found[metric].score, 2) for metric in macro)]
        for name, found in list(groups.groups.items())[:MAX_GROUPS]
    ]
    rows.append(["macro mean", "", *(fixed(found.score, 2) for found in macro.values())])
    drawn = table(["group", "pairs", *macro], rows, right=range(1, 2 + len(macro)))
    return details(f"{len(groups.groups)} groups", drawn)


def _examples(sources: Sequence[Any], references: Sequence[Sequence[str]], answers: Sequence[Generation]) -> Markup:
    """Some pairs at equal distances."""
    count = min(EXAMPLES, len(sources))
    places = [round(place * (len(sources) - 1) / max(count - 1, 1)) for place in range(count)]
    rows: list[list[str | Markup]] = []
    for place in places:
        equal = answers[place].text in references[place]
        mark = badge("equal", GOOD) if equal else badge("differs", NEUTRAL)
        rows.append(
            [
                "" if sources[place] is None else str(sources[place]),
                answers[place].text,
                "\n".join(references[place]),
                mark,
            ]
        )
    return table(["source", "answer", "reference", ""], rows)


def _interval(interval: ConfidenceInterval | None) -> str:
    return "" if interval is None else f"{interval.low:.2f} to {interval.high:.2f}"
