"""/v1/audio/transcriptions with the times of segments and words; the rest of the route is in test_clients.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest
from serving.http import fake
from serving.http.fake import FakeService
from serving.http.live import LiveServer, running
from serving.http.test_clients import recording

SEGMENTS = [
    {"start": 0.0, "end": 1.5, "text": "One & two.", "temperature": 0.0, "log_probability": -0.5,
     "words": [{"text": "One", "start": 0.0, "end": 0.5}, {"text": "& two.", "start": 0.5, "end": 1.5}]},
    {"start": 61.25, "end": 62.0, "text": "Three.", "temperature": 0.5, "words": []},
]  # fmt: skip


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    """A service with the model `clock`, whose answers have timestamps."""
    made, answer = FakeService(), fake.answer_of

    def timed(text: str, call: Any) -> dict[str, Any]:
        times = {"segments": SEGMENTS, "language": "de"} if "timestamps" in call.settings else {}
        return {**answer(text, call), **times}

    monkeypatch.setattr(fake, "answer_of", timed)
    clock = replace(made.statuses()[2], name="clock", info=replace(fake.SPEECH, timestamps=True))
    made._models["clock"] = clock
    return made


@pytest.fixture
def client(service: FakeService) -> Iterator[openai.OpenAI]:
    server: LiveServer
    with running(service) as server:
        yield openai.OpenAI(api_key="any", base_url=f"{server.url}/v1", max_retries=0)


def test_times(client: openai.OpenAI, service: FakeService) -> None:
    def asked(**fields: Any) -> Any:
        return client.audio.transcriptions.create(model="clock", file=("a.wav", recording(16_000)), **fields)

    srt = "1\n00:00:00,000 --> 00:00:01,500\nOne & two.\n\n2\n00:01:01,250 --> 00:01:02,000\nThree.\n\n"
    assert asked(response_format="srt") == srt
    assert service.calls[-1].settings == {"overflow": "window", "timestamps": "segments"}
    assert asked(response_format="vtt").startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nOne &amp; two.\n\n")
    verbose = asked(response_format="verbose_json")
    assert (verbose.language, verbose.words, verbose.duration) == ("de", None, 1.0)
    assert [(one.id, one.start, one.end, one.text) for one in verbose.segments] == [
        (0, 0.0, 1.5, "One & two."), (1, 61.25, 62.0, "Three."),
    ]  # fmt: skip
    assert verbose.segments[0].avg_logprob == -0.5
    both = asked(response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert service.calls[-1].settings == {"overflow": "window", "timestamps": "words"}
    assert len(both.segments) == 2 and [(one.word, one.start) for one in both.words] == [("One", 0.0), ("& two.", 0.5)]
    words = asked(response_format="verbose_json", timestamp_granularities=["word"])
    assert words.segments is None and len(words.words) == 2
    assert asked().text.startswith("HEARD") and service.calls[-1].settings == {"overflow": "window"}


def test_times_that_are_refused(client: openai.OpenAI) -> None:
    for model, fields in (
        ("ears", {"response_format": "srt"}),
        ("ears", {"response_format": "verbose_json", "timestamp_granularities": ["word"]}),
        ("clock", {"response_format": "json", "timestamp_granularities": ["word"]}),
        ("clock", {"response_format": "verbose_json", "timestamp_granularities": ["letter"]}),
    ):
        with pytest.raises(openai.BadRequestError, match=list(fields)[-1]):
            client.audio.transcriptions.create(model=model, file=("a.wav", recording(9)), **fields)
