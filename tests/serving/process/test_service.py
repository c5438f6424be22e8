"""Calls through the service: answers, streams, errors, the cache, and what is refused."""

from __future__ import annotations

import asyncio
import math
import os
import time
from pathlib import Path
from typing import Any

import pytest
from counts import count
from serving.process.tools import DTYPE, TEXTS, Served, collect, continued, first_event, same, stopped, until

from antiphon.generation.model import Model
from antiphon.serving.process.settings import ModelEntry
from antiphon.serving.service import (
    Answered,
    BadInput,
    CallTimeout,
    GenerateCall,
    Overloaded,
    TextPiece,
    Unavailable,
    UnknownModel,
)

SETTINGS: list[dict[str, Any]] = [
    {"beam_size": 1},
    {"beam_size": 3, "n_best": 2},
    {"temperature": 0.8, "seed": 7},
    {"temperature": 1.1, "top_k": 9, "seed": 7, "n_best": 2},
    {"prefix": "in 3"},
    {"prefix": ["in", None, "x", "ein", None, "we", "zw"]},
    {"forbidden": ["e"], "max_new_tokens": 9},
    {"allowed": [["go", "x"], None, ["hours"], None, ["go"], None, ["ab", "abc"]], "beam_size": 2},
    {"max_new_tokens": 3, "length_penalty": 0.2},
]


def test_answers_are_those_of_generate_for_mixed_settings_at_once(served: Served, offline: Model) -> None:
    async def all_of_them() -> list[list[Answered]]:
        calls = [
            collect(served.service, GenerateCall(inputs=TEXTS, settings=each, stream=number % 2 == 0))
            for number, each in enumerate(SETTINGS)
        ]
        return await asyncio.gather(*calls)

    for settings, found in zip(SETTINGS, served.run(all_of_them()), strict=True):
        wanted = offline.generate(TEXTS, **settings)
        assert [each.answer["text"] for each in found] == [each.text for each in wanted], settings
        assert all(same(each.answer, other) for each, other in zip(found, wanted, strict=True)), settings


def test_no_inputs_no_events(served: Served) -> None:
    assert served.answers([]) == []


