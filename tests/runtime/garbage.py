"""Quick garbage collections, for tests of what is done when memory runs out."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture
def quick_collections() -> Iterator[None]:
    """What modules and earlier tests hold is passed over: each collection would look at it for a second or two."""
    gc.freeze()
    yield
    gc.unfreeze()
