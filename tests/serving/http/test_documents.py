"""Documents through the routes: texts, HTML, alternatives, glossaries, files; what reaches the model."""

from __future__ import annotations

import io
import time
import zipfile
from typing import Any

import pytest
from serving.http.fake import FakeService
from serving.http.live import LiveServer, until

from antiphon.serving.http import files, translating
from antiphon.serving.http.errors import ApiError
from antiphon.serving.http.files import FileJob, FileStore

TEXT = "First one.  Second one!\n\n\tThird {name} here.\n"


def translated(server: LiveServer, **body: Any) -> dict[str, Any]:
    response = server.client.post("/v1/translate", json=body)
    assert response.status_code == 200, response.text
    return response.json()["translations"][0]


def test_white_space_between_sentences_stays(server: LiveServer, service: FakeService) -> None:
    found = translated(server, text=TEXT, protect=["placeholders"])
    assert found["text"] == "FIRST ONE.  SECOND ONE!\n\n\tTHIRD {name} HERE.\n"
    for segment in found["segments"]:
        source, target = segment["source_span"], segment["target_span"]
        assert TEXT[slice(*source)] == segment["source"]
        assert found["text"][slice(*target)] == segment["target"]
    call = service.calls[-2]  # the last one asks the parts around the placeholder again
    assert call.settings["overflow"] == "split" and call.inputs == ["First one.", "Second one!", "Third {name} here."]
    assert call.settings["required"] == [None, None, ("{name}",)]


def test_tags_are_placed_by_the_alignment(server: LiveServer, service: FakeService) -> None:
    html = '<p>Hello <b>big <i>world</i></b>.</p><p title="x">Plain.</p>'
    found = translated(server, text=html, format="html")
    assert found["text"] == '<p>HELLO <b>BIG <i>WORLD</i></b>.</p><p title="x">PLAIN.</p>'
    details = {text: call.details for call in service.calls[-2:] for text in call.inputs}
    assert details == {"Hello big world.": ("alignment",), "Plain.": ()}


def test_details_and_alternatives(server: LiveServer, service: FakeService) -> None:
    found = translated(server, text="one two. three.", details=["token_confidence", "alignment"], alternatives=2)
    assert found["alternatives"] == ["ONE TWO. 2 THREE. 2", "ONE TWO. 3 THREE. 3"]
    assert found["segments"][0]["token_confidence"] == [0.9, 0.9] and len(found["segments"][0]["alignment"]) == 2
    assert service.calls[-1].settings["n_best"] == 3 and service.calls[-1].settings["beam_size"] == 4
    translated(server, text="one", alternatives=9)
    assert service.calls[-1].settings["beam_size"] == 10


def test_glossary(server: LiveServer) -> None:
    assert translated(server, text="The cat sat.", glossary={"cat": "Katze"})["text"] == "THE Katze SAT."


def test_required_phrases_are_left_out_of_sampling_and_where_they_cannot_be_spelt(
    server: LiveServer, service: FakeService
) -> None:
    translated(server, text="The cat sat.", glossary={"cat": "Katze"}, temperature=0.5)
    assert all("required" not in call.settings for call in service.calls[-2:])
    service.unspellable = True
    try:
        assert translated(server, text="A cat sits.", glossary={"cat": "Katze"})["text"] == "A Katze SITS."
    finally:
        service.unspellable = False


def test_a_long_text_is_several_calls_and_equal_sentences_one(server: LiveServer, service: FakeService) -> None:
    before = len(service.calls)
    text = " ".join(f"Sentence {number}." for number in range(200)) + " Sentence 7. Sentence 7."
    found = translated(server, text=text)
    calls = service.calls[before:]
    assert found["text"] == text.upper() and len(found["segments"]) == 202
    assert [len(call.inputs) for call in calls] == [64, 64, 64, 8]
    assert all(0 < call.timeout_seconds <= 120 for call in calls if call.timeout_seconds is not None)


