"""Explanations in a terminal, in a notebook and as a page: what they say, escaped, in any width."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.cells import cell_len

from antiphon.errors import ConfigError
from antiphon.evaluation.explain import METHODS, Explanation, Faithfulness
from antiphon.evaluation.explain.gradients import Completeness
from antiphon.evaluation.explain.terminal import lines

EVIL = ["▁<script>alert(1)</script>", "{{data}}", "</script>", "日本", "é" * 40, "\u202e", "</s>"]


def made(
    tokens: list[str] = EVIL, units: list[str] | None = None, *, method: str = "integrated-gradients"
) -> Explanation:
    """An explanation of random numbers."""
    generator = torch.Generator().manual_seed(0)
    units = ["<b>eins</b>", "zwei\n", "{{title}}"] if units is None else units
    shape = (len(units), len(tokens))
    weights = torch.randn(*shape, generator=generator, dtype=torch.float64)
    weights = weights if METHODS[method].signed else weights.abs()
    half = torch.full((len(units), 2), 0.5, dtype=torch.float64)
    full = torch.ones(len(units), dtype=torch.float64)
    tested = Faithfulness(half * 0 + torch.tensor([0.3, 0.6]), full, half, half, half + 0.2, half)
    complete = Completeness(weights.sum(1), torch.zeros(len(units), dtype=torch.float64), 32)
    return Explanation(
        method=method, source=" ".join(tokens), answer=" ".join(units), source_tokens=tokens,
        special=[token == "</s>" for token in tokens], units=units, weights=weights,
        scores=-torch.rand(len(units), generator=generator, dtype=torch.float64), is_label=False,
        completeness=complete if method == "integrated-gradients" else None, faithfulness=tested,
    )  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(method: str, width: int) -> None:
    shown = [line.plain for line in lines(made(method=method), width=width)]
    assert max(map(cell_len, shown)) <= width
    whole = " ".join(" ".join(shown).split())
    assert METHODS[method].title in whole and METHODS[method].caveat in whole
    assert "deletion test: better than random order" in whole
    assert ("complete: the attributions" in whole) == (method == "integrated-gradients")
    assert str(made(method=method)).startswith("source  ")


def test_a_line_has_the_largest_tokens_first() -> None:
    found = made(["a", "b", "c", "</s>"], ["x"])
    found = replace(found, weights=torch.tensor([[0.1, -3.0, 1.0, 9.0]], dtype=torch.float64))
    assert found.top("x") == [("b", -3.0), ("c", 1.0), ("a", 0.1)], "special tokens are left out"
    line = str(found).splitlines()[4]
    assert line.split()[2:] == ["b", "-3.00", "c", "+1.00", "a", "+0.10"]
    none = replace(found, weights=found.weights * 0)
    assert "no token of the source" in str(none)
    with pytest.raises(ConfigError, match="`unit` must be one of x, but is `y`"):
        found.row("y")
    with pytest.raises(ConfigError, match="`unit` must be below 1"):
        found.row(1)


def test_the_html_for_notebooks_is_escaped() -> None:
    shown = made()._repr_html_()
    assert "<script" not in shown and "&lt;script&gt;alert(1)&lt;/script&gt;" in shown and "<b>" not in shown
    assert METHODS["integrated-gradients"].caveat.split(".")[0] in shown and "<svg" in shown
    assert "http" not in shown.replace("http://www.w3.org/2000/svg", "")


def test_the_page_is_self_contained_and_escaped() -> None:
    page = made().to_html()
    assert page.count("<script") == 2 and "alert(1)</script>" not in page.replace("\\u003c", "<").split("<script>")[1]
    assert "<b>" not in page and "{{data}}" in page and "{{title}}" in page, "texts are no placeholders"
    assert not re.search(r"(?:src|href)=", page)
    assert re.search(r"script-src 'sha256-[\w+/=]{44}'", page) and "unsafe-inline'; script" in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert data["weights"] == made().weights.tolist() and data["special"] == made().special


def test_files(tmp_path: Path) -> None:
    found = made()
    assert json.loads(found.save(tmp_path / "a.json").read_text()) == json.loads(json.dumps(found.as_json()))
    assert found.save(tmp_path / "a.html").read_text() == found.to_html()
    with pytest.raises(ConfigError, match=r"must be a \.html or \.json file, but is `a.png`"):
        found.save("a.png")
    large = made([f"t{i}" for i in range(700)], [f"w{i}" for i in range(40)])
    assert "28,000 numbers" in large.to_html()


def test_the_page_in_a_browser(tmp_path: Path) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("needs a browser on the PATH: chromium")
    file, faults = made().save(tmp_path / "page.html"), []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": 360, "height": 700}, color_scheme=scheme)
            page.on("console", lambda message: faults.append(message.text))
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("request", lambda request: request.url.startswith("file:") or faults.append(request.url))
            page.goto(file.as_uri())
            page.locator("button.word").nth(1).click()
            shown = page.locator("#tokens small").first.text_content()
            assert shown == f"{float(made().weights[1, 0]):+.2f}"
            assert page.locator("button.word").nth(1).get_attribute("aria-pressed") == "true"
            page.locator("summary").first.click()
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            faults.extend(found["id"] for found in axe.Axe().run(page).response["violations"])
        browser.close()
    assert faults == []
