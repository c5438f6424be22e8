"""An inspection for a notebook, which shows HTML without a style sheet."""

from __future__ import annotations

from collections.abc import Iterator

from antiphon.display import Markup, badge, details, note, panel, preformatted, table
from antiphon.display.colours import BAD, CURVES, NEUTRAL
from antiphon.inspection import plan_words, words
from antiphon.inspection.contents import InspectionContents

COLOURS = {"first": BAD, "next": CURVES[1], "later": CURVES[0], "know": NEUTRAL}


def notebook_panel(report: InspectionContents) -> str:
    """The findings with their rows, the filters, and the figures."""
    return panel(f"Inspection of {report.recipe}", *_parts(report))


def _parts(report: InspectionContents) -> Iterator[Markup]:
    for split in report.splits:
        yield note(f"{split.split}: {words.counts_line(split)}")
    for finding in report.findings:
        where = "" if finding.split == "train" else f" ({finding.split})"
        yield badge(f"{finding.kind.title}{where}", COLOURS[finding.urgency])
        yield note(f"{words.count_of(finding)} {finding.remedy}".strip())
        rows = [[row.place, row.source, row.target, row.note] for row in finding.examples]
        yield details("rows", table(["row", "source", "target", "note"], rows))
    if not report.findings:
        yield note("Nothing was found that should be changed.")
    if report.snippet:
        yield preformatted(report.snippet)
    if report.tokens is not None:
        yield table(["tokens", "source", "target"], words.token_facts(report.tokens), right={1, 2})
    if report.estimate is not None:
        yield table([], [[name, text] for name, text in words.cost_facts(report.estimate)])
    if report.world is not None:
        yield note(plan_words.plan_sentence(report.world))
