"""docs/torture.jsonl: a line for each test file that `make torture` has run, behind those that are there.

{"file": "tests/search/test_oracle.py", "date": …, "commit": …, "machine": {…}, "counts": {"beam_oracle": 2000},
 "seconds": 812, "left": 0, "tests": {"test_x": {"passed": 1, "failed": 0, "skipped": 0, "figures": {…}}},
 "failures": {"test_y[3]": "AssertionError: …"}}

`left` is how many tests had not run when the run was stopped.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from torture.figures import Figures, together

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs" / "torture.jsonl"
MOST_FAILURES = 20


@dataclass(frozen=True)
class Outcome:
    """One test: `passed`, `failed` or `skipped`, the first line of why it failed, and its figures."""

    test: str  # as pytest names it: FILE::FUNCTION[PARAMETERS]
    outcome: str
    seconds: float
    why: str
    figures: Figures


@dataclass(frozen=True)
class Record:
    """The outcome of a test file at full counts."""

    file: str
    date: str
    commit: str
    machine: dict[str, Any]
    counts: dict[str, int]
    seconds: int
    left: int
    tests: dict[str, dict[str, Any]]
    failures: dict[str, str]

    def of(self, function: str) -> dict[str, dict[str, Any]]:
        """The tests of one function, or all of the file."""
        return {name: test for name, test in self.tests.items() if function in ("", name)}


def record(file: str, outcomes: Iterable[Outcome], *, left: int, counts: dict[str, int]) -> Record:
    """What is recorded of `file` now, on this machine."""
    outcomes = list(outcomes)
    tests: dict[str, dict[str, Any]] = {}
    for each in outcomes:
        name = each.test.partition("::")[2].partition("[")[0]
        test = tests.setdefault(name, {"passed": 0, "failed": 0, "skipped": 0, "figures": {}})
        test[each.outcome] += 1
        test["figures"] = together([test["figures"], each.figures])
    failed = {each.test.partition("::")[2]: each.why for each in outcomes if each.outcome == "failed"}
    return Record(
        file=file,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
        machine=machine(),
        counts=counts,
        seconds=round(sum(each.seconds for each in outcomes)),
        left=left,
        tests=tests,
        failures=dict(list(failed.items())[:MOST_FAILURES]),
    )


def append(line: Record, file: Path = FILE) -> None:
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(line), ensure_ascii=False) + "\n")


def read(file: Path = FILE) -> list[Record]:
    """The records of a file, oldest first; none where it is not there."""
    if not file.exists():
        return []
    return [Record(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def newest(records: Iterable[Record]) -> dict[str, Record]:
    """The last record of each test file; one that is whole is not replaced by one that was stopped."""
    found: dict[str, Record] = {}
    for each in records:
        if not (each.left and each.file in found and not found[each.file].left):
            found[each.file] = each
    return found


def machine() -> dict[str, Any]:
    """Processor, its vector instructions, cores that this process may use, versions. Does not import PyTorch."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "instructions": _instructions(),
        "cores": cores,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
    }


def _instructions() -> str:
    """The widest of the sets that PyTorch has kernels for, as it names them."""
    flags = _cpu_info("flags").split()
    return "AVX512" if "avx512bw" in flags else "AVX2" if "avx2" in flags else platform.machine()


def _processor() -> str:
    """Its name: platform.processor() has none on Linux."""
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _cpu_info(key: str) -> str:
    """What Linux says of the first processor; "" where there is no /proc/cpuinfo."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def commit() -> str:
    """The commit that was tested, with `+` where files differ from it; "" outside of a git checkout."""
    try:
        asked = [
            subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
            for words in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "src", "tests"])
        ]
    except (OSError, subprocess.CalledProcessError):
        return ""
    return asked[0] + ("+" if asked[1] else "")
