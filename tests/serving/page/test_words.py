"""The page's arithmetic on words: where they are, how confident, and what they attended to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from serving.http.live import LiveServer
from serving.page.conftest import Watched
from serving.page.waiting import SECONDS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def call(page, name: str, *values: Any) -> Any:
    """`name` of scripts/words.js, run in the browser."""
    script = "async ([name, values]) => (await import('./scripts/words.js'))[name](...values)"
    return page.evaluate(script, [name, list(values)])


@pytest.fixture(scope="module")
def page(browser: Browser, server: LiveServer) -> Iterator[Page]:
    """One page for all: nothing here changes it."""
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    watched = Watched(page, server.url, ())
    page.goto(server.url)
    page.locator(".state.ready").wait_for(timeout=1000 * SECONDS)
    yield page
    context.close()
    watched.check()


def words(page, text: str, language: str) -> list[str]:
    return [text[each["start"] : each["end"]] for each in call(page, "splitWords", text, language)]


def test_words_keep_their_punctuation(page) -> None:
    assert words(page, "Montag, 12. Dezember 2022, 03:47", "de") == ["Montag,", "12.", "Dezember", "2022,", "03:47"]
    assert words(page, "Er sagt: „Ja (so)!“", "de") == ["Er", "sagt:", "„Ja", "(so)!“"]
    assert "".join(words(page, "三小时后。", "zh")) == "三小时后。"
    assert len(words(page, "三小时后。", "zh")) > 1


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Montag, 12. Dezember", ["▁Montag", ",", "▁", "1", "2", ".", "▁Dez", "ember"]),
        ("in 3 Tagen", ["in", "Ġ3", "ĠTag", "en"]),
        ("unheard of", ["un", "##heard", "of"]),
        ("unheard of", ["un@@", "heard", "of"]),
        ("unheard of", ["un", "heard</w>", "of</w>"]),
    ],
)
def test_tokens_are_found_in_their_text(page, text: str, tokens: list[str]) -> None:
    spans = call(page, "tokenSpans", text, tokens)
    assert "".join(text[start:end] for start, end in spans) == text.replace(" ", "")


def test_bytes_belong_to_the_gap_between_their_neighbours(page) -> None:
    assert call(page, "tokenSpans", "ein 😀 Tag", ["▁ein", "<0xF0>", "<0x9F>", "▁Tag"])[1] == [3, 7]


def test_the_confidence_of_a_word_is_the_product_of_its_tokens(page) -> None:
    spans = call(page, "tokenSpans", "ab cd", ["▁a", "b", "▁cd"])
    assert call(page, "wordConfidence", {"start": 0, "end": 2}, spans, [0.5, 0.5, 0.9]) == 0.25
    assert call(page, "wordConfidence", {"start": 0, "end": 2}, spans, None) is None


def test_weights_of_tokens_are_added_to_those_of_words(page) -> None:
    alignment = [
        {"source": [0, 3], "target": [0, 2], "weight": 0.4},
        {"source": [3, 6], "target": [0, 2], "weight": 0.2},
        {"source": [7, 9], "target": [0, 2], "weight": 0.3},
        {"source": [7, 9], "target": [2, 4], "weight": 1.0},
        {"source": [7, 9], "target": [5, 6], "weight": 1.0},
    ]
    found = call(page, "attendedWords", {"start": 0, "end": 4}, alignment, "foobar xy", "en")
    assert [(each["start"], each["end"], round(each["weight"], 6)) for each in found] == [(7, 9, 0.65), (0, 6, 0.3)]
