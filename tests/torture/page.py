"""The tables of docs/reliability.md, from rows.toml, counts.toml and the records of `make torture`.

    python tests/torture/page.py    # writes them; `make torture` does it after each file

Each stands behind a mark `<!-- table: NAME -->` and is written anew as a whole.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torture import plan
from torture.figures import as_text, together
from torture.records import ROOT, Record, newest, read

PAGE = ROOT / "docs" / "reliability.md"


def write() -> None:
    """The page with today's tables."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), read()), encoding="utf-8")


def filled(text: str, records: Sequence[Record]) -> str:
    """`text`, a page, with the tables of `records`."""
    last = newest(records)
    for name, lines in (("counts", counts_table()), ("rows", rows_table(last)), ("files", files_table(last))):
        mark = f"<!-- table: {name} -->\n"
        before, found, behind = text.partition(mark)
        if not found:
            raise ValueError(f"{PAGE} must have the line {mark.strip()}, but has none")
        rest = re.sub(r"^\n*(?:(?:\||<!-- needs).*\n)*\n*", "", behind)
        text = before + mark + "\n" + "\n".join(lines) + "\n\n" + rest
    return text


def counts_table() -> list[str]:
    """Each count with its comment, and the files that use it."""
    text = plan.COUNTS.read_text(encoding="utf-8")
    used: dict[str, list[str]] = {}
    numbers: dict[str, dict[str, int]] = {}
    for file in plan.files():
        for name, row in plan.counts_of(file).items():
            used.setdefault(name, []).append(f"`{file}`")
            numbers[name] = row
    lines = ["| property | `make test` | `make torture` | tests |", "|---|---:|---:|---|"]
    for name, said in re.findall(r"^\[(\w+)\]\s*# (.*)$", text, re.MULTILINE):
        row = numbers[name]  # KeyError: no test uses this count
        lines.append(f"| `{name}`: {said} | {row['test']:,} | {row['torture']:,} | {', '.join(used[name])} |")
    return lines


def rows_table(last: Mapping[str, Record]) -> list[str]:
    """Each row of rows.toml with what was reached, when and where."""
    needs = "<!-- needs: network, some hours -->"
    lines = [
        needs,
        "| # | promise | asked | reached | date, commit | machine | command |",
        "|---:|---|---|---|---|---|---|",
    ]
    for row in plan.rows():
        figure, date, machine = reached(row, last)
        command = f'`make torture ARGS="--rows {row.number}"`' if row.tests else ""
        cells = [str(row.number), row.promise, row.asked, figure, date, machine, command]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def files_table(last: Mapping[str, Record]) -> list[str]:
    """Each file that was run: what passed, and what failed."""
    lines = [
        "| tests | passed | failed | skipped | not run | seconds | date, commit |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for file, each in sorted(last.items()):
        numbers = [sum(test[kind] for test in each.tests.values()) for kind in ("passed", "failed", "skipped")]
        cells = [f"`{file}`", *(f"{n:,}" for n in (*numbers, each.left, each.seconds)), _when([each])]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def reached(row: plan.Row, last: Mapping[str, Record]) -> tuple[str, str, str]:
    """The figure, the date with the commit, and the machine."""
    if not row.tests:
        return "no test yet", "", ""
    used = [last[file] for file in row.files if file in last]
    if not used:
        return "not run yet", "", ""
    tests: list[dict[str, Any]] = []
    missing = [file for file in row.files if file not in last]
    for name in row.tests:
        file, _, function = name.partition("::")
        found = last[file].of(function) if file in last else {}
        tests += found.values()
        missing += [name] if file in last and not found else []
    said = [as_text(together(test["figures"] for test in tests))]
    passed, failed, skipped = (sum(test[kind] for test in tests) for kind in ("passed", "failed", "skipped"))
    said.append(f"{passed:,} test{'' if passed == 1 else 's'} passed")
    said += [f"**{failed:,} failed**"] if failed else []
    said += [f"{skipped:,} skipped"] if skipped else []
    left = sum(each.left for each in used)
    said += [f"{left:,} tests of the same files not run yet"] if left else []
    said += [f"not run yet: {', '.join(f'`{name}`' for name in missing)}"] if missing else []
    return "; ".join(filter(None, said)), _when(used), "; ".join(dict.fromkeys(_machine(each) for each in used))


def _when(records: Sequence[Record]) -> str:
    """2026-11-29 c4646e0, with `+` where files differed; the first and the last where there are several."""
    found = sorted(
        {f"{each.date[:10]} {each.commit[:7]}{'+' if each.commit.endswith('+') else ''}" for each in records}
    )
    return " to ".join(dict.fromkeys((found[0], found[-1])))


def _machine(record: Record) -> str:
    m = record.machine
    return f"{m['processor']}, {m['instructions']}, {m['cores']} cores; Python {m['python']}, PyTorch {m['torch']}"


if __name__ == "__main__":
    write()
