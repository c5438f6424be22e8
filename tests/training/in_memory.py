"""Temporary folders in memory: a run waits for the disk at each file of each snapshot, 10 ms and more a file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

MEMORY, LEAST_BYTES = Path("/dev/shm"), 2 * 2**30


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In place of pytest's, for the folders whose conftest.py imports it. On the disk where memory is short."""
    place = MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > LEAST_BYTES else None
    with TemporaryDirectory(prefix="antiphon-", dir=place, ignore_cleanup_errors=True) as folder:
        yield Path(folder)
