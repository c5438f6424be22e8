"""Small checkpoints are written without waiting for the disk."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of small folders are written; tests/training/test_power_loss.py sees what reaches the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
