"""Typing a text and working with the words of its answer."""

from __future__ import annotations

import statistics
import time

from serving.page.service import PageService
from serving.page.waiting import SECONDS, answer, wait_for_answer, wait_until


def test_typing_gives_an_answer(open_page) -> None:
    page = open_page()
    page.locator("#source").press_sequentially("in 3 hours")
    wait_for_answer(page, "in 3 Stunden")
    assert "score −0.25" in page.inner_text(".figures") or "score -0.25" in page.inner_text(".figures")
    assert page.inner_text(".counter") == "10 characters · up to 128 tokens a sentence"


def test_an_answer_is_there_300_ms_after_the_key(open_page) -> None:
    page = open_page()
    page.fill("#source", "in 3 hours")
    wait_for_answer(page, "in 3 Stunden")
    took = []
    for count in range(5):
        began = time.perf_counter()
        page.locator("#source").press_sequentially(str(count))
        wait_until(page, "end => document.querySelector('.answer-text').innerText.endsWith(end)", arg=str(count))
        took.append(time.perf_counter() - began)
    assert statistics.median(took) < 0.3


def test_pieces_appear_while_the_answer_is_computed(open_page) -> None:
    page = open_page()
    page.fill("#source", "slow in 3 hours")
    pieces = ["slow", "slow in", "slow in 3"]
    wait_until(page, "pieces => pieces.includes(document.querySelector('.arriving')?.innerText)", pieces)
    wait_for_answer(page, "slow in 3 Stunden")
    assert page.locator(".arriving").count() == 0


def test_a_newer_text_ends_the_older_request(open_page, service: PageService) -> None:
    page = open_page()
    page.fill("#source", "slow " + "one two three four five six " * 10)  # is under way on a slow machine too
    page.wait_for_selector(".arriving")
    before = service.cancelled
    page.fill("#source", "in 3 hours")
    wait_for_answer(page, "in 3 Stunden")
    deadline = time.monotonic() + 5
    while service.cancelled == before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert service.cancelled == before + 1


def test_pointing_at_a_word_shows_what_it_attended_to(open_page) -> None:
    page = open_page()
    page.fill("#source", "in 3 hours")
    wait_for_answer(page, "in 3 Stunden")
    page.locator(".word", has_text="Stunden").hover()
    page.wait_for_selector(".behind mark")
    assert page.locator(".behind mark").all_text_contents() == ["hours"]
    assert page.inner_text(".inspector") == "Stunden ← hours 75% · confidence 99%"
    page.mouse.move(0, 0)
    page.wait_for_selector(".behind mark", state="detached")


def test_uncertain_words_are_underlined_on_demand(open_page) -> None:
    page = open_page()
    page.fill("#source", "in 3 hours")
    wait_for_answer(page, "in 3 Stunden")
    lines = "[...document.querySelectorAll('.word')].map(word => getComputedStyle(word).textDecorationLine)"
    assert page.evaluate(lines) == ["none", "underline", "none"]
    page.locator("#doubts").uncheck()
    assert page.evaluate(lines) == ["none", "none", "none"]


def test_another_word_is_chosen_and_the_model_continues(open_page, service: PageService) -> None:
    page = open_page()
    page.fill("#source", "in 3 hours ago")
    wait_for_answer(page, "in 3 Stunden her")
    page.locator(".word", has_text="Stunden").click()
    page.locator(".choice", has_text="Wochen").wait_for()
    assert page.locator(".choice strong").all_text_contents() == ["Stunden", "Tagen", "Wochen", "Jahren"]
    assert page.locator(".choice[aria-current]").inner_text().startswith("Stunden")
    page.locator(".choice", has_text="Wochen").click()
    wait_for_answer(page, "in 3 Wochen her")
    asked = [call for call in service.calls if call.stream][-1]
    assert asked.settings["prefix"] == "in 3 Wochen"
    page.get_by_role("button", name="Back to the model’s words").click()
    wait_for_answer(page, "in 3 Stunden her")


def test_a_word_of_ones_own(open_page) -> None:
    page = open_page()
    page.fill("#source", "in 3 hours ago")
    wait_for_answer(page, "in 3 Stunden her")
    page.locator(".word", has_text="Stunden").click()
    page.fill("#own-word", "Minuten")
    page.keyboard.press("Enter")
    wait_for_answer(page, "in 3 Minuten her")


def test_other_answers_have_scores_and_can_be_taken(open_page) -> None:
    page = open_page()
    page.fill("#source", "in 3 hours")
    page.locator(".other", has_text="Wochen").wait_for()
    shown = page.locator(".other-text").all_text_contents()
    assert shown == ["in 3 Stunden", "Tagen 3 Stunden", "Wochen 3 Stunden", "Jahren 3 Stunden"]
    assert "score" in page.locator(".other-figures").first.inner_text()
    page.locator(".other", has_text="Wochen").click()
    wait_for_answer(page, "Wochen 3 Stunden")


