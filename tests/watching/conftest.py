"""A page of three runs in Chromium. Every page that a test opens is checked for errors on the console and requests to
another host."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from watching.logs import append, make_run, sample_row

from antiphon.watching import runs as module
from antiphon.watching.runs import WatchedRuns
from antiphon.watching.server import WatchServer, open_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 20  # machines of tests are slow at times
HOSTILE = "<img src=x onerror=window.injected=1>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"needs a browser on the PATH: {', '.join(NAMES)} (apt-get install chromium)")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with different metrics, one of them with a hostile name and hostile samples, and an empty one."""
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "base", metrics=("bleu", "chrf"))
    make_run(folder / "large", offset=0.4, metrics=("chrf", "exact_match"))
    hostile = make_run(folder / HOSTILE.replace("/", ""), steps=600, offset=0.2)
    append(hostile / "samples.jsonl", [sample_row(600, HOSTILE, f"<script>{HOSTILE}", HOSTILE)])
    (folder / "empty").mkdir()
    (folder / "empty" / "config.yaml").write_text("task: text\n")
    return folder


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., WatchServer]]:
    """Serve folders; a log is read every 50 ms."""
    patch, made = pytest.MonkeyPatch(), []
    patch.setattr(module, "SECONDS_BETWEEN_READS", 0.05)

    def start(*folders: Path) -> WatchServer:
        made.append(open_server(WatchedRuns(folders), 0))
        made[-1].start()
        return made[-1]

    yield start
    for server in made:
        server.stop()
    patch.undo()


@pytest.fixture(scope="module")
def server(serve: Callable[..., WatchServer], runs_folder: Path) -> WatchServer:
    return serve(runs_folder)


@pytest.fixture
def open_page(browser: Browser, server: WatchServer) -> Iterator[Callable[..., Page]]:
    """`open_page("x=time", locale="de-DE")` -> a page whose first charts are drawn."""
    opened, faults = [], []

    def opener(view: str = "", *, at: WatchServer = server, expected: tuple[str, ...] = (), **context: Any) -> Page:
        made = browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1440, "height": 900}, **context})
        made.set_default_timeout(SECONDS * 1000)
        page = made.new_page()
        opened.append(made)

        def note(text: str) -> None:
            if not any(each in text for each in (*expected, "willReadFrequently")):  # tests read pixels
                faults.append(text)

        page.on("console", lambda message: message.type in ("error", "warning") and note(message.text))
        page.on("pageerror", lambda error: note(str(error)))
        page.on("request", lambda request: request.url.startswith(at.url) or note(f"a request to {request.url}"))
        page.goto(f"{at.url}#{view}")
        page.wait_for_selector("[data-chart=loss] canvas")  # charts below the window may be drawn before it
        return page

    yield opener
    for context in opened:
        context.close()
    assert faults == []


def wait_until(page: Page, expression: str, arg: Any = None) -> None:
    """Wait until the JavaScript `expression` is true; Playwright's own way needs `eval`, which the policy forbids."""
    deadline = time.monotonic() + SECONDS
    while not page.evaluate(expression, arg):
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {expression} ({arg!r})"
        time.sleep(0.05)
