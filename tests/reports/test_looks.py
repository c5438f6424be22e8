"""The page in a browser: without a network, without an error on the console, at three widths, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from serving.page.conftest import browser

from antiphon.reports.run_report import report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["browser"]  # the fixture


@pytest.fixture(scope="module")
def pages(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The report of a whole run, and that of a run that has only its recipe."""
    empty = tmp_path_factory.mktemp("empty")
    (empty / "config.yaml").write_bytes((trained / "config.yaml").read_bytes())
    return [trained / "report.html", report(empty).save(empty / "report.html")]


@pytest.fixture(params=["light", "dark"])
def context(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Any]:
    made = browser.new_context(color_scheme=request.param, offline=True)
    yield made
    made.close()


def test_no_fault_at_any_width(context: Any, pages: list[Path]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    page: Page = context.new_page()
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: faults.append(request.url) if not request.url.startswith("file:") else None)
    for file in pages:
        page.goto(file.resolve().as_uri())
        for width in (360, 768, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{file} is wider than {width}"
        found = axe.Axe().run(page).response["violations"]
        assert [(fault["id"], fault["nodes"][0]["html"]) for fault in found] == []
    assert faults == []
