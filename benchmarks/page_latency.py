"""How soon a reader sees something: milliseconds from a key press to the answer on the page, and to the first piece of
a stream on an idle server.

    python benchmarks/page_latency.py runs/demo [--text "Monday, December 12, 2022, 3:47 AM"] [--quantize int8]

Starts `antiphon serve MODEL` on a free port, and Chromium, which must be on the PATH. The text is typed letter by
letter, with a pause for each answer. The page waits 60 ms for a further key before it asks, which is counted.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import httpx2

# From a key to the frame in which the answer card is no longer busy.
WATCH = """
() => {
  const card = document.querySelector(".answer-card");
  const watch = { began: null, busy: false, times: [] };
  window.watch = watch;
  document.querySelector("#source").addEventListener("keydown", () => (watch.began = performance.now()), true);
  new MutationObserver(() => {
    if (card.getAttribute("aria-busy") === "true") watch.busy = true;
    else if (watch.busy && watch.began !== null) {
      watch.times.push(performance.now() - watch.began);
      Object.assign(watch, { began: null, busy: false });
    }
  }).observe(card, { attributes: true, attributeFilter: ["aria-busy"] });
}
"""
PAUSE_SECONDS = 0.9


@contextmanager
def serving(model: str, flags: list[str]) -> Iterator[str]:
    """The address of a server of `model` that is ready."""
    command = [sys.executable, "-m", "antiphon", "serve", model, "--port", "0", *flags]
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(command, stderr=log) as server:
        try:
            while (found := re.search(r"http://\S+", _read(log))) is None:
                assert server.poll() is None, _read(log)
                time.sleep(0.1)
            while httpx2.get(f"{found.group()}/ready").status_code != 200:
                time.sleep(0.1)
            yield found.group()
        finally:
            server.terminate()


def _read(log: IO[str]) -> str:
    log.seek(0)
    return log.read()


def typed(url: str, text: str) -> list[float]:
    """Milliseconds from each key of `text` to its answer."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(url)
        page.wait_for_selector(".state.ready")
        page.evaluate(WATCH)
        for letter in text:
            page.locator("#source").press_sequentially(letter)
            time.sleep(PAUSE_SECONDS)
        times = page.evaluate("window.watch.times")
        browser.close()
    return times


def first_pieces(url: str, text: str) -> list[float]:
    """Milliseconds to the first piece of each stream, one request after the other; no input is asked twice."""
    times = []
    for end in range(1, len(text) + 1):
        began = time.perf_counter()
        body = {"inputs": text[:end], "stream": True}
        with httpx2.stream("POST", f"{url}/v1/generate", json=body) as response:
            for place, _ in enumerate(response.iter_lines()):
                if place == 0:
                    times.append(1000 * (time.perf_counter() - began))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--text", default="Monday, December 12, 2022, 3:47 AM")
    parser.add_argument("--quantize", choices=["int8"])
    options = parser.parse_args()
    flags = ["--quantize", options.quantize] if options.quantize else []
    with serving(options.model, flags) as url:
        rows = {
            "first streamed piece": first_pieces(url, options.text[::-1]),
            "key press to answer": typed(url, options.text),
        }
    for name, times in rows.items():
        ordered = sorted(times)
        p50, p90 = statistics.median(ordered), ordered[int(0.9 * len(ordered))]
        print(f"{name:<22} p50 {p50:6.1f} ms   p90 {p90:6.1f} ms   of {len(ordered)}")


if __name__ == "__main__":
    main()
