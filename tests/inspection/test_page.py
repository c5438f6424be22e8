"""The page of an inspection in Chromium: widths, colours, axe-core, and texts that try to be HTML."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon.config.training import TrainingConfig
from antiphon.config.whole import DataConfig, TrainConfig
from antiphon.workflows.inspect import inspect

HOSTILE = "<img src=x onerror=alert(1)> \u202e & \"' </title><script>alert(2)</script>"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of data with hostile texts in every place that a text can come to."""
    pairs = [(f"{HOSTILE} {number}", f"{HOSTILE} {number} " + "w" * 300) for number in range(30)]
    pairs += [("\u200b", "x"), ("see www.a.org", "x"), ("a \ufffd b", "c"), *[("cafe\u0301 au lait", "y")] * 2]
    config = TrainConfig(DataConfig(train=pairs, valid=pairs[:1]), training=TrainingConfig(max_steps=1))
    report = inspect(config, data_only=True, title=HOSTILE)
    assert len(report.findings) >= 6
    return report.to_html(tmp_path_factory.mktemp("page") / "x.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("needs a browser on the PATH (apt-get install chromium)")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_at_three_widths(browser, page_file: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    faults: list[str] = []
    for width in (360, 768, 1440):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("console", lambda message: faults.append(message.text))
        page.on("request", lambda request: faults.append(request.url) if "x.html" not in request.url else None)
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        page.goto(page_file.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        if width != 768:
            found = axe.Axe().run(page)
            assert not found.violations_count, found.generate_report()
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(246, 245, 241)", "dark": "rgb(20, 22, 26)"}[scheme]
        page.close()
    assert not faults, faults


def test_the_page_runs_nothing_and_asks_for_nothing(page_file: Path) -> None:
    html = page_file.read_text(encoding="utf-8")
    assert "default-src 'none'; style-src 'sha256-" in html
    assert "<img" not in html and "<script" not in html and "&lt;img src=x" in html
    assert "http" not in html.replace("Content-Security-Policy", "").replace("http-equiv", "")