def test_a_text_of_nothing_asks_nothing(server: LiveServer, service: FakeService) -> None:
    before = len(service.calls)
    for text in ("", "\n\n", "!?", "<p></p>"):
        assert translated(server, text=text, format="html" if "<" in text else "text")["text"] == text
    assert len(service.calls) == before
    assert server.post("/v1/translate", texts=[]).json()["translations"] == []


@pytest.mark.parametrize("word", ["refuse", "overload", "die", "late", "crash"])
def test_errors_of_the_model_are_those_of_the_request(server: LiveServer, word: str) -> None:
    expected = {"refuse": 422, "overload": 429, "die": 503, "late": 504, "crash": 500}[word]
    assert server.post("/v1/translate", text=word).status_code == expected
    assert server.post("/translate", q=word, source="en", target="de").status_code == expected
    deepl = server.post("/v2/translate", text=[word], target_lang="DE")
    assert deepl.status_code == (400 if expected == 422 else expected) and deepl.json()["message"]


def test_an_overload_in_the_middle_is_waited_for(server: LiveServer, service: FakeService) -> None:
    """The first call is refused at once; a document that has begun is finished."""
    service.overloads = 2
    service.overload_after = 1
    text = " ".join(f"Sentence {number}." for number in range(130))
    begun = time.monotonic()
    assert translated(server, text=text)["text"] == text.upper()
    assert service.overloads == 0 and time.monotonic() - begun >= 0.05


def test_several_texts_are_asked_together(server: LiveServer, service: FakeService) -> None:
    before = len(service.calls)
    found = server.post("/translate", q=["one. two.", "three."], source="auto", target="de").json()
    assert found["translatedText"] == ["ONE. TWO.", "THREE."]
    assert found["detectedLanguage"] == [{"confidence": 100, "language": "en"}] * 2
    assert [call.inputs for call in service.calls[before:]] == [["one.", "two.", "three."]]


def docx(text: str) -> bytes:
    """A Word file with one paragraph."""
    word = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        types = "http://schemas.openxmlformats.org/package/2006/content-types"
        override = f'<Override PartName="/word/document.xml" ContentType="{kind}"/>'
        archive.writestr("[Content_Types].xml", f'<Types xmlns="{types}">{override}</Types>')
        relations = "http://schemas.openxmlformats.org/package/2006/relationships"
        office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
        link = f'<Relationship Id="r1" Type="{office}" Target="word/document.xml"/>'
        archive.writestr("_rels/.rels", f'<Relationships xmlns="{relations}">{link}</Relationships>')
        body = f"<w:body><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:body>"
        archive.writestr("word/document.xml", f"<w:document {word}>{body}</w:document>")
    return file.getvalue()


FILES = {
    "a.txt": (b"one two.\r\nthree.\r\n", b"ONE TWO.\r\nTHREE.\r\n"),
    "b.html": (b"<p>one <b>two</b></p>", b"<p>ONE <b>TWO</b></p>"),
    "c.srt": (
        b"1\n00:00:01,000 --> 00:00:02,000\none two.\n\n2\n00:00:03,000 --> 00:00:04,000\nthree.\n",
        b"1\n00:00:01,000 --> 00:00:02,000\nONE TWO.\n\n2\n00:00:03,000 --> 00:00:04,000\nTHREE.\n",
    ),
    "d.tsv": (b"one\ttwo\n", b"ONE\tTWO\n"),
    "\u00fc b.TXT": ("schön\n".encode(), "SCHÖN\n".encode()),
}


@pytest.mark.parametrize("name", FILES)
def test_files(server: LiveServer, name: str) -> None:
    content, expected = FILES[name]
    made = server.client.post("/translate_file", data={"source": "en", "target": "de"}, files={"file": (name, content)})
    assert made.status_code == 200, made.text
    url = made.json()["translatedFileUrl"]
    assert url.startswith(f"{server.url}/download_file/") and url.endswith(name[-4:].lower())
    result = server.client.get(url)
    assert result.content == expected
    assert result.headers["content-type"] == "application/octet-stream"
    assert result.headers["content-disposition"].startswith("attachment;")


