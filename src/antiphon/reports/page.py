"""The page of a report: one HTML file without scripts and without requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from antiphon.display import Markup, Section, bar, clock, document, fixed, joined, line_chart, note, panel, table
from antiphon.display.html import escaped, isolated
from antiphon.evaluation.comparing import word_changes
from antiphon.reports.attention_maps import DrawnMap
from antiphon.reports.contents import RunContents
from antiphon.reports.facts import (
    UNKNOWN,
    Fact,
    cost_facts,
    data_facts,
    data_files,
    has_python_pairs,
    model_facts,
    reproduce_command,
    start_facts,
    training_facts,
)
from antiphon.reports.results import ErrorGroup, RankedExample, RunResults

MAX_TILES, MAX_CHARTS, MAX_TEXT = 4, 8, 2000
KINDS = {
    "worst": ("Worst", "the lowest scores"),
    "typical": ("Typical", "scores around the median"),
    "best": ("Best", "the highest scores"),
}
_CURVES = {"lr": "learning rate", "grad_norm": "gradient norm", "tokens_per_second": "tokens a second"}


def page(run: RunContents, results: RunResults, maps: Sequence[DrawnMap], no_maps: str) -> str:
    """The whole page."""
    sections = [section for section in _sections(run, results, maps, no_maps) if section[2].html]
    return document(
        run.name,
        kind="report of a training run",
        lead=lead(run),
        sections=sections,
        footer=["Made by Antiphon from the files of the run."],
        beside=Markup(f'<span class="state {run.state}">{run.state}</span>'),
    )


def notebook_page(run: RunContents, results: RunResults, maps: Sequence[DrawnMap], no_maps: str) -> str:
    """The results, curves, groups and examples, as a notebook shows them: with the styles of `antiphon.display`."""
    parts = [note(lead(run)), _results_table(run, results), run.rows.curves()]
    rows = [
        [example.kind, example.answer.source, example.answer.answer, "\n".join(example.answer.references)]
        for example in results.examples
    ]
    parts += [table(["kind", "source", "answer", "reference"], rows)] if rows else []
    parts += [part for drawn in maps[:1] for part in (note(drawn.title), drawn.picture)]
    parts += [note(no_maps)] if no_maps and not maps else []
    return panel(f"Report of {run.name}", *parts)


def lead(run: RunContents) -> str:
    """The run in one line: task, size, steps, time, and why it ended."""
    facts = dict(model_facts(run))
    said = [run.task]
    said += [f"{facts['parameters'].partition(',  of')[0]} parameters"] if "parameters" in facts else []
    if run.rows:
        said.append(f"{run.rows.last('step'):,} steps in {clock(run.rows.last('time_seconds') or 0)} of training")
    said += [str(run.ended)] if run.ended and not run.ended.endswith("steps are done") else []
    return " · ".join(said)


def _sections(run: RunContents, results: RunResults, maps: Sequence[DrawnMap], no_maps: str) -> list[Section]:
    return [
        ("results", "Results", _results(run, results)),
        ("curves", "Curves", _curves(run)),
        ("examples", "Examples", _examples(results)),
        ("errors", "Where the errors are", _groups(results)),
        ("attention", "Attention", _maps(maps, no_maps, wanted=bool(results.examples))),
        ("data", "Data", _data(run)),
        ("recipe", "Model and recipe", _recipe(run)),
        ("cost", "Cost", _facts(cost_facts(run))),
        ("reproduce", "Reproduce", _reproduce(run)),
    ]


def _results(run: RunContents, results: RunResults) -> Markup:
    tiles = []
    for name, result in list(results.measured.items())[:MAX_TILES]:
        interval = result.interval
        small = "" if interval is None else f"95 %: {interval.low:.2f} to {interval.high:.2f}"
        tiles.append(
            f'<div class="tile"><dt>{isolated(name)}</dt><dd>{result.score:.2f}<small>{small}</small></dd></div>'
        )
    drawn = Markup(f'<dl class="tiles">{"".join(tiles)}</dl>') if tiles else Markup("")
    if not results.measured and not results.logged:
        what = "No validation has been logged yet." if run.state != "finished" else "The run had no validation."
        return _paragraph(what)
    step = "" if results.row is None else f" after step {results.row['step']:,}"
    averaged = " (averaged weights)" if results.row is not None and results.row.get("averaged") else ""
    pairs = f"{len(run.answers):,} validation pairs" if results.measured else "the validation pairs"
    said = (
        f"On {pairs}, with the model{step}{averaged}, which was chosen on them: a test set that training has not "
        "seen may give lower figures. Measure one with antiphon evaluate."
    )
    notes = [_paragraph(text) for text in results.notes]
    return joined(drawn, _results_table(run, results), _paragraph(said), *notes)


def _results_table(run: RunContents, results: RunResults) -> Markup:
    rows = [
        [
            name,
            fixed(result.score, 2),
            "" if result.interval is None else f"{result.interval.low:.2f} to {result.interval.high:.2f}",
            result.signature,
        ]
        for name, result in results.measured.items()
    ]
    rows += [[name, fixed(value, 4), "", ""] for name, value in results.logged.items()]
    return _scrolling("Metrics", table(["metric", "score", "95 % interval", "signature"], rows, right={1, 2}))


def _curves(run: RunContents) -> Markup:
    rows = run.rows
    if not rows:
        return _paragraph("There are no figures yet.")
    losses = {name: points for name in ("loss", "valid_loss") if (points := rows.curve(name))}
    charts = [line_chart(losses, title="nats a token")] if losses else []
    charts += [line_chart({name: rows.curve(name)}, title=name) for name in rows.metrics]
    for name, title in _CURVES.items():
        charts += [line_chart({title: points}, title=title)] if (points := rows.curve(name)) else []
    inside = "".join(f"<div>{chart.html}</div>" for chart in charts[:MAX_CHARTS])
    return Markup(f'<div class="charts">{inside}</div>')


def _examples(results: RunResults) -> Markup:
    parts: list[Markup] = []
    for kind, (title, meaning) in KINDS.items():
        found = [example for example in results.examples if example.kind == kind]
        if found and results.chosen is not None:
            by = f"{title} <small class='muted'>{escaped(f'{meaning} by {results.chosen.name}')}</small>"
            inside = "".join(_example(example).html for example in found)
            parts += [Markup(f"<h3>{by}</h3>"), Markup(f'<div class="examples">{inside}</div>')]
    if parts:
        key = "In an answer, <del>this is not in the reference</del> and <ins>this is only there</ins>."
        return joined(Markup(f'<p class="muted">{key}</p>'), *parts)
    return Markup("")


def _example(example: RankedExample) -> Markup:
    answer = example.answer
    rows = [("source", isolated(_cut(answer.source)))]
    if answer.answer in answer.references:
        rows.append(("answer", f"{isolated(_cut(answer.answer))} <small class='muted'>as the reference</small>"))
    else:
        rows.append(("answer", f"<bdi>{_changes(answer.answer, answer.references[0])}</bdi>"))
        rows += [("reference", isolated(_cut(text))) for text in answer.references]
    rows.append(("score", f"{example.score:.2f}"))
    inside = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in rows)
    return Markup(f'<div class="example"><dl>{inside}</dl></div>')


def _changes(answer: str, reference: str) -> str:
    """The answer with the words that the reference lacks, and those of the reference that it lacks, marked."""
    if not answer.strip():
        return "<span class='muted'>(empty)</span>"
    tags = {"same": ("", ""), "first": ("<del>", "</del>"), "second": ("<ins>", "</ins>")}
    pieces = []
    for text, side in word_changes(_cut(answer), _cut(reference)):
        start, end = tags[side]
        word = text.rstrip(" ")
        pieces.append(f"{start}{escaped(word)}{end}{text[len(word) :]}")
    return "".join(pieces)


def _groups(results: RunResults) -> Markup:
    parts: list[Markup] = []
    for title, groups in (("By the length of the reference", results.by_length),
                          ("By rare words of the reference", results.by_rarity)):  # fmt: skip
        if groups:
            parts += [Markup(f"<h3>{title}</h3>"), _group_table(title, groups)]
    if results.by_rarity:
        parts.append(_paragraph("A word is rare if the training data has it at most five times in its targets."))
    return joined(*parts)


def _group_table(title: str, groups: Sequence[ErrorGroup]) -> Markup:
    names = list(groups[0].scores)
    top = max(100.0, *(score for group in groups for score in group.scores.values()))

    def cell(score: float) -> Markup:
        return joined(Markup(fixed(score, 2)), bar(max(score, 0.0) / top, width="7rem"))

    rows = [[group.name, f"{group.count:,}", *(cell(group.scores[name]) for name in names)] for group in groups]
    return _scrolling(title, table(["reference", "pairs", *names], rows, right={1}))


def _maps(maps: Sequence[DrawnMap], reason: str, *, wanted: bool) -> Markup:
    parts = [
        Markup(
            f"<figure><figcaption><strong>{KINDS[drawn.example.kind][0]}</strong>: "
            f"{isolated(drawn.example.answer.source)} → {isolated(drawn.example.answer.answer)}</figcaption>"
            f"{_scrolling('Attention map', drawn.picture).html}</figure>"
        )
        for drawn in maps
    ]
    if parts:
        said = "Rows are tokens of the answer, columns those of the source; figures are percent. "
        parts.insert(0, _paragraph(said + "Attention shows where the model looked, not why it answered so."))
        inside = "".join(part.html for part in parts[1:])
        return joined(_paragraph(f"The {maps[0].title}."), parts[0], Markup(f'<div class="maps">{inside}</div>'))
    return _paragraph(f"No maps: {reason}.".replace("..", ".")) if wanted and reason else Markup("")


def _data(run: RunContents) -> Markup:
    rows = [
        [
            file.side,
            file.name,
            file.bytes,
            file.fingerprint or UNKNOWN,
            file.license,
        ]
        for file in data_files(run)
    ]
    heads = ["side", "data", "bytes", "fingerprint", "licence"]
    drawn = _scrolling("Data files", table(heads, rows, right={2})) if rows else Markup("")
    return joined(drawn, _facts(data_facts(run)))


def _recipe(run: RunContents) -> Markup:
    columns = f'<div class="columns">{_facts(model_facts(run)).html}{_facts(training_facts(run)).html}</div>'
    return joined(Markup(columns), _folded("The whole recipe (config.yaml)", run.recipe_text))


def _reproduce(run: RunContents) -> Markup:
    parts = [Markup(f'<pre tabindex="0">{escaped(reproduce_command(run))}</pre>')]
    if has_python_pairs(run):
        parts.append(_paragraph("Its pairs came from Python, so the recipe alone does not have the data."))
    said = "The same version on the same processor with the same number of threads gives the same bits."
    parts.append(_paragraph(said))
    for number, start in enumerate(run.starts):
        title = "Started" if number == 0 else f"Continued after step {start.get('first_step', 0):,}"
        parts += [Markup(f"<h3>{title}</h3>"), _facts(start_facts(start))]
    if not run.starts:
        parts.append(_paragraph("The run recorded no versions: it is from an older version of Antiphon."))
    return joined(*parts)


def _facts(facts: Iterable[Fact]) -> Markup:
    rows = "".join(f"<dt>{isolated(name)}</dt><dd>{isolated(value)}</dd>" for name, value in facts)
    return Markup(f'<dl class="facts">{rows}</dl>' if rows else "")


def _folded(title: str, text: str) -> Markup:
    return Markup(f'<details><summary>{escaped(title)}</summary><pre tabindex="0">{escaped(text)}</pre></details>')


def _paragraph(text: str) -> Markup:
    return Markup(f'<p class="muted">{isolated(text)}</p>')


def _scrolling(label: str, part: Markup) -> Markup:
    """A part that scrolls by itself where the page is narrower; the keyboard reaches it."""
    return Markup(f'<div class="scroll" role="group" aria-label="{escaped(label)}" tabindex="0">{part.html}</div>')


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
