"""A server with a stub of models, and Chromium. Every page that a test opens is watched: no error on the console, no
request to another host."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from serving.http.live import LiveServer, running
from serving.page.service import PageService
from serving.page.waiting import SECONDS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium as the system has it; the tests are skipped where it or Playwright is missing.

    Not for the whole session: Playwright's event loop runs as long as it is open, and other tests start one too.
    """
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"needs a browser on the PATH: {', '.join(NAMES)} (apt-get install chromium)")
    with api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        launched = playwright.chromium.launch(executable_path=path, args=flags)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def service() -> PageService:
    return PageService()


@pytest.fixture(scope="module")
def server(service: PageService) -> Iterator[LiveServer]:
    with running(service, languages=("dates=en-de",), open_admin=True) as live:
        yield live


class Watched:
    """What went wrong on a page."""

    def __init__(self, page: Page, origin: str, expected: tuple[str, ...]) -> None:
        self._origin, self._expected, self._faults = origin, expected, []
        page.on("console", lambda message: message.type in ("error", "warning") and self._note(message.text))
        page.on("pageerror", lambda error: self._note(str(error)))
        page.on("request", lambda request: self._request(request.url))

    def _note(self, text: str) -> None:
        if not any(words in text for words in self._expected):
            self._faults.append(text)

    def _request(self, url: str) -> None:
        if not url.startswith((f"{self._origin}/", "blob:", "data:")):
            self._faults.append(f"a request to another host: {url}")

    def check(self) -> None:
        """The page had no fault."""
        assert self._faults == []


OpenPage = Callable[..., Any]


@pytest.fixture
def open_page(browser: Browser, server: LiveServer) -> Iterator[OpenPage]:
    """`open_page("#files", model="labels", locale="de-DE")` -> a page whose model is ready. `expected` are parts of
    errors that the test causes; other keywords are those of a browser's context."""
    opened = []

    def opener(path: str = "", *, model: str = "dates", expected: tuple[str, ...] = (), **context: Any) -> Page:
        made = browser.new_context(**{"locale": "en-GB", **context})
        made.set_default_timeout(SECONDS * 1000)
        made.add_init_script(
            f"localStorage.getItem('antiphon.model') ?? localStorage.setItem('antiphon.model', '\"{model}\"')"
        )
        page = made.new_page()
        opened.append((made, Watched(page, server.url, expected)))
        page.goto(f"{server.url}/{path}")
        page.wait_for_selector(".state.ready")
        return page

    yield opener
    for made, _ in opened:
        made.close()
    for _, watched in opened:
        watched.check()