def test_a_word_file_shows_its_progress(server: LiveServer) -> None:
    begun = server.client.post(
        "/v1/files", data={"source": "auto", "protect": "numbers"}, files={"file": ("a.docx", docx("one 2. three."))}
    )
    assert begun.status_code == 202 and begun.json()["state"] == "waiting" and begun.json()["download"] is None
    address = f"/v1/files/{begun.json()['id']}"
    until(lambda: server.client.get(address).json()["state"] not in ("waiting", "running"))
    job = server.client.get(address).json()
    assert (job["state"], job["error"]) == ("done", None) and job["done"] == job["total"] >= 2
    with zipfile.ZipFile(io.BytesIO(server.client.get(job["download"]).content)) as archive:
        assert "ONE 2. THREE." in archive.read("word/document.xml").decode()


@pytest.mark.parametrize(
    ("name", "content", "data", "words"),
    [
        ("a.pdf", b"x", {}, "must be one of .txt, .tsv"),
        ("a", b"x", {}, "must be one of .txt"),
        ("", b"x", {}, "must be"),
        ("a.docx", b"no archive", {}, ""),
        ("a.txt", b"\xff\xfe\xff", {}, ""),
        ("a.txt", b"x", {"target": "fr"}, "must be one of de"),
    ],
)
def test_files_that_are_refused(server: LiveServer, name: str, content: bytes, data: Any, words: str) -> None:
    form = {"source": "en", "target": "de", **data}
    response = server.client.post("/translate_file", data=form, files={"file": (name, content)})
    assert 400 <= response.status_code < 500, response.text
    assert words in response.json()["error"]


@pytest.mark.parametrize(
    ("data", "field"),
    [({"glossary": "{"}, None), ({"glossary": "[]"}, None), ({"glossary": '{"a": 1}'}, "glossary"),
     ({"protect": "everything"}, "protect"), ({"model": "nope"}, "model"), ({"colour": "blue"}, "colour")],
)  # fmt: skip
def test_fields_of_files_that_are_refused(server: LiveServer, data: dict[str, str], field: str | None) -> None:
    response = server.client.post("/v1/files", data=data, files={"file": ("a.txt", b"x")})
    assert 400 <= response.status_code < 500 and response.json()["error"]["field"] == field


def test_what_fails_in_the_background_is_in_the_job(server: LiveServer) -> None:
    for word, message in (("refuse", "max_source_tokens"), ("crash", "the translation of the file failed.")):
        begun = server.client.post("/v1/files", files={"file": ("a.txt", word.encode())}).json()
        address = f"/v1/files/{begun['id']}"
        until(lambda address=address: server.client.get(address).json()["state"] == "failed")
        job = server.client.get(address).json()
        assert message in job["error"] and job["download"] is None


def test_unknown_files(server: LiveServer) -> None:
    assert server.client.get("/v1/files/none").status_code == 404
    assert server.client.get("/download_file/none.txt").status_code == 404


def test_files_are_forgotten_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(files.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(files, "_MOST_FILES", 2)
    store = FileStore(60)
    first = FileJob(name="a.txt", owner=None, size=10)
    store.add(first)
    first.ended, first.result = now[0], b"x"
    store.add(FileJob(name="b.txt", owner=None, size=10))
    with pytest.raises(ApiError, match="too many files"):
        store.add(FileJob(name="c.txt", owner=None, size=10))
    now[0] += 61
    store.add(FileJob(name="c.txt", owner=None, size=10))
    with pytest.raises(ApiError):
        store.result(first.download)
    monkeypatch.setattr(files, "_MOST_BYTES", 25)
    now[0] += 61
    with pytest.raises(ApiError, match="too many files"):
        store.add(FileJob(name="d.txt", owner=None, size=10))


def test_words_to_detect_a_language_by() -> None:
    assert translating.sample("<p class=x>a<b>b", html=True) == " a b"
    assert translating.sample("<p>", html=False) == "<p>"
