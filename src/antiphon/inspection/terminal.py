"""An inspection as text for a terminal: what to do first, then the figures, in the columns that there are."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from antiphon.display import clock
from antiphon.inspection import plan_words, words
from antiphon.inspection.contents import InspectionContents
from antiphon.inspection.findings import Finding, SplitReport
from antiphon.inspection.kinds import URGENCIES
from antiphon.inspection.lengths import Lengths
from antiphon.inspection.scaling.plan import RunPlan
from antiphon.inspection.scan import ExampleRow
from antiphon.training.reporting.formats import fit

SHOWN = 3  # examples of a finding


def as_text(report: InspectionContents, *, width: int) -> str:
    """The whole report; no line has more than `width` columns, except those of the snippet."""
    width = max(40, width)
    lines = [fit(f"{report.recipe}: {report.task}, looked at in {clock(report.seconds)}", width)]
    for split in report.splits:
        lines += ["", *_split(split, width)]
    lines += _findings(report, width)
    if report.snippet:
        lines += ["", "Into the recipe, to remove what settings can remove:", "", *_indented(report.snippet)]
    if report.tokens is not None:
        sampled = report.tokens.pairs
        lines += ["", f"Tokens (in {sampled:,} pairs)".ljust(28) + "source".rjust(12) + "target".rjust(12)]
        lines += [f"  {what:<26}{one:>12}{two:>12}" for what, one, two in words.token_facts(report.tokens)]
    if report.estimate is not None:
        lines += ["", "The run"]
        for name, text in words.cost_facts(report.estimate):
            lines += _wrapped(text, width, f"  {name:<18}", " " * 20)
        lines += _wrapped(words.cost_note(report.estimate), width, "  ", "  ")
        for note in report.estimate.measured.conditions.notes:
            lines += _wrapped(note, width, "  ", "  ")
    if report.world is not None:
        lines += _plan(report.world, width)
    for text in report.notes:
        lines += ["", *_wrapped(text, width)]
    return "\n".join(lines) + "\n"


def _plan(plan: RunPlan, width: int) -> Iterator[str]:
    yield from ("", f"On {plan.cluster}")
    for name, text in plan_words.plan_facts(plan):
        yield from _wrapped(text, width, f"  {name:<18}", " " * 20)
    first = max(8, min(46, width - 42))
    for name, *cells in (plan_words.OPTION_HEAD, *plan_words.option_rows(plan)):
        sizes = zip(cells, (18, 10, 10), strict=True)
        yield f"  {fit(name, first):<{first}}{''.join(f'{cell:>{size}}' for cell, size in sizes)}"
    for note in plan_words.plan_notes(plan):
        yield from _wrapped(note, width, "  ", "  ")


def _split(split: SplitReport, width: int) -> Iterator[str]:
    yield from _wrapped(f"{split.split}: {words.counts_line(split)}", width, "", "  ")
    for file in split.files:
        yield _line("  ", file, width)
    sides = (("source", split.source_lengths, split.source_unit), ("target", split.target_lengths, "characters"))
    for name, lengths, unit in sides:
        yield _line(f"  {name}  ", _lengths(lengths, unit), width)


def _lengths(lengths: Lengths, unit: str) -> str:
    figures = f"median {lengths.median:,}, 99 % {lengths.p99:,}, longest {lengths.longest:,} {unit}"
    return f"{figures}  {words.spark(lengths.bars)}"


def _findings(report: InspectionContents, width: int) -> Iterator[str]:
    if not report.findings:
        yield from ("", "Nothing was found that should be changed.")
        return
    number = 0
    for urgency, title in URGENCIES.items():
        here = [finding for finding in report.findings if finding.urgency == urgency]
        if here:
            yield from ("", title.upper())
        for finding in here:
            number += 1
            yield from _finding(finding, number, width)


def _finding(finding: Finding, number: int, width: int) -> Iterator[str]:
    head = f"{finding.kind.title}" + ("" if finding.split == "train" else f" ({finding.split})")
    count = words.count_of(finding)
    yield from _wrapped(f"{head}: {count}" if count else head, width, f"{number:>2}. ", "    ")
    yield from _wrapped(f"{finding.kind.why} {finding.remedy}".strip(), width, "    ", "    ")
    for row in finding.examples[:SHOWN]:
        yield from _example(row, width)


def _example(row: ExampleRow, width: int) -> Iterator[str]:
    if not row.place:
        yield from _wrapped(row.note, width, "    > ", "      ")
        return
    yield _line("    > ", words.without_folders(f"{row.place}: {row.note}" if row.note else row.place), width)
    if row.source or row.target:
        half = (width - 11) // 2
        both = f"{fit(row.source, half)}  |  {fit(row.target, half)}"
        yield _line("      ", row.source, width) if row.target == row.source else f"      {both}"


def _line(indent: str, text: str, width: int) -> str:
    """`text` in one line behind an indent."""
    return indent + fit(text, width - len(indent))


def _wrapped(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False, break_long_words=True
    )


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.splitlines()]
