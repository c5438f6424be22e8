"""The page and the picture of a sweep: one HTML file without scripts and without requests, and one SVG file."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from antiphon.display import (
    Markup,
    bar_chart,
    chart_grid,
    document,
    fixed,
    line_chart,
    note,
    number_chart,
    panel,
    point_chart,
    side_by_side,
    table,
)
from antiphon.display.html import escaped, isolated
from antiphon.sweeps.figures import NUMERIC, SweepFigures, text_rows
from antiphon.sweeps.importance import VARIANCE
from antiphon.sweeps.results import PRUNED, SettingResult, finished
from antiphon.sweeps.space import ChoiceSpace, describe, label_of, short_key

LOG_RATIO = 8  # numbers that differ by more than this factor are drawn on a logarithmic axis
MOST_ROWS = 200


def charts(result: SweepFigures) -> list[Markup]:
    """The importance of the keys, the metric by each key (the most important first), and its course over the trials."""
    done, metric = finished(result.settings), result.metric[0]
    keys = [*result.importance, *(key for key in result.definition.space if key not in result.importance)]
    shares = {short_key(key, keys): share for key, share in result.importance.items()}
    drawn = [bar_chart(shares, title=f"importance for {metric}")] if len(shares) > 1 else []
    drawn += [_slice(result, key, done) for key in keys]
    if result.definition.config.search != "grid":
        drawn.append(_course(result, done))
    return drawn


def picture(result: SweepFigures) -> str:
    """The charts as one SVG file."""
    return chart_grid(charts(result))


def shown(result: SweepFigures) -> str:
    """The verdict, the charts and the table, as a notebook shows them."""
    parts = [note(result.verdict.text, strong=True), note(result.counts), side_by_side(charts(result))]
    return panel(f"Sweep {result.definition.name}", *parts, _table(result))


def page(result: SweepFigures) -> str:
    """The whole page."""
    best = result.best
    drawn = "".join(f"<div>{chart.html}</div>" for chart in charts(result))
    spaced = 'style="margin-bottom:1rem"'
    verdict = f"<p {spaced}>{isolated(result.verdict.text)}</p>{_tiles(result, best)}"
    matters = f'<p class="muted" {spaced}>{_how(result)}</p><div class="charts">{drawn}</div>'
    sections = [("verdict", "Result", verdict), ("matters", "What mattered", matters)]
    scrolling = f'<div class="scroll" tabindex="0" role="region" aria-label="Settings">{_table(result).html}</div>'
    sections += [("settings", "Settings", f"{scrolling}{_table_note(result)}")]
    sections += [("reproduce", "Reproduce", _reproduce(result))]
    return document(
        result.definition.name,
        kind="a sweep",
        lead=_lead(result),
        sections=[(anchor, title, Markup(inside)) for anchor, title, inside in sections],
        footer=["Made by Antiphon from the study of the sweep."],
    )


def _lead(result: SweepFigures) -> str:
    config = result.definition.config
    better = "lower is better" if result.metric[1] else "higher is better"
    return f"{config.search} search over {config.recipe} · {result.metric[0]} ({better}) · {result.counts}"


def _how(result: SweepFigures) -> str:
    said = "A point is a finished setting (the mean of its runs); a line is the best of a value. "
    if result.importance and result.method == VARIANCE:
        said += "Importance: the variance of the means by the values of a key, as a share of all variance."
    elif result.importance:
        said += "Importance: how much a key decides whether a setting is among the best (PED-ANOVA)."
    return said


def _tiles(result: SweepFigures, best: SettingResult | None) -> str:
    if best is None:
        return ""
    interval = best.interval
    small = (
        "one run" if interval is None else f"95 % over {len(best.values)} seeds: {interval[0]:.2f} to {interval[1]:.2f}"
    )
    tiles = [(result.metric[0], fixed(best.mean, 2), small)]
    tiles += [(short_key(key, list(best.params)), label_of(value), "") for key, value in best.params.items()]
    inside = "".join(
        f'<div class="tile"><dt>{isolated(name)}</dt><dd>{isolated(value)}<small>{escaped(below)}</small></dd></div>'
        for name, value, below in tiles
    )
    return f'<dl class="tiles">{inside}</dl>'


def _slice(result: SweepFigures, key: str, done: Sequence[SettingResult]) -> Markup:
    """The metric of the finished settings by the value of one key."""
    domain, metric = result.definition.space[key], result.metric[0]
    title = short_key(key, list(result.definition.space))
    best: Callable[[Sequence[float]], float] = min if result.metric[1] else max
    if not isinstance(domain, ChoiceSpace):
        points = [(float(setting.params[key]), setting.mean) for setting in done]
        log = domain.log or (domain.low > 0 and domain.high / domain.low > LOG_RATIO)
        return number_chart(points, title=title, up=metric, log=log, names=[str(setting) for setting in done])
    groups: dict[str, list[float]] = {label: [] for label in domain.grid()}
    names: dict[str, list[str]] = {label: [] for label in domain.grid()}
    for setting in done:
        groups[setting.params[key]].append(setting.mean)
        names[setting.params[key]].append(f"{describe(setting.params)}: {setting.mean:.4g}")
    return point_chart(groups, title=title, up=metric, best=best, names=names)


def _course(result: SweepFigures, done: Sequence[SettingResult]) -> Markup:
    """The metric of each finished setting in the order of the trials, and the best so far."""
    ordered = sorted(done, key=lambda setting: setting.number)
    best, so_far = [], None
    choose: Callable[[float, float], float] = min if result.metric[1] else max
    for setting in ordered:
        so_far = setting.mean if so_far is None else choose(so_far, setting.mean)
        best.append((float(setting.number), so_far))
    curves = {"setting": [(float(setting.number), setting.mean) for setting in ordered], "best so far": best}
    return line_chart(curves, title=result.metric[0], across="trial")


def _table(result: SweepFigures) -> Markup:
    rows = text_rows(result.rows[:MOST_ROWS], result.metric[0])
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[row.get(name, "") for name in names] for row in rows]
    numeric = {*NUMERIC, result.metric[0]}
    return table(names, cells, right={place for place, name in enumerate(names) if name in numeric})


def _table_note(result: SweepFigures) -> str:
    said = "p: the difference from the best setting, corrected for all comparisons (Holm)."
    if any(setting.state == PRUNED for setting in result.settings):
        said += " Pruned settings show their last validation and are not compared."
    failed = [f"{setting}: {setting.note}" for setting in result.settings if setting.note]
    left = len(result.settings) - MOST_ROWS
    more = [said, *([f"{left} more rows are in sweep.json."] if left > 0 else []), *failed[:10]]
    return "".join(f'<p class="muted">{isolated(line)}</p>' for line in more)


def _reproduce(result: SweepFigures) -> str:
    definition = result.definition
    lines = [" ".join(["antiphon", "sweep", str(definition.path), "--resume"])]
    if result.best_recipe is not None:
        lines.append(f"antiphon train {result.best_recipe}")
    return f"<pre>{escaped(chr(10).join(lines))}</pre>"
