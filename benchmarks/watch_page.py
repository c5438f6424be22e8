"""How fast the page of `antiphon watch` draws long logs, in Chromium.

python benchmarks/watch_page.py                                # 10 runs of 100,000 logged steps
python benchmarks/watch_page.py --runs 3 --steps 10000

The logs have every step, with all figures that training writes (343 MB in all). The page is opened as soon as the
server has printed its address, so that it shows a sample of each log, and again when all logs have been read. A zoom
is a key press on a chart; it is measured until the frame after all visible charts have been drawn.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

DRAWN = """() => new Promise((done) => {
    const check = () => {
        const canvases = [...document.querySelectorAll('.plot canvas')].filter((each) => each.width > 0);
        if (canvases.length >= VISIBLE) requestAnimationFrame(() => done(performance.now()));
        else setTimeout(check, 5);
    };
    check();
})""".replace("VISIBLE", "4")
ZOOM = """(key) => new Promise((done) => {
    const began = performance.now();
    const drawn = () => requestAnimationFrame(() => done(performance.now() - began));
    document.addEventListener("drawn", drawn, { once: true });
    document.querySelector(".plot").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--zooms", type=int, default=30)
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(settings.runs):
            write_run(Path(folder) / f"run-{number}", settings.steps, number)
        command = [sys.executable, "-m", "antiphon", "watch", folder, "--port", "0"]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            assert server.stderr is not None
            url = server.stderr.readline().split()[1]
            measure(url, settings.zooms)
        finally:
            server.terminate()
            server.wait()


def measure(url: str, zooms: int) -> None:
    """Open the page and print the times."""
    from playwright.sync_api import sync_playwright

    began = time.monotonic()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        show("first curves, the logs not read yet (a sample of each)", opened(page, url))
        while any(run["read"] < 1 for run in runs_of(url)):
            time.sleep(0.5)
        show("all rows of all logs read, after", time.monotonic() - began)
        show("first curves, the logs read", opened(page, url))
        page.wait_for_timeout(3000)
        for name, address in (("", "#"), (" with smoothing", "#smooth=0.02")):
            page.goto(url + address)
            page.wait_for_timeout(3000)
            times = [page.evaluate(ZOOM, "+" if turn % 10 < 5 else "-") for turn in range(zooms)]
            middle, last = statistics.median(times), sorted(times)[math.ceil(0.95 * len(times)) - 1]
            sys.stdout.write(f"zoom{name}: median {middle:.0f} ms, 95 % within {last:.0f} ms\n")
        browser.close()


def opened(page: Page, url: str) -> float:
    """Seconds from the navigation to the first curves."""
    page.goto("about:blank")
    page.goto(url, wait_until="commit")
    return page.evaluate(DRAWN) / 1000


def runs_of(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{url}api/runs") as answer:
        return json.load(answer)["runs"]


def show(what: str, seconds: float) -> None:
    sys.stdout.write(f"{what}: {seconds:.2f} s\n")


def write_run(folder: Path, steps: int, number: int) -> None:
    """A log with a row for each step, and 100 validations."""
    chance, time_seconds, tokens = random.Random(number), 0.0, 0
    folder.mkdir(parents=True)
    with (folder / "metrics.jsonl").open("w", encoding="utf-8") as stream:
        for step in range(1, steps + 1):
            seconds = 0.1 * (1 + 0.1 * chance.random())
            time_seconds, tokens = time_seconds + seconds, tokens + 1500
            place = {"step": step, "epoch": 1 + 10 * step // steps, "time_seconds": round(time_seconds, 3)}
            loss = 7 * math.exp(-8 * step / steps) + 0.3 + 0.05 * number + chance.gauss(0, 0.1)
            row = {
                **place, "loss": loss, "nll": loss - 0.1, "lr": 1e-3 * min(step / 4000, (4000 / step) ** 0.5),
                "grad_norm": 1 + abs(chance.gauss(0, 0.3)), "tokens": tokens,
                "tokens_per_second": round(1500 / seconds, 1), "padding_waste": round(0.1 + 0.05 * chance.random(), 4),
                "step_seconds": round(seconds, 4), "seconds_left": round(0.105 * (steps - step), 1),
                "peak_memory_bytes": 483_667_968 + 10 * step, "trainable_parameters": 1_129_600,
            }  # fmt: skip
            stream.write(json.dumps(row) + "\n")
            if step % max(1, steps // 100) == 0:
                figures = {"valid_loss": loss + 0.2, "bleu": 40 * (1 - math.exp(-5 * step / steps)) - number}
                stream.write(json.dumps({**place, **figures}) + "\n")


if __name__ == "__main__":
    main()
