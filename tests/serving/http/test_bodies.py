"""What is wrong with a body: a 4xx that names the field, and never a fault of the server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from serving.http.live import LiveServer

JSON = {"Content-Type": "application/json"}
ROUTES = ["/v1/generate", "/v1/score", "/v1/attention", "/v1/translate", "/translate", "/detect", "/v2/translate"]
BROKEN = {
    "nothing": b"",
    "no JSON": b"{",
    "two objects": b"{} {}",
    "a list": b"[]",
    "a text": b'"in 3 hours"',
    "null": b"null",
    "NaN": b'{"inputs": NaN}',
    "infinity": b'{"beam_size": -Infinity}',
    "no UTF-8": b'{"inputs": "\xff"}',
    "UTF-16": '{"inputs": "a"}'.encode("utf-16"),
    "half a surrogate pair": b'{"inputs": "\\ud800"}',
    "half a surrogate pair in a key": b'{"\\udfff": 1}',
    "a key twice": b'{"inputs": "a", "inputs": "b"}',
    "depth": b'{"inputs": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "some depth": b'{"glossary": ' + b'{"a":' * 30 + b"1" + b"}" * 31,
    "a number without end": b'{"beam_size": ' + b"9" * 10_000 + b"}",
    "a huge exponent": b'{"length_penalty": 1e999}',
    "an unknown field": b'{"unheard_of": 1}',
    "a long unknown field": b'{"' + b"x" * 100_000 + b'": 1}',
}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("content", BROKEN.values(), ids=list(BROKEN))
def test_broken_bodies(server: LiveServer, path: str, content: bytes) -> None:
    response = server.client.post(path, content=content, headers=JSON)
    assert response.status_code in (400, 422), response.text
    error = response.json()
    message = error["message"] if path.startswith("/v2") else error["error"]
    assert (message if isinstance(message, str) else message["message"]).endswith((".", "?"))
    assert len(response.content) < 5000


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"inputs": 3}, "inputs", "must be a text, but is 3"),
        ({"inputs": ["a", 3]}, "inputs", "must be"),
        ({"inputs": None}, "inputs", "must be a text, but is empty"),
        ({"inputs": {"a": 1}}, "inputs", "must be a text"),
        ({}, "inputs", "must be given"),
        ({"inputs": "a", "stream": "yes"}, "stream", "true or false"),
        ({"inputs": "a", "stream": 1}, "stream", "true or false"),
        ({"inputs": "a", "details": ["everything"]}, "details", "one of alignment, token_confidence"),
        ({"inputs": "a", "beam_size": 0}, "beam_size", "at least 1 and at most 4096, but is 0"),
        ({"inputs": "a", "beam_size": 2.5}, "beam_size", "a whole number"),
        ({"inputs": "a", "beam_size": True}, "beam_size", "a whole number"),
        ({"inputs": "a", "temperature": -1}, "temperature", "above 0"),
        ({"inputs": "a", "seed": 10**100}, "seed", "at most 9223372036854775807"),
        ({"inputs": "a", "overflow": "cut"}, "overflow", "one of error, truncate"),
        ({"inputs": "a", "allowed": "b"}, "allowed", "a list"),
        ({"inputs": "a", "model": ["dates"]}, "model", "a text"),
        ({"inputs": "a", "model": "nope"}, "model", "one of dates, echo"),
        ({"inputs": "a", "batch_size": 3}, "batch_size", "is not a known field"),
        ({"inputs": "a", "beam": 3}, "beam", "did you mean `beam_"),
    ],
)
def test_wrong_fields_of_generate_are_named(server: LiveServer, body: dict[str, Any], field: str, words: str) -> None:
    response = server.client.post("/v1/generate", json=body)
    assert response.status_code in (404, 422)
    error = response.json()["error"]
    assert error["field"] == field and words in error["message"]


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({}, "text", "must be given, or `texts`"),
        ({"text": "a", "texts": ["b"]}, "text", "not both"),
        ({"text": "a", "glossary": ["b"]}, "glossary", "an object"),
        ({"text": "a", "glossary": {"b": 1}}, "glossary", "texts"),
        ({"text": "a", "glossary": {" ": "b"}}, "glossary", "empty phrase"),
        ({"text": "a", "protect": ["everything"]}, "protect", "one of placeholders"),
        ({"text": "a", "format": "pdf"}, "format", "one of text, html"),
        ({"text": "a", "prefix": "b"}, "prefix", "Use /v1/generate"),
        ({"text": "a", "target": "fr"}, "target", "must be one of de"),
        ({"text": "a", "source": "fr"}, "source", "must be one of en"),
        ({"text": "a", "model": "ears"}, "model", "translates texts"),
    ],
)
def test_wrong_fields_of_documents_are_named(server: LiveServer, body: dict[str, Any], field: str, words: str) -> None:
    response = server.client.post("/v1/translate", json=body)
    assert response.status_code == 422, response.text
    error = response.json()["error"]
    assert error["field"] == field and words in error["message"]


def test_other_types_of_bodies_are_refused(server: LiveServer) -> None:
    for path in ("/v1/generate", "/v1/translate"):
        response = server.client.post(path, data={"inputs": "a"})
        assert response.status_code == 415 and "application/json" in response.json()["error"]["message"]
    response = server.client.post("/translate", content=b"<q/>", headers={"Content-Type": "text/xml"})
    assert response.status_code == 415 and "text/xml" in response.json()["error"]
    assert server.client.post("/v1/files", data={"source": "en"}).status_code == 415


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"q=%ff&source=en&target=de", "application/x-www-form-urlencoded"),
        (b"q=\xff&source=en&target=de", "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % number for number in range(2000)), "application/x-www-form-urlencoded"),
        (b"q=a&q=b&source=en&source=de&target=de", "application/x-www-form-urlencoded"),
        (b"rubbish", "multipart/form-data"),
        (b"rubbish", "multipart/form-data; boundary=x"),
        (b"--x\r\n\r\n--x--", "multipart/form-data; boundary=x"),
        (b'--x\r\nContent-Disposition: form-data; name="q"\r\n\r\na', "multipart/form-data; boundary=x"),
        (b'--x\r\nContent-Disposition: form-data; name="q"; filename="f"\r\n\r\na\r\n--x--\r\n',
         "multipart/form-data; boundary=x"),
        (b'--x\r\nContent-Disposition: form-data; name="q"\r\n\r\na\r\n--x--\r\n',
         "multipart/form-data; boundary=x; charset=unheard-of"),
        (b"--x\r\n" + b"A: b\r\n" * 5000, "multipart/form-data; boundary=x"),
    ],
)  # fmt: skip
def test_broken_forms(server: LiveServer, content: bytes, kind: str) -> None:
    for path in ("/translate", "/translate_file", "/v1/files", "/v1/audio/transcriptions"):
        response = server.client.post(path, content=content, headers={"Content-Type": kind})
        assert response.status_code in (400, 413, 415, 422), (path, response.text)
        assert response.headers["content-type"] == "application/json"


def test_forms_and_queries_have_the_types_of_their_fields(server: LiveServer) -> None:
    form = {"q": "12", "source": "en", "target": "de", "alternatives": "1"}
    expected = {"translatedText": "12", "alternatives": ["12 2"]}
    assert server.client.post("/translate", data=form).json() == expected
    assert server.client.post("/translate", params=form).json() == expected
    files = {name: (None, value) for name, value in form.items()}
    assert server.client.post("/translate", files=files).json() == expected
    assert server.client.post("/translate", data={**form, "q": ["a", "b"]}).json()["translatedText"] == ["A", "B"]
    assert server.client.post("/translate", data={**form, "q": "no"}).json()["translatedText"] == "NO"
    assert server.client.post("/translate", data={**form, "q": ""}).json()["translatedText"] == ""
    assert server.client.post("/translate", data={**form, "alternatives": "x"}).status_code == 422
    # A body has precedence over the query.
    assert server.client.post("/translate?q=b&source=en&target=de", json={"q": "a"}).json() == {"translatedText": "A"}


def test_texts_of_every_kind_come_back(server: LiveServer) -> None:
    for text in ("", " ", "\n", "\0", "\u202e", "a\u0000b", "👨‍👩‍👧‍👦", "\ufeff", "<b>", "&amp;", "\u2028", "ß" * 1000):
        response = server.client.post("/translate", json={"q": text, "source": "en", "target": "de"})
        assert response.status_code == 200, (text, response.text)
        made = server.post("/v1/generate", inputs=[text])
        assert made.json()["answers"][0]["text"] == text.upper()
        json.loads(made.content.decode("utf-8"))