@pytest.mark.parametrize(
    ("settings", "field", "message"),
    [
        ({"beam_sise": 2}, "beam_sise", "did you mean `beam_size`"),
        ({"beam_size": 0}, "beam_size", "at least 1"),
        ({"beam_size": "x"}, "beam_size", "whole number"),
        ({"n_best": 9, "beam_size": 2}, "n_best", "at most `beam_size`"),
        ({"max_new_tokens": 100_000}, "max_new_tokens", "at most the model's max_length"),
        ({"prefix": ["a", "b", "c"]}, "prefix", "2 inputs, but there are 3"),
        ({"forbidden": [["a"], ["b"], ["c"]]}, "forbidden", "2 inputs, but there are 3"),
        ({"required": ["a" * 300]}, "inputs", "must fit"),
        ({"source_language": "de"}, None, "language"),
    ],
)
def test_a_wrong_setting_is_named(served: Served, settings: dict[str, Any], field: str | None, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        served.answers(["a", "b"], **settings)
    assert caught.value.field == field
    assert served.answers(["a"])


@pytest.mark.parametrize("inputs", [["a", b"RIFF"], [3], [None]])
def test_inputs_are_texts(served: Served, inputs: list[Any]) -> None:
    with pytest.raises(BadInput, match="`inputs` must be texts") as caught:
        served.answers(inputs)
    assert caught.value.field == "inputs"


def test_a_name_of_a_file_is_a_text(served: Served, offline: Model) -> None:
    """A user of the page may type anything; with other texts beside it `generate` reads it too."""
    (found,) = served.answers(["photo.png"])
    assert same(found, offline.generate(["photo.png", "x"])[0])


def test_the_error_of_an_input_names_its_row_and_ends_its_call_alone(served: Served, offline: Model) -> None:
    async def both() -> list[Any]:
        bad = collect(served.service, GenerateCall(inputs=["a", "b", "word " * 400, "c"]))
        good = collect(served.service, GenerateCall(inputs=TEXTS))
        return list(await asyncio.gather(bad, good, return_exceptions=True))

    error, found = served.run(both())
    assert isinstance(error, BadInput) and str(error).startswith("input 3 must have at most 400 tokens")
    assert error.field == "inputs"
    assert all(same(each.answer, other) for each, other in zip(found, offline.generate(TEXTS), strict=True))


def test_an_error_that_calls_share_names_the_row_of_each(served: Served) -> None:
    long = "wrong " * 400

    async def both() -> list[Any]:
        stopped(served.pid())
        calls = [["a", long], ["a", "b", "c", long]]
        tasks = [asyncio.create_task(collect(served.service, GenerateCall(inputs=each))) for each in calls]
        await asyncio.sleep(0.05)
        continued(served.pid())
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, second = served.run(both())
    assert str(first).startswith("input 2 must") and str(second).startswith("input 4 must")


def test_a_repeated_input_comes_from_the_cache(served: Served, offline: Model) -> None:
    before = served.service.cache.hits, served.numbers()["answers"]
    text = "a sentence that is asked for twice"
    first, second = served.answers([text]), served.answers([text])
    assert first == second and same(first[0], offline.generate(text)[0])
    second[0]["tokens"].clear()
    assert served.answers([text]) == first, "each reader has an object of its own"
    assert (served.service.cache.hits, served.numbers()["answers"]) == (before[0] + 2, before[1] + 1)
    (again,) = served.run(collect(served.service, GenerateCall(inputs=[text], cached=False)))
    assert again.answer == first[0] and served.numbers()["answers"] == before[1] + 2
    assert served.answers([text], beam_size=1, max_new_tokens=2) != first


def test_samples_depend_on_the_row_in_the_cache_too(served: Served, offline: Model) -> None:
    settings = {"temperature": 2.0, "seed": 3}
    wanted = [each.text for each in offline.generate(["hello"] * 4, **settings)]
    assert len(set(wanted)) > 1
    for _ in range(2):
        assert [each["text"] for each in served.answers(["hello"] * 4, **settings)] == wanted


def test_equal_inputs_in_flight_share_one_computation(served: Served, offline: Model) -> None:
    text, before = "computed once for all of them", served.numbers()["answers"]

    async def together() -> list[Any]:
        stopped(served.pid())
        gone = asyncio.create_task(collect(served.service, GenerateCall(inputs=[text, text])))
        calls = [GenerateCall(inputs=["another one", text], stream=stream) for stream in (False, True)]
        rest = [asyncio.create_task(collect(served.service, call)) for call in calls]
        await asyncio.sleep(0.05)
        gone.cancel()  # the call that was first: the others still get their answers
        await asyncio.sleep(0.05)
        assert served.numbers()["running"] == 2
        continued(served.pid())
        return await asyncio.gather(*rest)

    wanted = offline.generate(text)[0]
    for found in served.run(together()):
        assert same(found[1].answer, wanted)
    assert served.numbers()["answers"] == before + 2  # and the other one


def test_a_call_that_is_closed_is_cancelled(served: Served) -> None:
    async def closed() -> None:
        stopped(served.pid())
        events = served.service.generate(GenerateCall(inputs=[f"cancelled {i}" for i in range(200)]))
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.05)
        numbers = served.numbers()
        assert numbers["running"] + numbers["queued"] == 200 and numbers["running"] == 64
        waiting.cancel()
        await asyncio.wait([waiting])
        await events.aclose()
        assert (served.numbers()["running"], served.numbers()["queued"]) == (0, 0)
        continued(served.pid())

    before = served.numbers()["cancelled"], served.numbers()["answers"]
    served.run(closed())
    assert served.answers(["hello"])
    assert served.numbers()["cancelled"] == before[0] + 1
    assert served.numbers()["answers"] <= before[1] + 1


def test_a_stream_that_is_left_early_is_cancelled(served: Served) -> None:
    event = served.run(first_event(served.service, GenerateCall(inputs=["left early"] * 3, stream=True)))
    assert isinstance(event, TextPiece)
    assert (served.numbers()["running"], served.numbers()["queued"]) == (0, 0)


