"""The page of a comparison: safe, whole, and readable in Chromium without a network."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.display import IntervalRow, interval_chart
from antiphon.evaluation.comparing import Comparison, compare

HOSTILE = "<script>alert(1)</script> & </mark>\x1b[31m"


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    words = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "and", "goes", "home"]
    rare = [[f"item{n}"] if n % 3 == 0 else [] for n in range(40)]
    references = [" ".join([*words[n % 5 : n % 5 + 4 + n % 6], *rare[n]]) for n in range(40)]
    systems = [
        [text if n % 3 else f"{text} {HOSTILE}" for n, text in enumerate(references)],
        [text.replace("fox", "wolf") for text in references],
        [text.replace("dog", "Hund") if n % 4 else "" for n, text in enumerate(references)],
    ]
    sources = [f"<{'fre' if n % 2 else 'dut'}> {HOSTILE} {'a' * 90}" for n in range(40)]
    return compare(
        dict(zip([f"<b>{HOSTILE}", "second", "third"], systems, strict=True)),
        references,
        sources,
        ["chrf", "ter"],
        samples=100,
        trials=100,
    )


def test_texts_of_users_are_escaped_and_nothing_is_requested(comparison: Comparison) -> None:
    page = comparison.to_html()
    assert "<script" not in page and "\x1b" not in page and "</mark>\\x1b" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!#)[^#\"' >]+", page) == []
    assert "default-src 'none'" in page
    assert "<script" not in comparison._repr_html_()


def test_everything_is_on_the_page(comparison: Comparison) -> None:
    page = comparison.to_html()
    assert page.count('<p class="verdict">') == 6 and "after Holm" in page
    for heading in ("By the length of the reference", "By rare words of the reference", "By tag"):
        assert heading in page
    assert page.count("<svg") == 4 and '<mark class="side-0">' in page and '<mark class="side-1">' in page
    assert "(empty)" in page


def test_the_chart_of_intervals_has_its_figures_in_words() -> None:
    rows = [IntervalRow("a", 1.5, (1.0, 2.0), "#123456"), IntervalRow("b", -0.5, None, "#123456")]
    drawn = interval_chart(rows, title="difference", zero=True).html
    assert 'aria-label="difference: a 1.50 (1.00 to 2.00); b -0.50"' in drawn
    assert drawn.count("<circle") == 2 and drawn.count('stroke-linecap="round"') == 1
    assert interval_chart([IntervalRow("a", 0.0, (0.0, 0.0), "#123456")], title="t").html.count("<circle") == 1


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("needs a browser on the PATH, such as chromium (apt-get install chromium)")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


def test_in_a_browser(comparison: Comparison, browser: Any, tmp_path: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    file = tmp_path / "page.html"
    file.write_text(comparison.to_html(), encoding="utf-8")
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        noise: list[str] = []
        page.on("console", lambda message, noise=noise: noise.append(message.text))
        page.on("request", lambda one, noise=noise: None if one.url.startswith("file:") else noise.append(one.url))
        page.goto(file.as_uri())
        for width in (360, 768, 1440):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") == width
        page.locator("summary").last.click()
        assert noise == []
        # axe-core runs as a script, which the page's policy forbids: a copy without it.
        page.set_content(re.sub(r"<meta http-equiv=.Content-Security-Policy.[^>]*>", "", comparison.to_html()))
        report = axe.Axe().run(page).response
        assert len(report["passes"]) > 20
        serious = [one for one in report["violations"] if one["impact"] in ("serious", "critical")]
        assert [(one["id"], one["nodes"][0]["html"]) for one in serious] == []
        page.close()
