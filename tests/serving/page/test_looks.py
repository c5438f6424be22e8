"""Languages, colours, widths, the keyboard, and what axe-core says."""

from __future__ import annotations

import pytest
from serving.page.waiting import wait_until

SHOWN = {"attention": ".heat", "about": ".sample"}  # by a tab once it has its data
RESTING = """() => [...document.querySelectorAll('.stale')].every((each) => !each.checkVisibility())
    && document.getAnimations().every((each) => each.effect.getComputedTiming().iterations === Infinity)"""
TABS = {"dates": ["try", "attention", "files", "about"], "labels": ["try"], "ears": ["speech"]}


def test_german_by_the_browser_and_by_choice(open_page) -> None:
    page = open_page(locale="de-AT")
    assert page.get_attribute("html", "lang") == "de"
    assert page.locator("[role=tab]").all_text_contents() == ["Übersetzen", "Aufmerksamkeit", "Dateien", "Über"]
    page.fill("#source", "in 3 hours")
    page.wait_for_selector(".word")
    page.select_option("#page-language", "en")
    page.get_by_role("tab", name="Translate").wait_for()
    assert page.inner_text(".languages").split() == ["English", "→", "German"]
    page.reload()
    page.get_by_role("tab", name="Translate").wait_for()


def test_dark_by_the_system_and_by_choice(open_page) -> None:
    page = open_page(color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.select_option("#theme", "light")
    light = page.evaluate(ground)
    assert (dark, light) == ("rgb(20, 22, 26)", "rgb(246, 245, 241)")
    page.reload()
    page.wait_for_selector(".state.ready")
    assert page.evaluate(ground) == light


@pytest.mark.parametrize("locale", ["en-GB", "de-DE"])
def test_nothing_is_wider_than_the_window(open_page, locale: str) -> None:
    page = open_page(viewport={"width": 360, "height": 800}, locale=locale)
    page.fill("#source", "in 3 hours " * 20 + "a" * 200)
    page.locator(".other").first.wait_for()
    page.locator(".settings summary").click()
    over = "document.querySelector('#tabs').scrollWidth - document.querySelector('#tabs').clientWidth"
    for name in TABS["dates"]:
        page.locator(f"#tab-{name}").click()
        page.wait_for_selector(SHOWN.get(name, f"#panel-{name}"))
        for width in (360, 768, 1440):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") == width, name
            assert page.evaluate(over) == 0


@pytest.mark.parametrize("model", list(TABS))
def test_axe_finds_no_serious_fault(open_page, model: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    page = open_page(model=model)
    if model != "ears":
        page.fill("#source", "in 3 hours" if model == "dates" else "a fine film")
        page.wait_for_selector(".word, .bars")
        page.locator(".settings summary").click()
    if model == "dates":
        page.get_by_label("Sample", exact=False).check()
        page.locator(".word").first.click()
        page.wait_for_selector(".choice")
    for name in TABS[model]:
        page.locator(f"#tab-{name}").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector(SHOWN.get(name, f"#panel-{name}"))
        for scheme, ground in (("light", "rgb(246, 245, 241)"), ("dark", "rgb(20, 22, 26)")):
            page.emulate_media(color_scheme=scheme)
            wait_until(page, "ground => getComputedStyle(document.body).backgroundColor === ground", ground)
            wait_until(page, RESTING)  # what is stale or under way to another colour has less contrast
            report = axe.Axe().run(page).response
            assert len(report["passes"]) > 20  # rules that had something to look at
            serious = [each for each in report["violations"] if each["impact"] in ("serious", "critical")]
            assert [(scheme, each["id"], each["nodes"][0]["html"]) for each in serious] == []


def tab_to(page, expression: str) -> None:
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"100 tabs do not reach it: {expression}")


def test_the_keyboard_is_enough(open_page) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.keyboard.press("Tab")
    tab_to(page, "document.activeElement.id === 'source'")
    page.keyboard.type("in 3 hours ago")
    wait_until(page, "document.querySelectorAll('.word').length === 4")
    tab_to(page, "document.activeElement.classList.contains('word')")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.textContent") == "Stunden"
    assert page.inner_text("#live").startswith("Stunden ← hours")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.locator(".choice", has_text="Tagen").wait_for()
    page.keyboard.press("ArrowDown")
    assert "Tagen" in page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    wait_until(page, "document.querySelector('.answer-text').innerText.includes('Tagen her')")
    page.locator("#tab-try").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-attention"
    assert page.locator("#panel-attention").is_visible()
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.locator("#panel-attention").is_visible()
