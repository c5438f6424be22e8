"""The record of a `make torture`: a line of JSON for each run, behind those that are there.

{"date": …, "commit": …, "arguments": […], "whole": true, "exit_status": 0, "passed": 812, …, "counts": {…}}

run.py sets ANTIPHON_OUTCOMES to docs/torture.jsonl; docs/reliability.md shows the lines.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import counts

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")
ALL = (["-n", "2"], [])  # arguments that leave no test out
MOST_FAILURES = 100


def record(stats: dict[str, list[Any]], *, arguments: Sequence[str], exit_status: int, began: float) -> dict[str, Any]:
    """What a run of the tests gave, on which machine and with which counts.

    `stats` are those of pytest's reporter, `began` is a time of time.monotonic().
    """
    failures = [report.nodeid for kind in ("failed", "error") for report in stats.get(kind, [])]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "arguments": [*arguments],
        "whole": [*arguments] in ALL,
        "exit_status": int(exit_status),  # 0: all passed, 1: some failed, 2: interrupted
        **{kind: len(stats.get(kind, [])) for kind in KINDS},
        "failures": failures[:MOST_FAILURES],
        "seconds": round(time.monotonic() - began),
        "machine": machine(),
        "counts": {name: counts.count(name) for name in counts.names()},
    }


def machine() -> dict[str, Any]:
    """Processor, instruction set that PyTorch uses, cores that this process may use, versions."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": cores,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def append(file: Path, line: dict[str, Any]) -> None:
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line, ensure_ascii=False) + "\n")


def read(file: Path) -> list[dict[str, Any]]:
    """The records of a file, oldest first; none where it is not there."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def _processor() -> str:
    """Its name: platform.processor() has none on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    """The commit that was tested, with `+` where files differ from it; "" outside of a git checkout."""
    try:
        asked = [
            subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
            for words in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "src", "tests"])
        ]
    except (OSError, subprocess.CalledProcessError):
        return ""
    return asked[0] + ("+" if asked[1] else "")
