"""The other tabs, and the states of a model."""

from __future__ import annotations

import struct
import time

import pytest
from inputs.images import picture, stored
from serving.http.live import running
from serving.page.conftest import Watched
from serving.page.service import PageService
from serving.page.waiting import SECONDS, wait_until


def wav(seconds: float = 0.5) -> bytes:
    data = b"\0\0" * int(16000 * seconds)
    head = struct.pack(
        "<4sI8sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVEfmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", len(data)
    )
    return head + data


def test_attention_of_heads(open_page) -> None:
    page = open_page()
    page.fill("#source", "in 3 hours")
    page.wait_for_selector(".word")
    page.get_by_role("tab", name="Attention").click()
    page.wait_for_selector(".heat")
    assert page.input_value("#attention-source") == "in 3 hours"
    assert page.locator(".head").count() == 4
    assert page.locator(".heat thead th").all_text_contents() == ["in", "3", "hours", "</s>"]
    assert page.locator(".heat tbody th").all_text_contents() == ["in", "3", "Stunden", "</s>"]
    assert page.locator(".heat tbody tr").nth(1).locator("td").all_text_contents() == ["5", "80", "5", "5"]
    page.get_by_role("button", name="Layer 2, head 1").click()
    assert page.locator(".large h2").inner_text() == "Answer reads text: Layer 2, head 1"
    page.get_by_role("button", name="Text reads itself").click()
    assert page.locator(".heat tbody th").all_text_contents() == ["in", "3", "hours", "</s>"]
    page.locator(".heat td[data-q]").first.hover()
    assert "in → in: 80%" in page.inner_text(".attention")


def test_a_file_is_sent_watched_and_taken_back(open_page) -> None:
    page = open_page("#files")
    text = "in 3 hours\n15 months ago\n"
    page.set_input_files("#files", [{"name": "dates.txt", "mimeType": "text/plain", "buffer": text.encode()}])
    button = page.get_by_role("button", name="Download")
    button.wait_for()
    with page.expect_download() as download:
        button.click()
    assert download.value.suggested_filename == "dates.de.txt"
    assert download.value.path().read_text() == "in 3 Stunden\n15 Monaten her\n"


def test_a_file_of_another_kind_is_refused(open_page) -> None:
    page = open_page("#files", expected=("422", "415", "400"))
    page.set_input_files("#files", [{"name": "a.exe", "mimeType": "application/x", "buffer": b"MZ"}])
    page.wait_for_selector(".file-list .error")
    assert "a.exe" in page.inner_text(".file-list .error")


def test_the_card_and_the_api(open_page, server) -> None:
    page = open_page("#about")
    page.wait_for_selector(".sample")
    shown = page.inner_text(".about")
    for words in ("1,129,600", "98.75", "16800 pairs", "English", "German", f"{server.url}/v1/generate"):
        assert words in shown


def test_labels_are_bars(open_page) -> None:
    page = open_page(model="labels")
    assert page.locator("[role=tab]").all_text_contents() == ["Classify", "Attention", "About"]
    page.fill("#source", "a fine film")
    page.wait_for_selector(".bars li")
    assert page.locator(".bars li").all_inner_texts() == ["good\n80%", "bad\n20%"]
    widths = page.evaluate("[...document.querySelectorAll('.bar span')].map(bar => bar.getBoundingClientRect().width)")
    assert widths[0] == pytest.approx(4 * widths[1], rel=0.3)


def test_a_recording_is_transcribed(open_page) -> None:
    page = open_page(model="ears")
    assert page.locator("[role=tab]").all_text_contents() == ["Transcribe", "About"]
    page.set_input_files("#sound", [{"name": "one.wav", "mimeType": "audio/wav", "buffer": wav()}])
    page.locator(".transcript", has_text=f"heard {len(wav())} bytes").wait_for()
    # The microphone: Chromium plays a test tone into it.
    began = time.monotonic()
    page.get_by_role("button", name="Record", exact=True).click()
    wait_until(page, "parseFloat(document.querySelector('.time').textContent) >= 1")
    page.get_by_role("button", name="Stop").click()
    took = time.monotonic() - began
    wait_until(page, "document.querySelectorAll('.transcript').length === 2")
    wait_until(page, "document.querySelector('.transcript').innerText.startsWith('heard')")
    heard = int(page.locator(".transcript").first.inner_text().split()[1])
    assert 24_000 < heard < 16_000 + 32_000 * took  # 16-bit samples at 16 kHz, of the time between the clicks


