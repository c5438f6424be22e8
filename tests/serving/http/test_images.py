"""Images as data URLs; and that no route takes the name of a file, or an address, for one."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from serving.http.fake import DATES, FakeService
from serving.http.live import LiveServer, running
from serving.http.test_generate import events

from antiphon.serving.service import ModelStatus


def url(content: bytes = b"PNG12345", kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def test_images_are_data_urls(server: LiveServer, service: FakeService) -> None:
    for kind in ("image/png", "image/jpeg", "image/svg+xml"):  # the model reads the format from the content
        found = server.post("/v1/generate", model="eyes", inputs=[url(kind=kind)], prompt="what is this?").json()
        assert found["answers"][0]["text"] == "SAW 8 BYTES"
        assert service.calls[-1].inputs == [b"PNG12345"] and service.calls[-1].settings == {"prompt": "what is this?"}
    streamed = server.post("/v1/generate", model="eyes", inputs=url(), stream=True).text
    assert events(streamed)[-2]["answer"]["text"] == "SAW 8 BYTES"
    assert server.post("/v1/score", model="eyes", sources=[url()], targets=["ab"]).json() == {"scores": [-2.0]}
    maps = server.post("/v1/attention", model="eyes", source=url(), target="ab").json()
    assert maps["source_tokens"] == ["8 bytes"]
    heard = server.post("/v1/attention", model="ears", source=url(kind="audio/wav")).json()
    assert heard["source_tokens"] == ["8 bytes"]


def test_a_file_that_cannot_be_read_is_a_bad_request(server: LiveServer) -> None:
    for model, kind in (("eyes", "image/png"), ("ears", "audio/wav")):
        response = server.post("/v1/generate", model=model, inputs=[url(b"broken", kind)])
        error = response.json()["error"]
        assert response.status_code == 400 and error["code"] == "unreadable" and error["field"] == "inputs"


def test_images_beyond_the_limits(service: FakeService) -> None:
    with running(service, max_body_bytes=10_000, max_characters=100, max_items=2) as server:
        large, small = url(b"x" * 20_000), url(b"x" * 500)
        assert server.post("/v1/generate", model="eyes", inputs=large).status_code == 413
        assert server.post("/v1/generate", model="eyes", inputs=[small] * 3).status_code == 413
        assert server.post("/v1/generate", model="eyes", inputs=[small] * 2).status_code == 200
        assert server.post("/v1/score", model="eyes", sources=small, targets="a").status_code == 200
        assert server.post("/v1/attention", model="eyes", source=small).status_code == 200
        # The limit of texts holds for what a model of texts reads, whatever it begins with.
        for path, body in (
            ("/v1/generate", {"inputs": small}),
            ("/v1/score", {"sources": small, "targets": "a"}),
            ("/v1/attention", {"source": small}),
        ):
            response = server.post(path, **body)
            assert response.status_code == 413 and "must have at most 100 characters" in response.text, path


@pytest.mark.parametrize("model", ["eyes", "ears"])
def test_no_route_takes_a_name_or_an_address(tmp_path: Path, model: str) -> None:
    service = FakeService()
    file = tmp_path / "secret.png"
    file.write_bytes(b"PNG")
    names = [
        str(file), file.as_uri(), "http://127.0.0.1:9/a.png", f"{tmp_path}/a.tar!a.png", "hello", "",
        url(kind={"eyes": "audio/wav", "ears": "image/png"}[model]), "data:image/png,abc", "data:;base64,eA==",
        "data:image/png;base64,?", f"data:image/png;base64,{file}", f" {url()}",
    ]  # fmt: skip
    service._models = {model: service._models[model]}  # the default one, which the routes of translations ask
    with running(service, languages=["en-de"]) as server:
        for name in names:
            for path, body in _requests(name, model):
                response = server.post(path, **body)
                assert response.status_code in (400, 422), (path, name, response.text)
                message = response.text
                assert "\\n" not in message and "secret" not in message and len(message) < 300, (path, message)
            pair = {"source": "en", "target": "de"}
            text = {"file": ("a.txt", (name or "x").encode())}
            response = server.client.post("/translate_file", data=pair, files=text)
            assert response.status_code == 422 and "secret" not in response.text, response.text
            named = {"model": (None, model), "file": (None, name)}  # a field of the form, and not a file
            response = server.client.post("/v1/audio/transcriptions", files=named)
            assert response.status_code == 400 and "secret" not in response.text, response.text
    given = [one for call in service.calls for one in call.inputs]
    assert all(isinstance(one, str) for one in given)  # which the service refuses: no bytes were made of a name


def _requests(name: str, model: str) -> list[tuple[str, dict[str, Any]]]:
    pair = {"source": "en", "target": "de"}
    return [
        ("/v1/generate", {"inputs": name, "model": model}),
        ("/v1/generate", {"inputs": [name], "stream": True}),
        ("/v1/score", {"sources": name, "targets": "a"}),
        ("/v1/attention", {"source": name}),
        *([] if not name else [
            ("/translate", {"q": name, **pair}),
            ("/v1/translate", {"text": name, **pair}),
            ("/v2/translate", {"text": [name], "source_lang": "EN", "target_lang": "DE"}),
        ]),
    ]  # fmt: skip


def test_a_model_of_texts_with_images_takes_both(service: FakeService) -> None:
    service._models["both"] = ModelStatus(name="both", state="ready", info=replace(DATES, images=True))
    with running(service, max_characters=100) as server:
        asked = ["hello", url(b"x" * 500), url()]
        found = server.post("/v1/generate", model="both", inputs=asked, prompt=["", "what is this?", "and this?"])
        assert [one["text"] for one in found.json()["answers"]] == ["HELLO", "HEARD 500 BYTES", "HEARD 8 BYTES"]
        assert service.calls[-1].inputs == ["hello", b"x" * 500, b"PNG12345"]
        assert server.post("/v1/score", model="both", sources=asked[:2], targets=["ab", "c"]).status_code == 200
        for text, status in (("x" * 101, 413), ("data:image/png,abc", 422), (url(kind="audio/wav") + "x" * 90, 413)):
            assert server.post("/v1/generate", model="both", inputs=["hello", text]).status_code == status, text
        assert server.post("/v1/generate", model="dates", inputs=url()).status_code == 200
        assert service.calls[-1].inputs == [url()]