def test_a_call_has_a_time_limit(served: Served) -> None:
    async def late() -> float:
        stopped(served.pid())
        began = time.monotonic()
        with pytest.raises(CallTimeout, match="not ready in time"):
            await collect(served.service, GenerateCall(inputs=["too late"], timeout_seconds=0.2))
        continued(served.pid())
        return time.monotonic() - began

    assert 0.2 <= served.run(late()) < 1
    assert served.numbers()["running"] == 0
    assert served.answers(["too late"])


def test_an_unknown_model_is_named(served: Served) -> None:
    with pytest.raises(UnknownModel, match="no model `tinny`, did you mean `tiny`"):
        served.run(collect(served.service, GenerateCall(inputs=["a"], model="tinny")))


def test_scores_are_those_of_the_model(served: Served, offline: Model) -> None:
    sources, targets = TEXTS * 5, [*reversed(TEXTS)] * 5
    assert served.run(served.service.score(sources, targets)) == pytest.approx(offline.score(sources, targets))
    assert served.run(served.service.score([], [])) == []
    with pytest.raises(BadInput, match="`targets` must be texts, but number 1 is a NoneType"):
        served.run(served.service.score(["a"], [None]))  # type: ignore[list-item]
    with pytest.raises(BadInput, match="2 sources and 1 targets"):
        served.run(served.service.score(["a", "b"], ["a"]))
    with pytest.raises(BadInput, match=r"^target 21 must have at most 400"):
        served.run(served.service.score(["a"] * 30, [*["b"] * 20, "c" * 500, *["d"] * 9]))


def test_attention_maps_are_those_of_the_model(served: Served, offline: Model) -> None:
    found, wanted = served.run(served.service.attention("hello", "we go")), offline.attention("hello", "we go")
    assert (found["source_tokens"], found["target_tokens"]) == (wanted.source_tokens, wanted.target_tokens)
    for role in ("cross", "encoder", "decoder"):
        weights = getattr(wanted, role)
        assert len(found[role]) == weights.shape[0] and len(found[role][0]) == weights.shape[1]
        assert found[role][0][1][2] == pytest.approx(weights[0, 1, 2].tolist(), abs=1e-5)
    with pytest.raises(BadInput, match="`target` must be texts, but number 1 is a int"):
        served.run(served.service.attention("a", 3))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="at least one token"):
        served.run(served.service.attention(""))


def test_facts_about_the_model(served: Served, offline: Model) -> None:
    (status,) = served.service.statuses()
    assert (status.name, status.state, status.error, status.restarts) == ("tiny", "ready", None, 0)
    info = status.info
    assert info is not None
    assert (info.task, info.input, info.labels) == ("text", "text", ())
    assert info.limits == {"max_source_tokens": 400, "max_new_tokens": 400}
    assert info.generation["beam_size"] == offline.generation.beam_size
    assert info.card["parameters"] == sum(each.numel() for each in offline.network.parameters())
    assert info.card["attention"] == {"encoder": "full", "decoder": "full", "cross": "full"}
    assert info.card["tokenizers"]["target"] == {"kind": "bytes", "vocab_size": offline.target_tokenizer.vocab_size}


def test_more_than_can_wait_is_refused_at_once(served: Served) -> None:
    settings = served.service.settings

    async def full() -> float:
        stopped(served.pid())
        most = settings.max_running + settings.max_queue
        inputs = [f"number {i}" for i in range(most)]
        task = asyncio.create_task(collect(served.service, GenerateCall(inputs=inputs)))
        await until(lambda: served.numbers()["queued"] == settings.max_queue)
        began = time.monotonic()
        with pytest.raises(Overloaded, match=r"512 inputs wait already, of at most 512\. Try again in") as caught:
            await collect(served.service, GenerateCall(inputs=["one more"]))
        seconds = time.monotonic() - began
        assert caught.value.retry_after_seconds is not None and caught.value.retry_after_seconds > 0
        # What needs no computation is answered.
        assert await collect(served.service, GenerateCall(inputs=["hello"]))
        task.cancel()
        await asyncio.wait([task])
        continued(served.pid())
        return seconds

    served.answers(["hello"])
    assert served.run(full()) < 0.05
    with pytest.raises(BadInput, match="must have at most 576 inputs, but has 577"):
        served.answers([f"y {i}" for i in range(577)])
    with pytest.raises(BadInput, match="at most 4000000 characters, but have 4000001"):
        served.answers(["x" * 4_000_001])