def test_lines_and_sentences_are_aligned(open_page, service: PageService) -> None:
    page = open_page()
    page.fill("#source", "3 hours\n\nMonday is here. It was 3 months.")
    wait_for_answer(page, "3 Stunden\n\nMontag is here. It was 3 months.")
    assert page.locator(".segment").count() == 3
    assert page.locator(".doubt-2").all_text_contents() == ["Stunden", "is", "was"]
    page.locator(".word", has_text="Montag").hover()
    page.wait_for_selector(".behind mark")
    assert page.locator(".behind .sentence, .behind mark").all_text_contents() == ["Monday", " is here."]
    # A line that did not change is not asked again.
    before = len(service.calls)
    page.locator("#source").press_sequentially("x")
    wait_until(page, "document.querySelector('.answer-text').innerText.includes('months.x')")
    assert all("3 hours" not in call.inputs for call in service.calls[before:])


def test_settings_reach_the_server(open_page, service: PageService) -> None:
    page = open_page()
    page.get_by_text("Settings", exact=True).click()
    page.fill("#setting-beam_size", "2")
    page.fill("#setting-forbidden", "Tage, Uhr")
    page.keyboard.press("Tab")
    page.fill("#source", "in 3 hours")
    wait_for_answer(page, "in 3 Stunden")
    settings = [call for call in service.calls if call.stream][-1].settings
    assert (settings["beam_size"], list(settings["forbidden"])) == (2, ["Tage", "Uhr"])
    page.get_by_label("Sample", exact=False).check()
    page.get_by_role("button", name="Another sample").click()
    deadline = time.monotonic() + SECONDS
    wanted = {"beam_size": 1, "temperature": 0.8, "seed": 1}
    while (settings := [call for call in service.calls if call.stream][-1].settings) != {**settings, **wanted}:
        assert time.monotonic() < deadline, settings
        time.sleep(0.02)
    page.get_by_role("button", name="Back to the model’s settings").click()


def test_a_glossary_goes_to_the_route_for_documents(open_page) -> None:
    page = open_page()
    page.get_by_text("Settings", exact=True).click()
    with page.expect_request("**/v1/translate") as asked:
        page.fill("#source", "in 3 hours")
        page.fill("#setting-glossary", "hours = Uhren")
        page.get_by_label("E-mail addresses").check()
    wait_for_answer(page, "in 3 Uhren")  # after the answer without it
    body = asked.value.post_data_json
    assert (body["glossary"], body["source"], body["target"]) == ({"hours": "Uhren"}, "en", "de")


def test_languages_are_chosen_and_swapped(open_page, service: PageService) -> None:
    page = open_page(model="many")
    page.select_option("#source-language", "de")
    page.select_option("#target-language", "en")
    page.fill("#source", "3 hours")
    wait_for_answer(page, "3 Stunden")
    asked = service.calls[-1].settings
    assert (asked["source_language"], asked["target_language"]) == ("de", "en")
    page.locator("#swap").click()
    wait_until(page, "document.querySelector('#source').value === '3 Stunden'")
    assert page.input_value("#source-language") == "en"
    assert page.get_attribute("#source", "lang") == "en"


def test_what_is_refused_is_explained(open_page) -> None:
    page = open_page(expected=("422",))
    page.fill("#source", "refuse")
    page.wait_for_selector(".answer-text .error")
    words = ["The model cannot answer this as it is.", "the source has 300 tokens, but at most 128 can be read."]
    assert [line for line in answer(page).splitlines() if line] == words


def test_a_line_that_is_refused_leaves_the_others_their_answers(open_page) -> None:
    page = open_page(expected=("422",))
    page.fill("#source", "3 hours\nrefuse\n3 months\nMonday")
    page.get_by_text("Montag").wait_for()
    wait_until(page, "document.querySelectorAll('.segment').length === 3")
    assert page.locator(".answer-text .error").count() == 1
    assert page.locator(".segment").all_inner_texts() == ["3 Stunden", "3 Monaten", "Montag"]
    assert "cannot answer this as it is" in answer(page)


def test_an_error_inside_a_stream_is_explained(open_page) -> None:
    page = open_page()
    page.fill("#source", "3 hours\nbroken")
    page.wait_for_selector(".answer-text .error")
    assert "Something went wrong on the server." in answer(page)
    assert "3 Stunden" in answer(page)


def test_a_busy_server_is_asked_again(open_page, service: PageService) -> None:
    page = open_page(expected=("429",))
    service.busy = 1
    page.fill("#source", "busy hours")
    page.locator(".notice[data-kind=waiting]", has_text="Next try in").wait_for()
    wait_for_answer(page, "busy Stunden")
    wait_until(page, "document.querySelector('.notice') === null")


def test_a_lost_connection_is_waited_for(open_page) -> None:
    page = open_page(expected=("ERR_INTERNET_DISCONNECTED",))
    page.context.set_offline(True)
    page.fill("#source", "in 3 hours")
    page.get_by_text("The server cannot be reached. Next try").wait_for()
    page.context.set_offline(False)
    wait_for_answer(page, "in 3 Stunden")
