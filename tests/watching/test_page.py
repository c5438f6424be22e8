"""The page: what is drawn is what was logged, for growing, different, deleted and repeated runs; and how it is used."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path
from urllib.parse import unquote

import pytest
from watching.conftest import HOSTILE, SECONDS, wait_until
from watching.logs import append, make_run, sample_row, training_row, validation_row

CHARTS = [
    "Loss", "BLEU", "chrF", "Exact match", "Learning rate", "Gradient norm", "Tokens per second", "Seconds per step",
    "Padding", "Peak memory", "Entropy, cross-attention",
]  # fmt: skip
INK = """([chart, run]) => {  // the pixels of a chart in the colour of a run
    const colour = getComputedStyle(document.querySelector(`#run-${run}`)).accentColor.match(/[0-9]+/g).map(Number);
    const canvas = document.querySelector(`[data-chart="${chart}"] canvas`);
    if (canvas === null || canvas.width === 0) return null; // not drawn yet
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let i = 0; i < data.length; i += 4) {
        count += data[i + 3] > 200 && colour.every((part, place) => Math.abs(part - data[i + place]) < 12);
    }
    return count;
}"""


def number_of(page, name: str) -> int:
    """The number of a run in the list, which its colour follows."""
    return int(page.locator(".run", has=page.get_by_text(name, exact=True)).locator("input").get_attribute("id")[4:])


def tip(page, chart: str, wanted: str, share: float = 0.5) -> str:
    """What the pointer shows at a part of a chart's width, once that matches `wanted`: a chart follows its figures and
    the view at its next drawing, and moves while those above it are made."""
    over, found = page.locator(f'[data-chart="{chart}"] .u-over'), page.locator(f'[data-chart="{chart}"] .tip')
    deadline = time.monotonic() + SECONDS
    while True:
        over.scroll_into_view_if_needed()
        if box := over.bounding_box():  # none while the chart is made anew
            page.mouse.move(box["x"] + share * box["width"] - 3, box["y"] + 50)
            page.mouse.move(box["x"] + share * box["width"], box["y"] + 60)
        shown = re.sub(r"\s+", " ", found.inner_text())  # nothing while it is hidden
        if shown and re.search(wanted, shown):
            return shown
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {wanted!r} in {shown!r}"
        time.sleep(0.05)


def test_all_figures_of_all_runs_have_charts(open_page) -> None:
    page = open_page()
    wait_until(page, "document.querySelectorAll('.chart').length === 11")
    assert page.locator(".chart-title").all_text_contents() == CHARTS
    assert page.locator(".group > h2").all_text_contents() == [
        "Loss and metrics", "Optimization", "Speed and memory", "Attention",
    ]  # fmt: skip
    base, large = number_of(page, "base"), number_of(page, "large")
    wait_until(page, f"args => ({INK})(args) > 100", ["loss", base])
    wait_until(page, f"args => ({INK})(args) > 100", ["loss", large])
    for chart, drawn, absent in (("bleu", base, large), ("exact_match", large, base)):
        wait_until(page, f"args => ({INK})(args) > 100", [chart, drawn])
        assert page.evaluate(INK, [chart, absent]) == 0
    state = page.locator(".run").filter(has_text="empty").locator(".run-state")
    assert state.text_content() == "no rows yet"


def test_the_pointer_shows_logged_values(open_page) -> None:
    page = open_page()
    shown = tip(page, "loss", "^Step (50|49).*large")
    row, other = training_row(500), validation_row(400)
    loss, validation = f"{row['loss']:.4g}", f"{other['valid_loss']:.4g}"
    assert f"base {loss}" in shown and validation in shown and "training validation" in shown
    assert "large" in shown and "empty" not in shown
    page.get_by_text("Tokens", exact=True).click()
    tip(page, "grad_norm", r"^Tokens (75K|74\.\d+K|75\.\d+K)")
    page.get_by_text("Time", exact=True).click()
    tip(page, "grad_norm", r"^Time (50|49|51)\ss")


def test_runs_are_chosen_by_name(open_page) -> None:
    page = open_page()
    base, large = number_of(page, "base"), number_of(page, "large")
    wait_until(page, f"args => ({INK})(args) > 100", ["loss", large])
    page.locator(f"#run-{large}").uncheck()
    wait_until(page, f"args => ({INK})(args) === 0", ["loss", large])
    assert page.evaluate(INK, ["loss", base]) > 100
    assert page.inner_text(".runs-head .figure") == "3 of 4"
    assert page.evaluate("location.hash") == "#hide=large"
    page.reload()
    page.wait_for_selector("[data-chart=loss] canvas")
    assert not page.locator(f"#run-{large}").is_checked()
    page.get_by_role("button", name="Show only large").click()
    assert page.inner_text(".runs-head .figure") == "1 of 4"
    wait_until(page, "document.querySelector('[data-chart=bleu] .empty').innerText.includes('no such figure')")
    page.get_by_role("button", name="None").click()
    assert page.inner_text(".runs-head .figure") == "0 of 4"
    page.get_by_role("button", name="All").click()
    wait_until(page, f"args => ({INK})(args) > 100", ["loss", large])


def test_a_view_is_a_link(open_page) -> None:
    page = open_page()
    page.get_by_text("Time", exact=True).click()
    page.locator("#smooth").focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    page.locator("[data-chart=loss]").get_by_role("button", name="Log").click()
    page.locator("[data-chart=bleu]").get_by_role("button", name="Large").click()
    # A change is drawn in the next frame, and a large chart is another place for those beside it.
    wait_until(page, "document.querySelector('[data-chart=bleu]').classList.contains('large')")
    wait_until(page, "document.querySelector('[data-chart=loss] .u-over') !== null")
    over = page.locator('[data-chart="loss"] .u-over').bounding_box()
    page.mouse.move(over["x"] + 50, over["y"] + 50)
    page.mouse.down()
    page.mouse.move(over["x"] + 150, over["y"] + 60, steps=4)
    page.mouse.up()
    wait_until(page, "location.hash.includes('from=')")
    address = page.evaluate("location.href")
    for part in ("x=time", "smooth=0.008", "log=loss", "large=bleu", "to="):
        assert part in address, part
    other = open_page(address.split("#")[1])
    assert other.locator("input[value=time]").is_checked() and other.inner_text("#controls output") == "0.8%"
    assert other.locator("[data-chart=bleu].large").count() == 1 and other.evaluate("location.href") == address
    assert other.locator("[data-chart=loss] [aria-pressed=true]").inner_text() == "Log"
    low, high = (float(re.search(rf"{name}=([\d.]+)", address)[1]) for name in ("from", "to"))
    assert 0 < low < high < 100
    page.locator('[data-chart="loss"] .u-over').dblclick()
    wait_until(page, "!location.hash.includes('from=')")


def test_zooming_by_buttons_and_keys(open_page) -> None:
    from playwright.sync_api import expect

    page = open_page()
    address = "location.hash"  # of the page: Playwright's `url` follows later
    page.get_by_role("button", name="Zoom in").click()
    assert page.evaluate(address) == "#from=250&to=750"
    page.locator("[data-chart=loss] .plot").focus()
    page.keyboard.press("Home")
    page.keyboard.press("+")
    assert page.evaluate(address) == "#from=250&to=500"
    page.keyboard.press("ArrowRight")
    live = page.inner_text("#live")
    assert live.startswith("Step 253: ") and f"base {training_row(250)['loss']:.4g}" in live
    assert "(validation)" not in live.split(",")[0]
    whole = page.get_by_role("button", name="Whole run")
    expect(whole).to_be_enabled(timeout=1000 * SECONDS)
    page.keyboard.press("-")
    page.keyboard.press("0")
    assert "from" not in page.evaluate(address)
    expect(whole).to_be_disabled(timeout=1000 * SECONDS)


def test_a_running_log_grows_and_a_resumed_one_is_drawn_anew(open_page, serve, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    log = folder / "metrics.jsonl"
    append(log, [training_row(step) for step in range(10, 310, 10)])
    with log.open("a", encoding="utf-8") as stream:
        stream.write('{"step": 310, "lo')
    page = open_page(at=serve(folder))
    state = page.locator(".run-state")
    wait_until(page, "document.querySelector('.run-state').innerText.startsWith('step 300')")
    assert re.fullmatch(r"step 300 · (1\smin \d+|\d\d)\ss left", state.text_content())
    assert 0.2 < float(page.locator(".run progress").evaluate("node => node.value")) < 0.4
    log.write_bytes(log.read_bytes()[: -len('{"step": 310, "lo')])
    append(log, [training_row(310), training_row(320)])
    append(folder / "samples.jsonl", [sample_row(300, "a b", "x y", "x z")])
    wait_until(page, "document.querySelector('.run-state').innerText.startsWith('step 320')")
    page.locator(".answer-words", has_text="x z").wait_for()
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:20]))  # resumed from step 200
    append(log, [training_row(step, offset=3.0) for step in range(210, 260, 10)])
    wait_until(page, "document.querySelector('.run-state').innerText.startsWith('step 250')")
    wanted = f"{training_row(250, offset=3.0)['loss']:.4g}"
    wait_until(page, "text => document.querySelector('.run-figures').innerText.includes(text)", wanted)
    tip(page, "loss", f"run {re.escape(wanted)}", 0.999)
    shutil.rmtree(folder)
    page.locator(".notice.bad", has_text="The log of run was deleted or moved").wait_for()
    tip(page, "loss", f"run {re.escape(wanted)}", 0.999)  # nothing is lost


def test_a_server_that_ends_leaves_the_curves(open_page, serve, tmp_path: Path) -> None:
    made = serve(make_run(tmp_path / "run"))
    page = open_page(at=made, expected=("ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE"))
    wait_until(page, f"args => ({INK})(args) > 100", ["loss", 0])
    made.stop()
    page.locator(".notice.bad", has_text="The server does not answer").wait_for()
    assert page.evaluate(INK, ["loss", 0]) > 100
    tip(page, "loss", "run")


def test_bad_lines_are_counted_and_an_incomplete_one_is_named(open_page, serve, tmp_path: Path) -> None:
    log = make_run(tmp_path / "run") / "metrics.jsonl"
    text = log.read_text()
    log.write_text(text[:500] + "\n" + text[500:] + '{"step": 99')
    os.utime(log, (1e9, 1e9))
    page = open_page(at=serve(tmp_path / "run"))
    page.locator(".notice", has_text="Lines of the log of run that cannot be read: 2.").wait_for()
    page.locator(".notice", has_text="The last line of the log of run is incomplete.").wait_for()


def test_samples_side_by_side_as_they_change(open_page) -> None:
    page = open_page()
    card = page.locator(".sample").filter(has_text="in 3 hours")
    card.wait_for()
    wait_until(page, "document.querySelectorAll('.sample:first-child .answer-run bdi').length === 3")
    assert sorted(card.locator(".answer-run bdi").all_text_contents()) == sorted(["base", "large", HOSTILE])
    answer = card.locator(".answer").filter(has_text="base")
    assert answer.locator(".answer-words").text_content() == "in 3 Stunden"
    assert answer.locator("mark").all_text_contents() == ["Stunden"]
    assert answer.locator(".equal").text_content() == "as the reference"
    assert answer.locator("summary").text_content() == "changed at step 600"
    answer.locator("summary").click()
    assert answer.locator(".history li").all_text_contents() == ["600in 3 Stunden", "400in 3 Stunde", "200in 3 Tagen"]
    page.locator("#sample-step").focus()
    page.keyboard.press("Home")
    assert page.inner_text(".sample-step output") == "200"
    assert answer.locator(".answer-words").text_content() == "in 3 Tagen" and answer.locator("mark").count() == 0


def test_settings_that_differ_are_listed(open_page) -> None:
    page = open_page()
    table = page.locator("#settings table")
    table.wait_for()
    wait_until(page, "document.querySelectorAll('#settings tbody td').length === 12")
    assert sorted(table.locator("tbody th").all_text_contents()) == ["task", "training.lr", "training.optimizer"]
    line = table.locator("tr").filter(has_text="training.lr")
    assert sorted(line.locator("td").all_text_contents()) == sorted(["0.001", "0.401", "0.201", "–"])


def test_no_name_and_no_text_runs(open_page) -> None:
    page = open_page()
    page.locator(".sample").filter(has_text="onerror").first.wait_for()
    tip(page, "loss", "onerror")
    assert page.evaluate("window.injected") is None
    assert page.locator("main img, main script, aside img").count() == 0
    page.locator(".run").filter(has_text="onerror").get_by_role("checkbox").uncheck()
    assert HOSTILE in unquote(unquote(page.evaluate("location.href")))


@pytest.mark.parametrize("smooth", [0.0, 0.03])
def test_thinned_curves_keep_every_extreme(open_page, smooth: float) -> None:
    """Against a search of all values: the range of any part, and each column's lowest and highest value."""
    script = Path(__file__).with_name("extremes.js").read_text(encoding="utf-8")
    assert open_page().evaluate(script, smooth) == []


def test_smoothing_of_a_constant_is_the_constant_and_noise_shrinks(open_page) -> None:
    page = open_page()
    flat, ratio, gap = page.evaluate(
        """async () => {
            const { Figure, smooth } = await import("/scripts/series.js");
            const made = (values) => {
                const figure = new Figure();
                figure.append(Float32Array.from(values));
                return smooth(figure, { step: { data: Float64Array.from(values, (_, i) => i) } }, "step", 0.05).values;
            };
            const noise = Array.from({ length: 2000 }, (_, i) => (i % 2 ? 1 : -1));
            return [
                Math.max(...made(Array(500).fill(3)).map((value) => Math.abs(value - 3))),
                Math.max(...made(noise).slice(200).map(Math.abs)),
                made([1, 2, -Infinity, 3])[2] === -Infinity,
            ];
        }"""
    )
    assert flat < 1e-6 and ratio < 0.02 and gap