def test_a_call_of_many_inputs_does_not_starve_others(served: Served) -> None:
    async def race() -> tuple[int, int]:
        stopped(served.pid())
        many = asyncio.create_task(collect(served.service, GenerateCall(inputs=[f"long call {i}" for i in range(300)])))
        await asyncio.sleep(0.05)
        few = asyncio.create_task(collect(served.service, GenerateCall(inputs=[f"short call {i}" for i in range(3)])))
        await asyncio.sleep(0.05)
        before = served.numbers()["answers"]
        continued(served.pid())
        await few
        done = served.numbers()["answers"] - before
        await many
        return done, served.numbers()["answers"] - before

    done, total = served.run(race())
    assert total == 303
    assert done < 64 + 2 * 64 + 6, "the short call waits for what runs, and then takes every second turn"


def test_a_service_that_drains_finishes_what_it_has(folder: Path) -> None:
    other = Served(ModelEntry(name="tiny", path=str(folder), dtype=DTYPE)).ready()
    try:

        async def drained() -> list[Answered]:
            task = asyncio.create_task(collect(other.service, GenerateCall(inputs=[f"drain {i}" for i in range(100)])))
            await asyncio.sleep(0.01)
            draining = asyncio.create_task(other.service.drain(30))
            await asyncio.sleep(0)
            with pytest.raises(Unavailable, match="shutting down"):
                await collect(other.service, GenerateCall(inputs=["new"]))
            await draining
            assert task.done()
            return await task

        assert len(other.run(drained())) == 100
    finally:
        other.close()
    with pytest.raises(Unavailable, match="shutting down"):
        asyncio.run(collect(other.service, GenerateCall(inputs=["new"])))


def test_details_of_answers(served: Served, offline: Model) -> None:
    inputs, settings = ["hello, world", "", "in 3 hours we go. Ein Haus. We go."], {"n_best": 2, "beam_size": 3}
    parts = {"overflow": "split", "max_source_tokens": 12}
    details = ("alignment", "token_confidence")
    for given in (settings, {**settings, "forbidden": ["e"]}, {**settings, **parts}, {"beam_size": 1, "prefix": "in "}):
        call = GenerateCall(inputs=inputs, settings=given, details=details)
        for text, found in zip(inputs, served.run(collect(served.service, call)), strict=True):
            answer = found.answer
            confidence = answer["token_confidence"]
            assert len(confidence) == len(answer["tokens"]) and all(0 < each <= 1 for each in confidence)
            # What is missing is the probability of special tokens: that of each part's end.
            assert math.prod(confidence) >= math.exp(answer["score"]) * (1 - 1e-9)
            for span in answer["alignment"]:
                (a, b), (c, d) = span["source"], span["target"]
                assert 0 <= a < b <= len(text) and 0 <= c < d <= len(answer["text"]) and 0 < span["weight"] <= 1
    wanted = offline.score(["hello, world"], [""])  # the model still answers as before
    assert served.run(served.service.score(["hello, world"], [""])) == pytest.approx(wanted)
    with pytest.raises(
        BadInput, match=r"`details` must be of alignment, token_confidence, seconds, but has the text `heat`"
    ):
        served.run(collect(served.service, GenerateCall(inputs=["a"], details=("heat",))))  # type: ignore[arg-type]


def test_pieces_come_while_the_answer_is_decoded(served: Served) -> None:
    settings = {"beam_size": 1, "min_new_tokens": 300, "max_new_tokens": 301}

    async def pieces() -> tuple[int, float, float]:
        began, first, number = time.monotonic(), 0.0, 0
        async for event in served.service.generate(GenerateCall(inputs=["a stream"], settings=settings, stream=True)):
            if isinstance(event, TextPiece):
                first, number = first or time.monotonic() - began, number + 1
        return number, first, time.monotonic() - began

    number, first, whole = served.run(pieces())
    assert number > 20 and first < whole / 4


