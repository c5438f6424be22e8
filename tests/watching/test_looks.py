"""Languages, colours, widths, the keyboard, what axe-core says, and what the page is made of."""

from __future__ import annotations

import json
import re

import pytest
from watching.conftest import wait_until

from antiphon.watching.files import PAGE, SHARED, SHARED_PAGE, page_files

OWN = [path for path in sorted(PAGE.rglob("*")) if path.is_file() and path.parent.name != "uplot"]
MOST_BYTES = 220_000  # 51 kB of them are uPlot


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(open_page, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    page = open_page("smooth=0.02&log=loss", color_scheme=scheme, locale="de-DE" if scheme == "dark" else "en-GB")
    page.locator(".sample").first.wait_for()
    page.locator("[data-chart=loss] .plot").focus()
    page.keyboard.press("ArrowRight")
    report = axe.Axe().run(page).response
    assert len(report["passes"]) > 20  # rules that had something to look at
    serious = [each for each in report["violations"] if each["impact"] in ("serious", "critical")]
    assert [(each["id"], each["nodes"][0]["html"]) for each in serious] == []


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_nothing_is_wider_than_the_window(open_page, width: int) -> None:
    page = open_page(viewport={"width": width, "height": 800}, locale="de-DE")
    page.locator("#settings table").wait_for()
    wait_until(page, "width => document.documentElement.scrollWidth === width", width)
    page.set_viewport_size({"width": width - 40, "height": 800})
    wait_until(page, "[...document.querySelectorAll('.uplot')].every((each) => each.clientWidth <= innerWidth)")
    wait_until(page, "width => document.documentElement.scrollWidth === width", width - 40)


def test_german_by_the_browser_and_by_choice_and_colours_follow(open_page) -> None:
    page = open_page(locale="de-AT", color_scheme="dark")
    assert page.get_attribute("html", "lang") == "de"
    assert page.locator(".group > h2").first.text_content() == "Verlust und Metriken"
    page.select_option("#page-language", "en")
    wait_until(page, "document.querySelector('.chart-title').textContent === 'Loss'")
    stroke = "document.querySelector('.probe') === null && getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(stroke) == "rgb(20, 22, 26)"
    page.select_option("#theme", "light")
    assert page.evaluate(stroke) == "rgb(246, 245, 241)"


def test_the_keyboard_reaches_everything(open_page) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert {"smooth", "plot", "tool"} <= reached


def test_every_colour_of_a_run_stands_out_in_both_themes() -> None:
    """WCAG 2.2, 1.4.11: a contrast of 3 with the ground of a chart."""

    def brightness(code: str) -> float:
        parts = [int(code[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    def contrast(one: str, other: str) -> float:
        low, high = sorted((brightness(one), brightness(other)))
        return (high + 0.05) / (low + 0.05)

    style = (PAGE / "styles" / "watch.css").read_text(encoding="utf-8")
    colours = re.findall(r"--run: light-dark\((#\w{6}), (#\w{6})\)", style)
    assert len({*colours}) == 10
    for light, dark in colours:
        assert contrast(light, "#ffffff") >= 3 and contrast(dark, "#1c1f25") >= 3, (light, dark)


def test_the_files_have_nothing_inline_and_nothing_from_elsewhere() -> None:
    for path in OWN:
        text = path.read_text(encoding="utf-8")
        assert not set(re.findall(r"https?://[^\s\"'`)<$]+", text)), path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Func", text), path
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"\sstyle=|\son\w+=|<style|<script>(?!<)", html)
    assert sum(len(file.content) for file in page_files().values()) < MOST_BYTES
    assert all((SHARED_PAGE / name).is_file() for name in SHARED)


def texts(code: str) -> dict[str, str]:
    found = {}
    for group, entries in json.loads((PAGE / "texts" / f"{code}.json").read_text(encoding="utf-8")).items():
        for name, text in ({"": entries} if isinstance(entries, str) else entries).items():
            found[f"{group}.{name}" if name else group] = text
    return found


def test_english_and_german_have_the_same_texts_and_all_are_used() -> None:
    english, german = texts("en"), texts("de")
    assert list(english) == list(german)
    for key, text in english.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", german[key])), key
    code = "\n".join(path.read_text(encoding="utf-8") for path in OWN if path.suffix in (".js", ".html"))
    named = set(re.findall(r"[\"=]([a-z]+(?:\.[a-z_]+)*)\"", code))
    groups = {"figure", "group", "axis", "look"}  # their names are put together, or stand in the shared files
    assert {key for key in english if key.split(".")[0] not in groups} - named - {"chart.log", "chart.large"} <= {
        "chart.log.hint", "chart.large.hint",
    }  # fmt: skip
