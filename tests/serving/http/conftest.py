"""Servers over the fake service, one for each module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from serving.http.fake import FakeService
from serving.http.live import LiveServer, running


@pytest.fixture(scope="module")
def service() -> FakeService:
    return FakeService()


@pytest.fixture(scope="module")
def server(service: FakeService) -> Iterator[LiveServer]:
    """A server without keys, whose first model translates en to de."""
    with running(service, languages=["en-de"]) as made:
        yield made
