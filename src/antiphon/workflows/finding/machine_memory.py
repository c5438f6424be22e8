"""The memory that a process may still use on this machine, or in this container."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUPS = (  # limit and usage of a container: version 2, version 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
_MEMINFO = "/proc/meminfo"


def available_memory() -> int:
    """The bytes that are free or can be freed: the system's, or what is left of a container's limit if that is less.

    The physical memory where the system does not say what is free (macOS).
    """
    found = [free for free in (_of_system(), *(_of_cgroup(*files) for files in _CGROUPS)) if free is not None]
    return min(found) if found else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _of_system() -> int | None:
    """MemAvailable of /proc/meminfo (Linux)."""
    try:
        lines = Path(_MEMINFO).read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(found[0][1]) * 1024 if found else None


def _of_cgroup(limit: str, usage: str) -> int | None:
    """What is left of a container's limit; None without one. Its usage counts file caches, which can be freed."""
    try:
        bound, used = (Path(file).read_text(encoding="ascii").strip() for file in (limit, usage))
        cached = [
            int(line.split()[1])
            for line in Path(limit).with_name("memory.stat").read_text(encoding="ascii").splitlines()
            if line.startswith(("inactive_file ", "total_inactive_file "))
        ]
    except (OSError, ValueError, IndexError):
        return None
    if not bound.isdecimal() or int(bound) >= 2**60:
        return None
    return max(0, int(bound) - int(used) + max(cached, default=0))
