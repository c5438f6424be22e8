"""A folder with a random model, and one process that serves it, for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from serving.process.tools import DTYPE, Served, save_model

import antiphon
from antiphon.generation.model import Model
from antiphon.serving.process.settings import ModelEntry


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("served") / "model")


@pytest.fixture(scope="session")
def offline(folder: Path) -> Model:
    """The model that is served, in this process."""
    return antiphon.load(folder, dtype=DTYPE)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    entry = ModelEntry(name="tiny", path=str(folder), dtype=DTYPE)
    running = Served(entry, max_running=64, max_wait_seconds=10_000).ready()
    yield running
    running.close()
