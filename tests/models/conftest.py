"""Whole model folders, from which the tests make broken and hostile ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from models import hostile
from models.test_hub import parts_of

from antiphon.models.folders.checkpoint import save_model_folder
from antiphon.models.folders.hub import save_pretrained


def whole_folder(kind: str, folder: Path) -> Path:
    """A folder as the hub has it, or one of ours."""
    if kind == "ours":
        return save_model_folder(folder, parts_of("marian"))
    return save_pretrained(folder, parts_of(kind))


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each, which is loaded once, so that what is imported lazily is there before anything is watched."""
    made = {kind: whole_folder(kind, tmp_path_factory.mktemp(kind) / kind) for kind in ("t5", "bart", "ours")}
    for folder in made.values():
        assert hostile.outcome(folder) is None
    return made


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of small folders are written; tests/training/test_power_loss.py sees what reaches the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