LONG = {"beam_size": 4, "min_new_tokens": 380, "max_new_tokens": 381}


def test_decoding_stops_when_a_call_is_closed(served: Served) -> None:
    """Row 18: within one step or 250 ms the process computes no more."""

    def computed() -> float:
        """Seconds of the process's work."""
        fields = Path(f"/proc/{served.pid()}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def close(number: int) -> float:
        gone = GenerateCall(inputs=[f"gone {number}", f"gone too {number}"], settings=LONG, stream=True)
        await first_event(served.service, gone)
        await asyncio.sleep(0.25)
        before = computed()
        await asyncio.sleep(0.1)
        return computed() - before

    before = served.numbers()["cancelled"]
    for number in range(count("client_aborts")):
        assert served.run(close(number)) <= 0.02, "the clock of the system has steps of 0.01 s"
    assert served.numbers()["cancelled"] == before + count("client_aborts")


def test_calls_that_are_closed_change_no_others(served: Served, offline: Model) -> None:
    async def others() -> list[Answered]:
        other = asyncio.create_task(collect(served.service, GenerateCall(inputs=["goes on"], settings=LONG)))
        for number in range(count("client_aborts")):
            gone = GenerateCall(inputs=[f"{number} is gone"] * 2, settings=LONG, stream=True)
            await first_event(served.service, gone)
        return await other

    (found,) = served.run(others(), seconds=600)
    assert same(found.answer, offline.generate(["goes on"], **LONG)[0])


def test_scores_and_maps_between_the_steps_of_answers(served: Served, offline: Model) -> None:
    async def together() -> list[Any]:
        calls = [
            collect(served.service, GenerateCall(inputs=TEXTS, settings={"min_new_tokens": 60, "max_new_tokens": 80}))
        ]
        others = [served.service.score(TEXTS, [*reversed(TEXTS)]) for _ in range(5)]
        maps = [served.service.attention("hello") for _ in range(3)]
        return await asyncio.gather(*calls, *others, *maps)

    found, *others = served.run(together())
    wanted = offline.generate(TEXTS, min_new_tokens=60, max_new_tokens=80)
    assert all(same(each.answer, own) for each, own in zip(found, wanted, strict=True))
    assert all(scores == pytest.approx(offline.score(TEXTS, [*reversed(TEXTS)])) for scores in others[:5])
    assert all(maps["target_tokens"] == offline.attention("hello").target_tokens for maps in others[5:])


def test_a_call_may_be_a_part_of_a_longer_list(served: Served, offline: Model) -> None:
    settings: dict[str, Any] = {"temperature": 2.0, "seed": 11}
    call = GenerateCall(inputs=["hello"] * 3, settings=settings, first_row=5)
    wanted = offline.generate(["hello"] * 3, first_row=5, **settings)
    found = served.run(collect(served.service, call))
    assert [each.answer["text"] for each in found] == [each.text for each in wanted]
    with pytest.raises(BadInput, match=r"^input 7 must have at most"):
        served.run(collect(served.service, GenerateCall(inputs=["a", "long " * 400], first_row=5)))
    prefixes = {"prefix": ["in", "we"]}
    found = served.run(collect(served.service, GenerateCall(inputs=["a", "b"], settings=prefixes, first_row=3)))
    assert [each.answer["text"][:2] for each in found] == ["in", "we"]


def test_long_sources_of_scores_and_maps(served: Served, offline: Model) -> None:
    long, settings = "hello " * 100, {"overflow": "truncate", "max_source_tokens": 20}
    scores = served.run(served.service.score([long], ["a"], settings=settings))
    assert scores == pytest.approx(offline.score([long], ["a"], **settings))
    maps = served.run(served.service.attention(long, "a", settings=settings))
    assert len(maps["source_tokens"]) == 20
    with pytest.raises(BadInput, match="`overflow` must be one of") as caught:
        served.run(served.service.score([long], ["a"], settings={"overflow": "x"}))
    assert caught.value.field == "overflow"
    with pytest.raises(BadInput, match="`overflo` is no setting of this call, did you mean `overflow`"):
        served.run(served.service.attention(long, settings={"overflo": "truncate"}))
