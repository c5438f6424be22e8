"""Clients that other projects wrote, unchanged, against the running server."""

from __future__ import annotations

import io
import urllib.error
import wave
from collections.abc import Iterator
from pathlib import Path

import deepl
import openai
import pytest
from deep_translator import LibreTranslator
from deep_translator.exceptions import AuthorizationException
from libretranslatepy import LibreTranslateAPI
from serving.http.fake import FakeService
from serving.http.live import LiveServer, running

TEXTS = [f"in {number} hours. It is item {number} & more, at 5 %" for number in range(1, 18)]
TEXTS += ["größer, 日本語 👋🏽", "a\nb\n\nc  d", "=&+?#% 100%"]
KEY = "a-key-for-clients"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that asks for a key."""
    file: Path = tmp_path_factory.mktemp("keys") / "keys.yaml"
    file.write_text(f"keys:\n  - {{name: clients, key: {KEY}}}\n", encoding="utf-8")
    with running(FakeService(), languages=["en-de,de-en"], keys=str(file)) as server:
        yield server


def test_deepl(keyed: LiveServer) -> None:
    client = deepl.DeepLClient(KEY, server_url=keyed.url)
    for text in TEXTS:
        result = client.translate_text(text, source_lang="EN", target_lang="DE")
        assert isinstance(result, deepl.TextResult)
        assert (result.text, result.detected_source_lang) == (text.upper(), "EN")
        assert result.billed_characters == len(text)
    several = client.translate_text(TEXTS, target_lang="DE")
    assert isinstance(several, list) and [each.text for each in several] == [text.upper() for text in TEXTS]
    html = client.translate_text("<p>in <b>3</b> hours</p>", target_lang="DE", tag_handling="html")
    assert isinstance(html, deepl.TextResult) and html.text == "<p>IN <b>3</b> HOURS</p>"
    assert {language.code for language in client.get_source_languages()} == {"EN", "DE"}
    assert {language.code for language in client.get_target_languages()} == {"EN-GB", "EN-US", "DE"}
    back = client.translate_text("guten Tag", source_lang="DE", target_lang="EN-US")
    assert isinstance(back, deepl.TextResult) and back.text == "GUTEN TAG"
    assert client.get_usage().character.count == 2 * sum(map(len, TEXTS)) + 24 + 9


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"formality": "more"}, "`formality` must be one of default, prefer_more, prefer_less"),
        ({"context": "about cats"}, "`context` is not supported"),
        ({"glossary": "id-of-one", "source_lang": "EN"}, "`glossary_id` is not supported"),
        ({"tag_handling": "xml"}, "`tag_handling` must be one of html"),
        ({"split_sentences": "0"}, "`split_sentences` must be one of 1, nonewlines"),
        ({"custom_instructions": ["be brief"]}, "`custom_instructions` is not supported"),
        ({"model_type": "quality_optimized"}, "`model_type` is not supported"),
        ({"extra_body_parameters": {"unheard_of": 1}}, "`unheard_of` is not a known field"),
    ],
)
def test_deepl_names_what_is_not_supported(keyed: LiveServer, arguments: dict[str, object], words: str) -> None:
    client = deepl.DeepLClient(KEY, server_url=keyed.url)
    with pytest.raises(deepl.DeepLException) as caught:
        client.translate_text("a", target_lang="DE", **arguments)  # type: ignore[arg-type]
    assert caught.value.http_status_code == 400 and words in str(caught.value)


def test_deepl_with_a_wrong_key(keyed: LiveServer) -> None:
    client = deepl.DeepLClient("wrong", server_url=keyed.url)
    with pytest.raises(deepl.AuthorizationException):
        client.translate_text("a", target_lang="DE")


def test_libretranslatepy(keyed: LiveServer) -> None:
    client = LibreTranslateAPI(keyed.url, KEY)
    for text in TEXTS:
        assert client.translate(text, "en", "de") == text.upper()
    assert client.languages() == [
        {"code": "en", "name": "English", "targets": ["de"]},
        {"code": "de", "name": "German", "targets": ["en"]},
    ]
    assert client.detect("Das ist ein schönes Haus, und wir gehen jetzt.")[0]["language"] == "de"
    with pytest.raises(urllib.error.HTTPError) as caught:
        LibreTranslateAPI(keyed.url, "wrong").translate("a", "en", "de")
    assert caught.value.code == 403


def test_deep_translator(keyed: LiveServer) -> None:
    client = LibreTranslator(source="en", target="de", api_key=KEY, custom_url=f"{keyed.url}/")
    for text in TEXTS:
        assert client.translate(text) == text.upper()
    assert client.translate_batch(TEXTS[:3]) == [text.upper() for text in TEXTS[:3]]
    with pytest.raises(AuthorizationException):
        LibreTranslator(source="en", target="de", api_key="wrong", custom_url=f"{keyed.url}/").translate("a")


def recording(frames: int) -> bytes:
    """A .wav file of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16_000)
        writer.writeframes(b"\0\0" * frames)
    return file.getvalue()


def test_openai(keyed: LiveServer) -> None:
    client = openai.OpenAI(api_key=KEY, base_url=f"{keyed.url}/v1", max_retries=0)
    for number in range(20):
        sound = recording(1600 + number)
        made = client.audio.transcriptions.create(model="ears", file=("a.wav", sound))
        assert made.text == f"HEARD {len(sound)} BYTES"
    sound = recording(16_000)
    text = client.audio.transcriptions.create(model="ears", file=("a.wav", sound), response_format="text")
    assert text == f"HEARD {len(sound)} BYTES\n"
    verbose = client.audio.transcriptions.create(
        model="ears", file=("a.wav", sound), response_format="verbose_json", temperature=0, language="en"
    )
    assert (verbose.duration, verbose.language, verbose.text) == (1.0, "en", f"HEARD {len(sound)} BYTES")
    events = list(client.audio.transcriptions.create(model="ears", file=("a.wav", sound), stream=True))
    assert [event.type for event in events] == ["transcript.text.delta"] * 3 + ["transcript.text.done"]
    assert events[-1].text == f"HEARD {len(sound)} BYTES"


def test_openai_errors(keyed: LiveServer) -> None:
    client = openai.OpenAI(api_key=KEY, base_url=f"{keyed.url}/v1", max_retries=0)
    with pytest.raises(openai.NotFoundError, match="must be one of dates"):
        client.audio.transcriptions.create(model="whisper-1", file=("a.wav", recording(100)))
    with pytest.raises(openai.BadRequestError, match="`dates` takes texts") as caught:
        client.audio.transcriptions.create(model="dates", file=("a.wav", recording(100)))
    assert caught.value.param == "model"
    for name, value in {"prompt": "cats", "timestamp_granularities": ["word"], "response_format": "srt"}.items():
        with pytest.raises(openai.BadRequestError, match=name):
            client.audio.transcriptions.create(model="ears", file=("a.wav", recording(9)), **{name: value})
    with pytest.raises(openai.BadRequestError, match="is empty"):
        client.audio.transcriptions.create(model="ears", file=("a.wav", b""))
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(api_key="wrong", base_url=f"{keyed.url}/v1").audio.transcriptions.create(
            model="ears", file=("a.wav", recording(9))
        )
