"""A comparison as HTML: a page of its own without scripts and requests, and a panel for notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import resources
from typing import TYPE_CHECKING

from antiphon.display import (
    IntervalRow,
    Markup,
    Section,
    badge,
    document,
    fixed,
    interval_chart,
    joined,
    note,
    panel,
    table,
)
from antiphon.display.colours import CURVES, GOOD, NEUTRAL
from antiphon.display.html import escaped, isolated
from antiphon.evaluation.comparing.differences import Difference, bounds, probability, title
from antiphon.evaluation.comparing.words import marked

if TYPE_CHECKING:
    from antiphon.evaluation.comparing.figures import ComparisonFigures, Contrast, WinTieLoss

EXAMPLES, MAX_TEXT = 8, 2000
KINDS = {"length": "By the length of the reference", "frequency": "By rare words of the reference", "tag": "By tag"}
_METHOD = (
    "Intervals hold 95 % of the samples of a paired bootstrap (Koehn 2004). p is that of approximate randomisation "
    "(Riezler and Maxwell 2005): how often a difference at least as large comes about if the answers of both systems "
    "are exchanged at random. A system is called better if p, corrected for the number of pairs of the metric (Holm "
    "1979), is below 0.05. Each metric is tested by itself, on these segments and one set of answers: another training "
    "run of the same recipe may differ by more."
)


def whole_page(comparison: ComparisonFigures) -> str:
    """The page; everything from users' data is escaped."""
    return document(
        _list_of(comparison.names),
        kind="comparison",
        lead=lead(comparison),
        sections=list(_sections(comparison)),
        footer=[_METHOD, "Made by Antiphon."],
        style=resources.files("antiphon.evaluation.comparing").joinpath("page.css").read_text(encoding="utf-8"),
    )


def notebook_panel(comparison: ComparisonFigures) -> str:
    """Scores, verdicts and wins by group, for a notebook."""
    parts = [note(lead(comparison))]
    for metric in comparison.results:
        parts += [_scores_table(comparison, metric), *map(_verdict, _shown(comparison, metric))]
    first, second = comparison.pairs_shown[0]
    return panel("Comparison", *parts, *_wins_tables(comparison, first, second))


def lead(comparison: ComparisonFigures) -> str:
    """The size of the comparison in one line."""
    return (
        f"{len(comparison.names)} systems · {comparison.segments:,} segments · {comparison.samples:,} samples of the "
        f"bootstrap · {comparison.trials:,} trials of randomisation"
    )


def _sections(comparison: ComparisonFigures) -> Iterator[Section]:
    for number, metric in enumerate(comparison.results):
        yield f"metric-{number}", title(metric), _metric(comparison, metric)
    yield "groups", "Where each is better", _groups(comparison)
    examples = _examples(comparison)
    if examples.html:
        yield "examples", "Segments that differ most", examples


def _metric(comparison: ComparisonFigures, metric: str) -> Markup:
    """Scores, verdicts, and the differences with their intervals."""
    shown = _shown(comparison, metric)
    parts = [joined(*map(_verdict, shown)), _scrolling("Scores", _scores_table(comparison, metric))]
    result = comparison.results[metric][0]
    parts += [Markup(f'<p class="muted signature">{isolated(result.signature)}</p>')] if result.signature else []
    parts += [Markup(f'<p class="warning">{isolated(result.note)}</p>')] if result.note else []
    scores = [
        IntervalRow(name, each.score, interval, CURVES[0])
        for name, each, interval in zip(
            comparison.names, comparison.results[metric], comparison.intervals[metric], strict=True
        )
    ]
    lower = " (lower is better)" if result.lower_is_better else ""
    charts = [interval_chart(scores, title=f"{title(metric)}{lower}")]
    rows = [
        IntervalRow(f"{one.second} - {one.first}", one.difference, one.interval, GOOD if one.better else NEUTRAL)
        for one in shown
    ]
    charts.append(interval_chart(rows, title=f"difference{lower}", zero=True))
    parts.append(Markup(f'<div class="charts">{"".join(f"<div>{chart.html}</div>" for chart in charts)}</div>'))
    every = [one for one in comparison.differences if one.metric == metric]
    parts.append(_folded(f"The tests of {_count(len(every), 'pair')}", _scrolling("Tests", _tests_table(every))))
    return joined(*parts)


def _shown(comparison: ComparisonFigures, metric: str) -> list[Difference]:
    return [comparison.difference(metric, *pair) for pair in comparison.pairs_shown]


def _verdict(one: Difference) -> Markup:
    found = badge("better", GOOD) if one.better else badge("not shown", NEUTRAL)
    return Markup(f'<p class="verdict">{found.html}<span>{isolated(one.verdict)}</span></p>')


def _scores_table(comparison: ComparisonFigures, metric: str) -> Markup:
    rows = [
        [name, fixed(result.score, 2), bounds(interval)]
        for name, result, interval in zip(
            comparison.names, comparison.results[metric], comparison.intervals[metric], strict=True
        )
    ]
    return table(["system", title(metric), "95 % interval"], rows, right={1, 2})


def _tests_table(differences: Sequence[Difference]) -> Markup:
    heads = ["systems", "difference", "95 % interval", "p", "p (Holm)", "p, bootstrap", "p, sacreBLEU's bootstrap"]
    rows = [
        [
            f"{one.first}, {one.second}",
            fixed(one.difference, 2),
            bounds(one.interval),
            _probability(one.p),
            _probability(one.p_holm),
            _probability(one.tests["bootstrap"]),
            _probability(one.tests["sacrebleu_bootstrap"]),
        ]
        for one in differences
    ]
    return table(heads, rows, right=range(1, len(heads)))


