"""Findings: what was found in which data set, in the order in which to deal with it, and the filters that remove it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from antiphon.inspection.kinds import KINDS, ORDER, URGENCIES, Kind, Urgency
from antiphon.inspection.lengths import Lengths, from_counts
from antiphon.inspection.scan import ExampleRow, Scan
from antiphon.inspection.tokens import TokenReport

USUAL = 0.3  # share of the pairs from which on a finding is a property of the data, not a fault in it


@dataclass(frozen=True)
class SplitReport:
    """The counts and lengths of a data set: of sources in `source_unit`, of targets in characters."""

    split: str
    files: tuple[str, ...]
    read: int
    kept: int
    empty: int
    unreadable: int
    dropped: dict[str, int]
    source_lengths: Lengths
    target_lengths: Lengths
    source_unit: str = "characters"


@dataclass(frozen=True)
class Finding:
    """A finding: its kind, the data set, how many of how many pairs, and the first rows.

    `usual`: so many pairs are of this kind that it is a property of the data. `about`: `count` is extrapolated from a
    sample. `filter` and `setting` are what would remove it.
    """

    kind: Kind
    split: str
    count: int
    of: int
    examples: list[ExampleRow]
    usual: bool = False
    about: bool = False
    filter: str | Mapping[str, Any] | None = None
    setting: tuple[str, Any] | None = None

    @property
    def urgency(self) -> Urgency:
        """How soon it should be dealt with."""
        if self.usual:
            return "know"
        return "later" if self.doubtful else self.kind.urgency

    @property
    def doubtful(self) -> bool:
        """Whether so few pairs are of this kind that most may be false alarms."""
        return self.share < self.kind.noise

    @property
    def share(self) -> float:
        """The share of the pairs."""
        return self.count / max(1, self.of)

    @property
    def remedy(self) -> str:
        """What to do, in one line."""
        if self.usual:
            return "Most likely how this data is; nothing has to be removed."
        where = "" if self.split == "train" else "Filters act on training pairs alone; correct the file. "
        entry = "" if self.filter is None or where else f"Filter `{flow(self.filter)}`. "
        entry += "" if self.setting is None or where else f"Set `{self.setting[0]}: {flow(self.setting[1])}`. "
        doubt = "So few may be false alarms: look at the rows first. " if self.doubtful else ""
        return f"{doubt}{where}{entry}{self.kind.advice}".strip()


def split_report(scan: Scan) -> SplitReport:
    """The counts of a scan."""
    report = scan.report
    lengths = [from_counts(counts, longest) for counts, longest in zip(scan.lengths, scan.longest, strict=True)]
    return SplitReport(
        scan.split,
        scan.titles,
        report.read,
        scan.checked,
        report.empty,
        report.bad,
        dict(report.dropped),
        lengths[0],
        lengths[1],
        scan.unit,
    )


def findings_of(
    scan: Scan, *, filters: Mapping[str, str | Mapping[str, Any]] | None = None, usual: Mapping[str, bool] | None = None
) -> list[Finding]:
    """The findings of a scan. `filters` replace those of the kinds; `usual` says what is a property of the data where
    the share of pairs does not."""
    made = []
    for name in ORDER:
        found, kind = scan.found[name], KINDS[name]
        if not found.count:
            continue
        of = scan.report.read if name in ("unreadable", "empty") else scan.checked
        common = (usual or {}).get(name, found.count > USUAL * of)
        plain = name in ("unreadable", "overlap_exact", "overlap_near", "duplicates", "conflicts", "empty", "lost")
        made.append(
            Finding(
                kind,
                scan.split,
                found.count,
                of,
                found.examples,
                usual=common and not plain and of >= 10,
                filter=(filters or {}).get(name, kind.filter),
                setting=kind.setting,
            )
        )
    return made


def token_findings(tokens: TokenReport, checked: int, *, overflow: str) -> list[Finding]:
    """The findings of the tokenizers, extrapolated from the sample to `checked` pairs."""
    made, scale = [], checked / max(1, tokens.pairs)
    for name, found in tokens.found.items():
        if not found.count:
            continue
        kind = KINDS[name]
        setting = kind.setting if overflow == "error" else None
        count = round(found.count * scale)
        made.append(Finding(kind, "train", count, checked, found.examples, about=scale > 1, setting=setting))
    return made


def refusal(message: str) -> Finding:
    """The finding that training refuses the recipe, with its message."""
    return Finding(KINDS["refused"], "train", 1, 1, [ExampleRow("", "", "", message)])


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """The findings in the order in which to deal with them."""
    urgencies, splits = list(URGENCIES), ("train", "valid", "test")
    return sorted(
        findings,
        key=lambda one: (urgencies.index(one.urgency), ORDER.index(one.kind.name), splits.index(one.split)),
    )


def snippet_of(findings: Sequence[Finding], existing: Sequence[object]) -> str:
    """YAML of the section `data` with the filters of the recipe (`existing`) and those that remove the findings."""
    acting = [one for one in findings if one.split == "train" and not one.usual]
    filters = list(existing)
    for one in acting:
        if one.filter is not None and one.filter not in filters:
            filters.append(one.filter)
    # What drops by the pair alone comes before what compares pairs.
    settings = {one.setting[0].removeprefix("data."): one.setting[1] for one in acting if one.setting is not None}
    lines = [f"  {name}: {flow(value)}" for name, value in settings.items()]
    if len(filters) > len(existing):
        lines += ["  filters:", *(f"    - {flow(entry)}" for entry in filters)]
    return "\n".join(["data:", *lines]) + "\n" if lines else ""


def flow(value: object) -> str:
    """A value as YAML in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str) and not value.replace("_", "").replace(".", "").replace(":", "").isalnum():
        return json.dumps(value, ensure_ascii=False)
    return f"{value:g}" if isinstance(value, float) else str(value)
