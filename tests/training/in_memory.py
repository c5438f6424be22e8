"""Temporary folders in memory: a run waits for the disk at each file of each snapshot, 10 ms and more a file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

MEMORY, LEAST_BYTES = Path("/dev/shm"), 2 * 2**30


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A folder for the tests of a module; on the disk where memory is short."""
    place = MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > LEAST_BYTES else None
    with TemporaryDirectory(prefix="antiphon-", dir=place, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In place of pytest's, for the folders whose conftest.py imports it."""
    with folder_in_memory() as folder:
        yield folder
