"""Estimates the memory that an encoder needs for one long row, before it is allocated.

    check_fits(network.encoder, length=16384, device=device)      # DataError if it does not fit

Dense attention stores numbers for each pair of tokens; blocks, fused attention without a rule's logits, and recurrences
do not. The estimate is a lower bound, so only sources that cannot run are refused.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from antiphon.errors import DataError
from antiphon.nn.attention import Attention

MIN_CHECKED_LENGTH = 2048  # tokens; shorter rows are not checked
# Float32 tables of all heads that exist at the same time. A T5 encoder on a CPU (4 heads, 2 layers) takes 33 bytes for
# each pair of tokens of a row of 3,000, of which these tables are 32. The estimate is less than the peak.
TABLES = 2
GB = 1e9


def check_fits(encoder: nn.Module, *, length: int, device: torch.device) -> None:
    """DataError if a row of `length` tokens needs more memory than is available on `device`."""
    if length < MIN_CHECKED_LENGTH:
        return
    needed, there = needed_bytes(encoder, length=length), available_bytes(device)
    if there is not None and needed > there:
        raise DataError(
            f"a source of {length:,} tokens must fit memory, but its attention needs {needed / GB:.1f} GB at least, "
            f"and {there / GB:.1f} GB are available. Lower `max_source_tokens` and set `overflow` to window, truncate "
            "or split, or shorten it."
        )


def needed_bytes(encoder: nn.Module, *, length: int) -> int:
    """A lower bound of the bytes that a layer of `encoder` needs for the pairs of one row of `length` tokens."""
    return max(
        (_pair_bytes(part, length) * length**2 for part in encoder.modules() if isinstance(part, Attention)), default=0
    )


def _pair_bytes(attention: Attention, length: int) -> int:
    """Bytes for each pair of a query and a key."""
    backend = attention.backend_for(length, learns=False)
    dense = backend == "eager" or (backend == "sdpa" and attention.rule.scores)
    return 4 * attention.num_heads * TABLES if dense else 0


def available_bytes(device: torch.device) -> int | None:
    """The bytes available on `device`; None if unknown."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    if device.type != "cpu":
        return None
    found = [amount for amount in (_of_system(), _of_group()) if amount is not None]
    return min(found, default=None)


def _of_system() -> int | None:
    """The available bytes by the operating system: free memory and reclaimable caches."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _of_group(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The bytes left under the limit of a container (cgroups version 2 or 1); None without a limit."""
    for most, used, stat, cache in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ):
        try:
            limit = (root / most).read_text().strip()
            if limit == "max" or int(limit) >= 2**60:
                continue
            rows = (line.split() for line in (root / stat).read_text().splitlines())
            freed = next((int(row[1]) for row in rows if row[0] == cache), 0)
            return max(0, int(limit) - int((root / used).read_text()) + freed)
        except (OSError, ValueError, IndexError):
            continue
    return None
