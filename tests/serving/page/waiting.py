"""Waiting for what a page shows. Playwright's own `wait_for_function` needs `eval`, which the page's policy forbids."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

SECONDS = 10  # machines of tests are slow at times


def wait_until(page: Page, expression: str, arg: Any = None) -> None:
    """Wait until the JavaScript `expression` is true, or a function that is called with `arg`."""
    deadline = time.monotonic() + SECONDS
    while not page.evaluate(expression, arg):
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {expression} ({arg!r})"
        time.sleep(0.02)


def answer(page: Page) -> str:
    """The answer that is shown."""
    return page.inner_text(".answer-text").strip()


def wait_for_answer(page: Page, text: str) -> None:
    """Wait until `text` is the answer, and complete: its last piece is shown before its words and their figures are."""
    deadline = time.monotonic() + SECONDS
    while (shown := answer(page)) != text:
        assert time.monotonic() < deadline, f"the answer is {shown!r} and not {text!r}"
        time.sleep(0.02)
    wait_until(page, "document.querySelector('.answer-card').getAttribute('aria-busy') === 'false'")