def test_an_image_is_seen_asked_about_and_pasted(open_page, service: PageService) -> None:
    page = open_page(model="eyes", expected=("400",), viewport={"width": 360, "height": 800}, locale="de-DE")
    assert page.locator("[role=tab]").all_text_contents() == ["Bilder", "Über"]
    content = stored(picture(30, 90)).getvalue()
    name = "a_long_name_" * 4 + ".png"
    page.set_input_files("#image", [{"name": name, "mimeType": "image/png", "buffer": content}])
    page.locator(".transcript", has_text=f"heard {len(content)} bytes").wait_for()
    assert page.locator("img.seen").get_attribute("alt") == f"Das Bild {name}"
    wait_until(page, "document.querySelector('img.seen').naturalWidth === 90")
    page.locator(".image-body .small", has_text="90").wait_for()
    assert service.calls[-1].inputs == [content] and "prompt" not in service.calls[-1].settings
    page.fill("#image-question", "what is left?")
    page.keyboard.press("Enter")
    page.locator(".asked", has_text="what is left?").wait_for()
    wait_until(page, "document.querySelectorAll('.small').length === 2")
    assert service.calls[-1].settings["prompt"] == "what is left?"
    page.evaluate(
        """bytes => {
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([Uint8Array.from(bytes)], "pasted.png", { type: "image/png" }));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData }));
        }""",
        list(content),
    )
    wait_until(page, "document.querySelectorAll('.small').length === 3")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.get_by_role("button", name="Entfernen").first.click()
    assert page.locator(".transcripts > li").count() == 2
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    serious = [each for each in axe.Axe().run(page).response["violations"] if each["impact"] in ("serious", "critical")]
    assert [(each["id"], each["nodes"][0]["html"]) for each in serious] == []


def test_labels_of_an_image_are_bars(open_page) -> None:
    page = open_page(model="kinds")
    assert not page.locator("#image-question").is_visible()
    page.set_input_files(
        "#image", [{"name": "a.png", "mimeType": "image/png", "buffer": stored(picture(9, 9)).getvalue()}]
    )
    page.wait_for_selector(".bars li")
    assert page.locator(".bars li").all_inner_texts() == ["good\n80%", "bad\n20%"]


def test_samples_become_a_wav_file(open_page) -> None:
    page = open_page()
    made = page.evaluate(
        """async () => {
            const { wavOf } = await import("./scripts/speech/wav.js");
            return [...new Uint8Array(await wavOf(Float32Array.of(0, 1, -1, 2)).arrayBuffer())];
        }"""
    )
    assert bytes(made[:44]) == wav(4 / 16000)[:44]
    assert struct.unpack("<4h", bytes(made[44:])) == (0, 32767, -32768, 32767)


def test_models_are_chosen_and_loaded_on_demand(open_page) -> None:
    page = open_page()
    page.select_option("#models select", "labels")
    page.get_by_role("tab", name="Classify").wait_for()
    page.select_option("#models select", "later")
    page.get_by_role("tab", name="Translate").wait_for()
    page.wait_for_selector(".state.ready")
    page.fill("#source", "in 3 hours")
    page.wait_for_selector(".word")
    page.reload()
    page.wait_for_selector(".state.ready")
    assert page.input_value("#models select") == "later"
    assert page.input_value("#source") == "in 3 hours"


def test_a_model_that_was_unloaded_can_be_loaded(open_page) -> None:
    page = open_page(expected=("503",))
    page.select_option("#models select", "stopped")
    page.get_by_text("The model stopped is not loaded.").wait_for()
    page.get_by_role("button", name="Load").click()
    page.wait_for_selector(".state.ready")
    assert page.locator(".notice").count() == 0


def test_a_key_is_asked_for(browser, tmp_path) -> None:
    keys = tmp_path / "keys.yaml"
    keys.write_text("keys:\n  - {name: alice, key: a-secret}\n")
    with running(PageService(), keys=str(keys)) as server:
        page = browser.new_context(locale="en-GB").new_page()
        page.set_default_timeout(SECONDS * 1000)
        watched = Watched(page, server.url, ("401",))
        page.goto(server.url)
        page.locator("#key").wait_for()
        page.keyboard.press("Escape")
        page.get_by_text("The server needs a valid API key").wait_for()
        page.wait_for_timeout(2000)
        assert not page.locator("#key").is_visible()
        page.get_by_role("button", name="Try again").click()
        page.fill("#key", "wrong")
        page.keyboard.press("Enter")
        page.get_by_text("does not accept this key").wait_for()
        page.fill("#key", "a-secret")
        page.keyboard.press("Enter")
        page.wait_for_selector(".state.ready")
        page.fill("#source", "in 3 hours")
        page.wait_for_selector(".word")
        page.context.close()
        watched.check()
