"""Our own routes: answers, streams, scores, attention, models, health."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from serving.http.fake import FakeService
from serving.http.live import LiveServer, running


def events(text: str) -> list[Any]:
    """The objects of a stream of server-sent events, and its last line."""
    found: list[Any] = [block.removeprefix("data: ") for block in text.strip().split("\n\n")]
    return [each if each == "[DONE]" else json.loads(each) for each in found]


def test_one_input_and_several(server: LiveServer) -> None:
    one = server.post("/v1/generate", inputs="in 3 hours").json()
    assert [answer["text"] for answer in one["answers"]] == ["IN 3 HOURS"] and one["model"] == "dates"
    several = server.post("/v1/generate", inputs=["a", "b c", ""], n_best=2).json()["answers"]
    assert [answer["text"] for answer in several] == ["A", "B C", ""]
    assert [other["text"] for other in several[1]["alternatives"]] == ["B C 2"]
    assert server.post("/v1/generate", inputs=[]).json()["answers"] == []


def test_settings_reach_the_model_with_their_types(server: LiveServer, service: FakeService) -> None:
    settings = {"beam_size": 2, "length_penalty": 1, "required": [["x"], None], "prefix": "y", "temperature": None}
    server.post("/v1/generate", inputs=["a", "b"], details=["alignment"], first_row=7, **settings)
    call = service.calls[-1]
    assert call.settings == {**settings, "required": (("x",), None)} and call.first_row == 7
    assert isinstance(call.settings["length_penalty"], float)
    assert call.details == ("alignment",) and call.timeout_seconds == 120


def test_details_and_warnings_are_in_the_answer(server: LiveServer) -> None:
    body = server.post("/v1/generate", inputs=["warn"], details=["alignment", "token_confidence"]).json()
    (answer,) = body["answers"]
    assert answer["alignment"] == [{"source": [0, 4], "target": [0, 4], "weight": 1.0}]
    assert answer["token_confidence"] == [0.9] and answer["warnings"] == ["the text was cut."]


def test_a_stream_is_pieces_then_the_answer_then_the_end(server: LiveServer) -> None:
    with server.client.stream("POST", "/v1/generate", json={"inputs": ["a b", "c"], "stream": True}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        found = events(response.read().decode())
    assert found[-1] == "[DONE]"
    pieces = [each for each in found[:-1] if "text" in each]
    assert "".join(each["text"] for each in pieces if each["index"] == 0) == "A B "
    assert [each["answer"]["text"] for each in found[:-1] if "answer" in each] == ["A B", "C"]


def test_a_stream_of_nothing_only_ends(server: LiveServer) -> None:
    assert server.post("/v1/generate", inputs=[], stream=True).text == "data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("text", "status", "code", "wait"),
    [
        ("refuse", 422, "invalid", None),
        ("overload", 429, "overloaded", "3"),
        ("die", 503, "unavailable", "1"),
        ("late", 504, "timeout", None),
        ("crash", 500, "internal", None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_a_service_raises(
    server: LiveServer, text: str, status: int, code: str, wait: str | None, stream: bool
) -> None:
    response = server.post("/v1/generate", inputs=[text], stream=stream)
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert response.headers.get("retry-after") == wait
    assert "secret" not in response.text and "Traceback" not in response.text


def test_an_error_after_the_start_of_a_stream_is_an_event(server: LiveServer) -> None:
    text = server.post("/v1/generate", inputs=["a", "overload"], stream=True).text
    *_, last = text.strip().split("\n\n")
    name, data = last.split("\n")
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: "))["error"]["code"] == "overloaded"
    assert "[DONE]" not in text


def test_a_fault_after_the_start_of_a_stream_ends_it(server: LiveServer) -> None:
    text = server.post("/v1/generate", inputs=["a", "crash"], stream=True).text
    assert '"code":"internal"' in text and "secret" not in text and "[DONE]" not in text


def test_recordings_are_data_urls(server: LiveServer, service: FakeService) -> None:
    url = "data:audio/wav;base64," + base64.b64encode(b"RIFF1234").decode()
    assert server.post("/v1/generate", model="ears", inputs=[url]).json()["answers"][0]["text"] == "HEARD 8 BYTES"
    assert service.calls[-1].inputs == [b"RIFF1234"]
    flac = url.replace("wav", "flac")
    assert server.post("/v1/generate", model="ears", inputs=[flac]).json()["answers"][0]["text"] == "HEARD 8 BYTES"
    for wrong in ("plain", "data:audio/wav;base64,?", "data:text/plain;base64,eA==", "data:audio/;base64,eA=="):
        response = server.post("/v1/generate", model="ears", inputs=[wrong])
        assert response.status_code == 422 and response.json()["error"]["field"] == "inputs"


def test_scores(server: LiveServer) -> None:
    assert server.post("/v1/score", sources=["a", "b"], targets=["cc", "d"]).json() == {"scores": [-2.0, -1.0]}
    assert server.post("/v1/score", sources=[], targets=[]).json() == {"scores": []}
    response = server.post("/v1/score", sources=["a"], targets=["b", "c"])
    assert response.status_code == 422 and "1 sources, but has 2" in response.json()["error"]["message"]


def test_attention(server: LiveServer) -> None:
    maps = server.post("/v1/attention", source="a b", overflow="truncate").json()
    assert maps["source_tokens"] == ["a", "b"] and maps["encoder"] is None
    assert maps["cross"] == [[[[1.0, 1.0], [1.0, 1.0]]]]


def test_models_have_their_facts(server: LiveServer) -> None:
    models = server.client.get("/v1/models").json()["models"]
    assert [(model["name"], model["default"]) for model in models] == [
        ("dates", True), ("echo", False), ("ears", False), ("eyes", False), ("later", False),
    ]  # fmt: skip
    assert models[0]["source_languages"] == ["en"] and models[0]["target_languages"] == ["de"]
    assert models[0]["limits"]["max_new_tokens"] == 512 and models[0]["limits"]["max_items"] == 128
    assert models[4]["task"] is None and "card" not in models[0]
    assert server.client.get("/v1/models/dates").json()["card"]["metrics"] == {"bleu": 92.3}
    missing = server.client.get("/v1/models/nope")
    assert missing.status_code == 404 and missing.json()["error"]["field"] == "model"


def test_a_model_that_is_not_loaded_is_not_ready(server: LiveServer) -> None:
    response = server.post("/v1/generate", model="later", inputs=["a"])
    assert response.status_code == 503 and int(response.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/generate", {"inputs": "a"}),
        ("/v1/score", {"sources": "a", "targets": "b"}),
        ("/v1/attention", {"source": "a"}),
        ("/v1/translate", {"text": "a", "alternatives": 1}),
    ],
)
def test_a_call_may_load_its_model(path: str, body: dict[str, Any]) -> None:
    service = FakeService()
    service.on_demand = {"later"}
    with running(service) as server:
        assert server.post(path, model="later", **body).status_code == 200
        assert server.client.get("/v1/models/later").json()["state"] == "ready"


def test_a_call_without_a_time_out_of_its_own_ends_too() -> None:
    service = FakeService()
    service.pause()
    with running(service, request_timeout_seconds=0.2) as server:
        response = server.post("/v1/attention", source="a")
        assert response.status_code == 504 and "0.2 seconds" in response.json()["error"]["message"]


def test_health_and_readiness(server: LiveServer, service: FakeService) -> None:
    assert server.client.get("/health").json() == {"status": "ok"}
    assert server.client.get("/ready").json()["ready"] is True  # a model that nobody loads is not waited for
    service._set("echo", "restarting")
    try:
        response = server.client.get("/ready")
        assert response.status_code == 503 and "retry-after" in response.headers
        assert response.json()["models"]["echo"] == "restarting"
    finally:
        service._set("echo", "ready")


def test_metrics_have_bounded_labels(server: LiveServer) -> None:
    for number in range(3):
        server.client.get(f"/nothing/{number}")
        server.client.get(f"/v1/models/no{number}")
    server.post("/v1/generate", inputs=["abc"])
    text = server.client.get("/metrics").text
    assert 'antiphon_requests_total{route="unmatched",status="404"} 3.0' in text
    assert 'antiphon_requests_total{route="/v1/models/{name}",status="404"}' in text
    assert 'antiphon_characters_total{direction="read",model="dates"}' in text
    assert 'antiphon_model_state{model="later",state="unloaded"} 1.0' in text
    assert 'antiphon_queue_depth{model="dates"} 0.0' in text and 'antiphon_model_steps_total{model="dates"} 7.0' in text
    assert "antiphon_cache_hits_total 2.0" in text and "antiphon_cache_entries 3.0" in text
    assert "nope" not in text and "no1" not in text