def _groups(comparison: ComparisonFigures) -> Markup:
    metric = title(comparison.main_metric)
    parts = [
        _paragraph(f"Segments on which each system is better, by {metric} of the segment; and {metric} of each group.")
    ]
    for number, (first, second) in enumerate(comparison.pairs_shown):
        inside = joined(*_wins_tables(comparison, first, second))
        if len(comparison.pairs_shown) == 1:
            parts.append(inside)
        else:
            heading = f"{comparison.names[first]} and {comparison.names[second]}"
            parts.append(_folded(heading, inside, opened=number == 0))
    return joined(*parts)


def _wins_tables(comparison: ComparisonFigures, first: int, second: int) -> Iterator[Markup]:
    """A table of all segments and one for each kind of groups."""
    one, other = comparison.names[first], comparison.names[second]
    heads = ["", "segments", "", one, "equal", other, f"score {one}", f"score {other}"]
    everything = {"all": {"all": list(range(comparison.segments))}}
    for kind, groups in (everything | {kind: comparison.places_of(kind) for kind in comparison.groups}).items():
        rows = []
        for name, places in groups.items():
            wins = comparison.wins(first, second, places)
            scores = [comparison.group_score(system, places) for system in (first, second)]
            counts = [f"{count:,}" for count in wins]
            rows.append([name, f"{len(places):,}", _bars(wins), *counts, *(fixed(score, 2) for score in scores)])
        if kind in KINDS:
            yield Markup(f"<h3>{KINDS[kind]}</h3>")
        if kind == "frequency":
            yield _paragraph(f"A word is rare if it stands {comparison.rare}.")
        yield _scrolling(KINDS.get(kind, "All segments"), table(heads, rows, right={1, 3, 4, 5, 6, 7}))


def _bars(wins: WinTieLoss) -> Markup:
    """Wins, ties and losses as parts of one bar; the figures stand beside it."""
    parts = "".join(
        f'<span style="display:inline-block;height:10px;width:{100 * count / max(sum(wins), 1):.1f}%;'
        f'background:{colour}"></span>'
        for count, colour in zip(wins, (CURVES[0], "rgba(128,128,128,.35)", CURVES[1]), strict=True)
    )
    style = "width:8rem;font-size:0;white-space:nowrap;overflow:hidden;border-radius:5px;margin-top:5px"
    return Markup(f'<div aria-hidden="true" style="{style}">{parts}</div>')


def _examples(comparison: ComparisonFigures) -> Markup:
    parts = []
    for number, (first, second) in enumerate(comparison.pairs_shown):
        names = (comparison.names[first], comparison.names[second])
        inside = []
        for name, found in zip(names, comparison.contrasts(first, second, EXAMPLES), strict=True):
            inside += [Markup(f"<h3>Most in favour of {isolated(name)}</h3>")] if found else []
            inside += [_example(comparison, first, second, one) for one in found]
        if inside:
            heading = f"{names[0]} and {names[1]}"
            alone = len(comparison.pairs_shown) == 1
            parts += inside if alone else [_folded(heading, joined(*inside), opened=number == 0)]
    if parts:
        parts.insert(0, _paragraph("Words that only one of the two answers has are marked."))
    return joined(*parts)


def _example(comparison: ComparisonFigures, first: int, second: int, one: Contrast) -> Markup:
    rows = [] if comparison.sources is None else [("source", isolated(_cut(str(comparison.sources[one.place]))))]
    rows += [("reference", isolated(_cut(text))) for text in comparison.references[one.place]]
    sides = marked(*(_cut(comparison.answers[system][one.place]) for system in (first, second)))
    for place, (system, pieces) in enumerate(zip((first, second), sides, strict=True)):
        text = "".join(
            escaped(word)
            if shared
            else f'<mark class="side-{place}">{escaped(word.rstrip(" "))}</mark>{" " if word.endswith(" ") else ""}'
            for word, shared in pieces
        )
        shown = f"<bdi>{text}</bdi>" if text else '<span class="muted">(empty)</span>'
        rows.append((comparison.names[system], f"{shown} <small>{(one.first, one.second)[place]:.2f}</small>"))
    inside = "".join(f"<dt>{isolated(name)}</dt><dd>{text}</dd>" for name, text in rows)
    return Markup(f'<div class="example"><h4>Segment {one.place + 1:,}</h4><dl>{inside}</dl></div>')


def _folded(heading: str, part: Markup, *, opened: bool = False) -> Markup:
    state = " open" if opened else ""
    return Markup(f"<details{state}><summary>{isolated(heading)}</summary>{part.html}</details>")


def _scrolling(label: str, part: Markup) -> Markup:
    """A part that scrolls by itself where the page is narrower; the keyboard reaches it."""
    return Markup(f'<div class="scroll" role="group" aria-label="{escaped(label)}" tabindex="0">{part.html}</div>')


def _paragraph(text: str) -> Markup:
    return Markup(f'<p class="muted">{isolated(text)}</p>')


def _probability(p: float | None) -> str:
    return "" if p is None else probability(p)


def _count(count: int, unit: str) -> str:
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def _list_of(names: Sequence[str]) -> str:
    shown = list(names[:4]) + ([f"{len(names) - 4} more"] if len(names) > 4 else [])
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
