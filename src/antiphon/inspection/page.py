"""An inspection as one HTML file: no script, nothing from elsewhere, light and dark, from 360 pixels.

Every text of a user is escaped. The content security policy allows this file's own style sheet, by its hash, and
nothing else.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from antiphon.display import clock
from antiphon.display.html import escaped, isolated
from antiphon.inspection import plan_words, words
from antiphon.inspection.contents import InspectionContents
from antiphon.inspection.findings import Finding, SplitReport
from antiphon.inspection.kinds import URGENCIES
from antiphon.inspection.lengths import Lengths
from antiphon.inspection.scaling.plan import RunPlan
from antiphon.inspection.scan import ExampleRow

WIDTH, HEIGHT, BOTTOM = 400, 96, 18  # of a histogram


def page(report: InspectionContents) -> str:
    """The file."""
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    title = f"{report.recipe}: inspection"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{digest}'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"{_header(report)}\n<main>\n{_body(report)}\n</main>\n"
        f"<footer><p>Made by antiphon inspect in {clock(report.seconds)}.</p></footer>\n</body>\n</html>\n"
    )


@functools.cache
def _style() -> str:
    return Path(__file__).with_name("style.css").read_text(encoding="utf-8")


def _header(report: InspectionContents) -> str:
    cards = [("training pairs", f"{report.splits[0].kept:,}" if report.splits else "0")]
    for urgency in ("first", "next", "later"):
        count = sum(finding.urgency == urgency for finding in report.findings)
        cards.append(({"first": "to do first", "next": "then", "later": "later"}[urgency], str(count)))
    if report.estimate is not None:
        cards.append(("time of the run", words.duration(report.estimate.seconds)))
        cards.append(("memory", f"{report.estimate.measured.peak_bytes / 2**20:,.0f} MiB"))
    inside = "".join(f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in cards)
    return (
        f"<header><h1>{isolated(report.recipe)}</h1>"
        f'<p class="lead">The data of a {escaped(report.task)} recipe, and what its run would take.</p>'
        f'<dl class="cards">{inside}</dl></header>'
    )


def _body(report: InspectionContents) -> str:
    parts = []
    for urgency, title in URGENCIES.items():
        here = [finding for finding in report.findings if finding.urgency == urgency]
        if here:
            parts.append(f'<h2 class="urgency {urgency}">{title}</h2>')
            parts += map(_finding, here)
    if not report.findings:
        parts.append('<h2>Findings</h2><p class="panel">Nothing was found that should be changed.</p>')
    if report.snippet:
        text = "Into the recipe, to remove what settings can remove:"
        parts.append(
            f'<h2>Filters</h2><div class="panel"><p>{text}</p>'
            f'<pre tabindex="0" role="region" aria-label="YAML for the recipe">{escaped(report.snippet)}</pre></div>'
        )
    parts.append("<h2>Data</h2>")
    parts += map(_split, report.splits)
    if report.tokens is not None:
        rows = [[what, one, two] for what, one, two in words.token_facts(report.tokens)]
        head = [f"in {report.tokens.pairs:,} pairs", "source", "target"]
        sides = zip(report.tokens.sides, _SIDES, strict=True)
        drawn = [(side.lengths, f"{name}, tokens") for side, name in sides if side is not None]
        parts.append(f'<h2>Tokens</h2><div class="panel">{_table(head, rows)}{_histograms(drawn)}</div>')
    if report.estimate is not None:
        rows = [[name, text] for name, text in words.cost_facts(report.estimate)]
        texts = [words.cost_note(report.estimate), *report.estimate.measured.conditions.notes]
        note = "".join(f'<p class="note">{escaped(text)}</p>' for text in texts)
        parts.append(f'<h2>The run</h2><div class="panel">{_table(["", ""], rows, numbers=False)}{note}</div>')
    if report.world is not None:
        parts.append(_plan(report.world))
    if report.notes:
        parts.append("<h2>Notes</h2>" + "".join(f'<p class="panel">{escaped(note)}</p>' for note in report.notes))
    return "\n".join(parts)


_SIDES = ("source", "target")


def _plan(plan: RunPlan) -> str:
    """The plan for other machines: its figures, and all ways to run."""
    facts = _table(["", ""], plan_words.plan_facts(plan), numbers=False)
    notes = "".join(f'<p class="note">{_coded(note)}</p>' for note in plan_words.plan_notes(plan))
    ways = _table(plan_words.OPTION_HEAD, plan_words.option_rows(plan))
    wide = f'<div class="scroll" tabindex="0" role="region" aria-label="Ways to run">{ways}</div>'
    return f'<h2>On {escaped(str(plan.cluster))}</h2><div class="panel">{facts}{wide}{notes}</div>'


def _finding(finding: Finding) -> str:
    where = "" if finding.split == "train" else f" ({finding.split})"
    count = escaped(words.count_of(finding))
    rows = [row for row in finding.examples if row.place]
    said = "".join(f'<p class="text">{isolated(row.note)}</p>' for row in finding.examples if not row.place)
    return (
        f'<section class="finding {finding.urgency}"><div class="head"><h3>{escaped(finding.kind.title + where)}</h3>'
        f'<span class="count">{count}</span></div><p class="why">{escaped(finding.kind.why)}</p>'
        f"<p>{_coded(finding.remedy)}</p>{said}{_examples(finding, rows) if rows else ''}</section>"
    )


def _coded(text: str) -> str:
    """A sentence in which what stands between backquotes is code."""
    parts = re.split(r"`([^`]*)`", text)
    return "".join(f"<code>{escaped(part)}</code>" if at % 2 else escaped(part) for at, part in enumerate(parts))


def _examples(finding: Finding, rows: Sequence[ExampleRow]) -> str:
    if not any(row.source or row.target for row in rows):
        notes = ((words.without_folders(row.place), words.without_folders(row.note)) for row in rows)
        said = "".join(f'<p><span class="place">{isolated(place)}</span> {isolated(note)}</p>' for place, note in notes)
        return f"<details{_opened(finding)}><summary>{_rows(rows)}</summary>{said}</details>"
    lines = []
    for row in rows:
        cells = [("place", words.without_folders(row.place)), ("text", row.source), ("text", row.target)]
        cells.append(("note", words.without_folders(row.note)))
        lines.append("<tr>" + "".join(f'<td class="{kind}">{isolated(text)}</td>' for kind, text in cells) + "</tr>")
    head = "".join(f'<th scope="col">{name}</th>' for name in ("row", "source", "target", "note"))
    return (
        f"<details{_opened(finding)}><summary>{_rows(rows)}</summary>"
        f'<table class="examples"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></details>'
    )


def _opened(finding: Finding) -> str:
    return " open" if finding.urgency == "first" else ""


def _rows(rows: Sequence[ExampleRow]) -> str:
    return "1 row" if len(rows) == 1 else f"{len(rows)} rows"


def _split(split: SplitReport) -> str:
    files = "".join(f'<p class="place">{isolated(file)}</p>' for file in split.files)
    drawn = [(split.source_lengths, f"source, {split.source_unit}"), (split.target_lengths, "target, characters")]
    return (
        f'<section class="panel"><div class="head"><h3>{split.split}</h3>'
        f'<span class="count">{escaped(words.counts_line(split))}</span></div>{files}{_histograms(drawn)}</section>'
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = True) -> str:
    kind = ' class="number"' if numbers else ""
    lines = (
        f'<tr><th scope="row">{escaped(row[0])}</th>' + "".join(f"<td{kind}>{escaped(cell)}</td>" for cell in row[1:])
        for row in rows
    )
    first, *others = head
    columns = "".join(f'<th scope="col"{kind}>{escaped(name)}</th>' for name in others)
    named = f"<thead><tr><td>{escaped(first)}</td>{columns}</tr></thead>"
    return f"<table>{named if any(head) else ''}<tbody>{''.join(f'{line}</tr>' for line in lines)}</tbody></table>"


def _histograms(drawn: Iterable[tuple[Lengths, str]]) -> str:
    figures = "".join(_histogram(lengths, title) for lengths, title in drawn if lengths.bars)
    return f'<div class="histograms">{figures}</div>' if figures else ""


def _histogram(lengths: Lengths, title: str) -> str:
    """Bars for ranges of lengths; each says its range and count when it is pointed at."""
    most, count = max(number for *_, number in lengths.bars), len(lengths.bars)
    wide, inner = WIDTH / count, HEIGHT - BOTTOM
    bars = []
    for place, (low, high, number) in enumerate(lengths.bars):
        tall = 0 if not number else max(1.0, (inner - 4) * number / most)
        label = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        bars.append(
            f'<rect class="bar" x="{place * wide + 1:.1f}" y="{inner - tall:.1f}" width="{wide - 2:.1f}" '
            f'height="{tall:.1f}"><title>{label}: {number:,}</title></rect>'
        )
    ends = (
        f'<text class="axis" x="1" y="{HEIGHT - 4}">{lengths.bars[0][0]:,}</text>'
        f'<text class="axis" x="{WIDTH - 1}" y="{HEIGHT - 4}" text-anchor="end">{lengths.longest:,}</text>'
    )
    facts = f"median {lengths.median:,}, 99 % {lengths.p99:,}, longest {lengths.longest:,}"
    return (
        f"<figure><figcaption>{escaped(title)}: {facts}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escaped(f"{title}: {facts}")}">{"".join(bars)}'
        f'<line class="base" x1="0" x2="{WIDTH}" y1="{inner}" y2="{inner}"/>{ends}</svg></figure>'
    )
