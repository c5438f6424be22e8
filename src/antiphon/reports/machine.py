"""Where and with what a run was computed: versions, the commit of the package, processor, threads, device."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from antiphon.devices import processor_name
from antiphon.urls import hide

_PACKAGE = Path(__file__).resolve().parents[1]


def machine_facts(device: torch.device) -> dict[str, Any]:
    """The facts on which the numbers of a run depend, as JSON values."""
    facts: dict[str, Any] = {
        "versions": versions(),
        "commit": commit(),
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        "device": str(device),
    }
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def versions() -> dict[str, str]:
    """The versions of the programs whose arithmetic a run uses."""
    try:
        own = metadata.version("antiphon")
    except metadata.PackageNotFoundError:
        own = "from its source, not installed"
    system = f"{platform.system()} {platform.machine()}"
    return {"antiphon": own, "torch": torch.__version__, "python": platform.python_version(), "system": system}


@cache
def commit() -> str | None:
    """The commit of the package: of its git checkout, with "-dirty" after changes, or the one that pip installed.

    None for a release, which has a version alone.
    """
    root = _PACKAGE.parents[1]
    if (root / ".git").exists() and (root / "pyproject.toml").exists():
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        try:
            found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
        except (OSError, subprocess.SubprocessError):
            return None
        return found.stdout.strip() or None
    try:
        text = metadata.distribution("antiphon").read_text("direct_url.json")
        return None if text is None else json.loads(text).get("vcs_info", {}).get("commit_id")
    except (metadata.PackageNotFoundError, ValueError, AttributeError):
        return None


def command_line() -> list[str]:
    """The command that is running, as it was typed, without the credentials of URLs."""
    return ["antiphon", *map(hide, sys.argv[1:])]
