"""The sentences that terminal and page share: counts, figures and what they mean."""

from __future__ import annotations

import re
from collections.abc import Callable

from antiphon.display import clock
from antiphon.inspection.estimate import Estimate
from antiphon.inspection.findings import Finding, SplitReport
from antiphon.inspection.tokens import SideTokens, TokenReport

BARS = " ▁▂▃▄▅▆▇█"


def count_of(finding: Finding) -> str:
    """How often a finding occurs: "about 12 of 1,000 pairs (1.2 %)"."""
    if finding.kind.name == "refused":
        return ""
    share = 100 * finding.share
    percent = "under 0.01" if 0 < share < 0.005 else f"{share:.2f}" if share < 1 else f"{share:.1f}"
    return f"{'about ' if finding.about else ''}{finding.count:,} of {finding.of:,} pairs ({percent} %)"


def counts_line(split: SplitReport) -> str:
    """What was read of a data set."""
    parts = [f"{split.read:,} pairs", f"{split.kept:,} kept"]
    parts += [f"{split.unreadable:,} unreadable"] * (split.unreadable > 0)
    parts += [f"{split.empty:,} with an empty side"] * (split.empty > 0)
    parts += [f"{count:,} dropped by {name}" for name, count in split.dropped.items()]
    return ", ".join(parts)


def spark(bars: list[tuple[int, int, int]]) -> str:
    """A histogram as one line of block characters."""
    most = max((count for *_, count in bars), default=0)
    return "".join(BARS[-(-count * (len(BARS) - 1) // most)] if most else " " for *_, count in bars)


def token_facts(tokens: TokenReport) -> list[tuple[str, str, str]]:
    """Rows of figures: what, of the source ("" for images and sound), of the target."""
    figures: list[tuple[str, Callable[[SideTokens], str]]] = [
        ("vocabulary", lambda side: f"{side.vocabulary:,}"),
        ("tokens a word", lambda side: f"{side.fertility:.2f}"),
        ("characters a token", lambda side: f"{side.characters_per_token:.2f}"),
        ("unknown tokens", lambda side: _percent(side.unknown / max(1, side.tokens))),
        ("tokens: median", lambda side: f"{side.lengths.median:,}"),
        ("tokens: 99 %", lambda side: f"{side.lengths.p99:,}"),
        ("tokens: longest", lambda side: f"{side.lengths.longest:,}"),
    ]
    source, target = ([("" if side is None else text(side)) for _, text in figures] for side in tokens.sides)
    return [(name, one, two) for (name, _), one, two in zip(figures, source, target, strict=True)]


def cost_facts(costs: Estimate) -> list[tuple[str, str]]:
    """Rows of figures about time and memory."""
    run = costs.measured
    epochs = f"{costs.epochs:.1f} epochs of {costs.steps_per_epoch:,.0f} steps"
    steps = f"{costs.steps:,} steps, {epochs}" if costs.steps is not None else f"an epoch of {costs.epochs:,.0f} steps"
    most = "at most " if costs.at_most else ""
    rows = [
        ("time", f"{most}{duration(costs.seconds)} on this machine ({run.device})"),
        ("training", f"{duration(costs.training_seconds)}: {steps}, {run.step_seconds:.3g} s each"),
        (
            "validation",
            f"{duration(costs.validation_seconds)}: {costs.validations} times {run.validation_seconds:.3g} s",
        ),
        ("start, snapshots", f"{duration(costs.start_seconds)}, {duration(costs.save_seconds)}"),
        ("memory", f"{run.peak_bytes / 2**20:,.0f} MiB at the peak"),
        ("parameters", f"{run.parameters:,}" + (f", {run.trainable:,} trained" * (run.trainable < run.parameters))),
        ("speed", f"{costs.tokens_per_second:,.0f} {run.conditions.unit}/s"),
        ("padding", f"{100 * run.padding_waste:.1f} % of the positions of a batch"),
    ]
    return rows if costs.validations else [row for row in rows if row[0] != "validation"]


def cost_note(costs: Estimate) -> str:
    """How the estimate was made."""
    share = costs.measured.conditions.waited_share
    busy = "Other programs on this machine make it slower."
    if share > 0.05:
        busy = f"Other programs had the processors for {100 * share:.0f} % of that time, which is left out here."
    return (
        f"Measured on {costs.measured.timed_steps} real steps of the run, on batches from small to large, one "
        f"validation and one snapshot. {busy}"
    )


def duration(seconds: float) -> str:
    """Seconds in words: "42 s", "3:05 minutes", "2:10 hours", "12.3 days"."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{clock(seconds)} minutes"
    if seconds < 48 * 3600:
        return f"{clock(seconds).rpartition(':')[0]} hours"
    return f"{seconds / 86400:,.1f} days"


def without_folders(text: str) -> str:
    """A text with locations of rows, in which files have no folder: a report names them in full once."""
    return re.sub(r"(?:/[^\s/]+)+/([^\s/]+:\d)", r"\1", text)


def _percent(share: float) -> str:
    return "0" if share == 0 else f"{100 * share:.3f} %"
