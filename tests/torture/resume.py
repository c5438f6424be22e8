"""The file by which a `make torture` that was killed or stopped goes on, and the plug-in of pytest that writes it.

A line for each test that began, and one for each that ended: a test without an end is run again. The file's name is a
digest of the code, of the tests with their counts, and of the machine: another commit starts anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from torture.records import ROOT, Outcome, machine

FOLDER = ROOT / ".torture"
CODE = ("src", "tests", "pyproject.toml", "constraints.txt")
VARIABLE = "ANTIPHON_TORTURE_RESUME"  # the file, for the plug-in
HOURS = 6  # for one test; more is a hang


def key() -> str:
    """A digest of what decides the results: code, tests, counts, machine."""
    made = hashlib.sha256(json.dumps(machine(), sort_keys=True).encode())
    for name in CODE:
        for path in sorted((ROOT / name).rglob("*")) if (ROOT / name).is_dir() else [ROOT / name]:
            if path.is_file() and "__pycache__" not in path.parts:
                made.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return made.hexdigest()[:16]


class ResumeFile:
    """What has run so far."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def outcomes(self) -> dict[str, Outcome]:
        """Each test that ended, by name."""
        return {line["test"]: Outcome(**line) for line in self._lines() if "outcome" in line}

    def collected(self) -> dict[str, int]:
        """How many tests each file has, of those files that were begun."""
        return {line["file"]: line["tests"] for line in self._lines() if "file" in line}

    def begun(self) -> str | None:
        """The test that began last and has no end."""
        lines = list(self._lines())
        ended = {line["test"] for line in lines if "outcome" in line}
        names = [line["begun"] for line in lines if "begun" in line and line["begun"] not in ended]
        return names[-1] if names else None

    def write(self, line: dict[str, Any]) -> None:
        """One line, on the disk when this returns."""
        with self.path.open("ab+") as lines:
            if lines.tell() and os.pread(lines.fileno(), 1, lines.tell() - 1) != b"\n":  # a killed run's last line
                lines.write(b"\n")
            lines.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            lines.flush()
            os.fsync(lines.fileno())

    def end(self, outcome: Outcome) -> None:
        self.write(asdict(outcome))

    def _lines(self) -> list[dict[str, Any]]:
        """All whole lines: the last one of a run that was killed may be cut, and its test is run again."""
        found: list[dict[str, Any]] = []
        for line in self.path.read_bytes().split(b"\n") if self.path.exists() else []:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found


class ResumePlugin:
    """Leaves out what has run, and records what runs. Ends with the process that started it."""

    def __init__(self, file: ResumeFile) -> None:
        self._file = file
        self._parent = os.getppid()
        self._reports: dict[str, list[pytest.TestReport]] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        known = self._file.outcomes()
        for name in sorted({item.nodeid.partition("::")[0] for item in items}):
            number = sum(item.nodeid.partition("::")[0] == name for item in items)
            self._file.write({"file": name, "tests": number})
        done = [item for item in items if item.nodeid in known]
        items[:] = [item for item in items if item.nodeid not in known]
        config.hook.pytest_deselected(items=done)
        for item in items:
            item.add_marker(pytest.mark.timeout(HOURS * 3600), append=False)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if os.getppid() != self._parent:
            pytest.exit("the process that started these tests is gone", returncode=3)
        self._file.write({"begun": nodeid})
        self._reports[nodeid] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._reports[report.nodeid].append(report)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        reports = self._reports.pop(nodeid)
        failed = [report for report in reports if report.failed]
        skipped = any(report.skipped for report in reports)
        figures = dict(reports[-1].user_properties).get("figures", {}) if reports else {}
        self._file.end(
            Outcome(
                test=nodeid,
                outcome="failed" if failed else "skipped" if skipped else "passed",
                seconds=round(sum(report.duration for report in reports), 2),
                why=_why(failed[0]) if failed else "",
                figures=figures,  # type: ignore[arg-type]
            )
        )


def _why(report: pytest.TestReport) -> str:
    """The first line of the error."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    return (text.strip().splitlines() or [""])[0][:300]
