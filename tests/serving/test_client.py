"""`antiphon.Client`: the same results and errors as a local model, over HTTP; what it does when a server is busy or
away is tested against scripted responses."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from serving.http import live
from serving.http.fake import FakeService

import antiphon
from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
from antiphon.errors import ConfigError, DataError, ModelError, UsageError, WorkError
from antiphon.generation.answers import Generation
from antiphon.generation.model import Model
from antiphon.generation.translator import Translator
from antiphon.models.build import build_network
from antiphon.models.folders.checkpoint import Parts
from antiphon.serving import client as client_module
from antiphon.serving.http.app import create_app
from antiphon.serving.http.server import bind, make_server
from antiphon.serving.process.service import ProcessService
from antiphon.serving.process.settings import ModelEntry, ProcessSettings
from antiphon.serving.settings import ServerSettings
from antiphon.text import train_tokenizer

TEXTS = ["in 3 hours we go", "hello, world. This is it!", "in drei Stunden\nund mehr", "ein Haus, zwei Häuser"] * 4
PATIENT = 200  # seconds in which a model is loaded on a busy machine
LABELS = {"0": "ein Haus", "1": "hello"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of models with random weights: one for texts, and a classifier."""
    tokenizer = train_tokenizer(TEXTS, kind="bpe", vocab_size=300)
    settings = ModelConfig("tiny", d_model=16, num_heads=2, ffn_dim=24, decoder_layers=1, max_length=40)
    size = tokenizer.vocab_size
    network = build_network(settings, AttentionConfig(), source_vocab=size, target_vocab=size, shared=True, seed=1)
    generation = GenerationConfig(beam_size=2, max_new_tokens=12)
    parts = Parts(network, settings, AttentionConfig(), tokenizer, tokenizer, "text", generation)
    labels = replace(parts, task="classification", labels=LABELS)
    folder = tmp_path_factory.mktemp("models")
    found = {"tiny": parts, "labels": labels}
    return {name: Model.from_parts(each).save(folder / name) for name, each in found.items()}


@pytest.fixture(scope="module")
def local(folders: dict[str, Path]) -> Model:
    """The model in this process. Its numbers have 64 bits, so that rounding cannot change an answer."""
    found = antiphon.load(folders["tiny"], dtype="float64")
    assert isinstance(found, Model)
    return found


@pytest.fixture(scope="module")
def labels(folders: dict[str, Path]) -> Translator:
    return antiphon.load(folders["labels"], dtype="float64")


@contextmanager
def served(folders: dict[str, Path], **settings: Any) -> Iterator[str]:
    """The address of `antiphon serve` with these models, in a thread."""
    entries = tuple(ModelEntry(name=name, path=str(path), dtype="float64") for name, path in folders.items())
    made = ServerSettings(port=0, log_requests=False, **settings)
    app = create_app(ProcessService(ProcessSettings(models=entries)), made)
    with bind(made) as listening:
        server = make_server(app, started=lambda: None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The address of a server of `app` in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def url(folders: dict[str, Path]) -> Iterator[str]:
    with served(folders, max_items=8) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[antiphon.Client]:
    with antiphon.Client(url, retry_seconds=PATIENT) as client:
        yield client


@pytest.fixture
def sent(client: antiphon.Client, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    """The requests of the client, in the order of their rows."""
    found: list[dict[str, Any]] = []
    post = client._connection.post
    monkeypatch.setattr(client._connection, "post", lambda path, body: found.append(body) or post(path, body))
    return lambda: sorted(found, key=lambda body: body.get("first_row", 0))


def rounded(value: Any) -> Any:
    """Numbers with 9 decimals: the last bits depend on which rows are in a batch."""
    if isinstance(value, Generation):
        return type(value)(**{name: rounded(each) for name, each in vars(value).items()})
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return round(value, 9) if isinstance(value, float) else value


def script(model: Translator | antiphon.Client) -> list[object]:
    """What a user's script does with a model, here or there."""
    texts = ["hello", "in 3 hours we go", "", "ein Haus \ud800", "hello"]
    return [
        model.generate("hello"),
        model.generate([]),
        model.generate(texts, n_best=2),
        model.generate(iter(texts), beam_size=1, max_new_tokens=3),
        model.generate(texts, temperature=1.2, beam_size=1, seed=3),
        model.generate(texts, temperature=1.2, beam_size=1, first_row=7),
        model.generate(texts, prefix=["in", None, "", "ein", "hello"]),
        model.generate(texts[:2], allowed=[("hello", "ein Haus"), None], forbidden=["3"]),
        model.generate(texts[:2], allowed=["hello", "ein Haus"]),
        model.generate(texts, batch_size=2),
        "".join(model.stream("hello", beam_size=3)),
        list(model.stream("")),
        model.score(texts, texts[::-1]),
        model.score("hello", "ein Haus"),
        model.score([], []),
        model.labels,
        model.task,
        model.generation,
    ]


def test_a_script_moves_from_here_to_there_by_one_line(local: Model, client: antiphon.Client) -> None:
    here, there = script(local), script(client)
    assert rounded(here) == rounded(there)
    assert [type(each) for each in here] == [type(each) for each in there]


def test_a_model_with_labels(labels: Translator, url: str) -> None:
    with antiphon.Client(url, model="labels", retry_seconds=PATIENT) as client:
        assert client.labels == ["ein Haus", "hello"]
        [here], [there] = labels.generate("in 3 hours"), client.generate("in 3 hours")
        assert rounded(here) == rounded(there)
        assert there.probabilities is not None
        assert list(client.stream("hello")) == list(labels.stream("hello"))


def test_attention_maps_are_those_of_the_model(local: Model, client: antiphon.Client) -> None:
    for target in ("ein Haus", None):
        here, there = local.attention("hello, world", target), client.attention("hello, world", target)
        for role in ("cross", "encoder", "decoder"):
            torch.testing.assert_close(there.weights(role), here.weights(role), atol=1e-5, rtol=0)
        assert there.pharaoh() == here.pharaoh()
        assert there.labels("decoder") == here.labels("decoder")


def test_long_lists_go_in_several_requests_and_come_back_in_order(
    local: Model, client: antiphon.Client, sent: Callable[[], list[dict[str, Any]]]
) -> None:
    texts = [f"hello {number}, in {number % 7} hours" for number in range(30)]
    prefix = [None if number % 3 else "ein" for number in range(30)]
    sampled = {"temperature": 1.0, "beam_size": 1, "seed": 5, "prefix": prefix}
    assert rounded(client.generate(texts, **sampled)) == rounded(local.generate(texts, **sampled))
    assert [len(body["inputs"]) for body in sent()] == [8, 8, 8, 6]
    assert [text for body in sent() for text in body["inputs"]] == texts
    assert rounded(client.score(texts, texts)) == rounded(local.score(texts, texts))


def test_batch_size_bounds_the_rows_of_a_request(
    client: antiphon.Client, sent: Callable[[], list[dict[str, Any]]]
) -> None:
    client.generate([f"hello {number}" for number in range(9)], batch_size=4)
    assert [len(body["inputs"]) for body in sent()] == [4, 4, 1]


def test_a_request_has_a_bounded_size(
    client: antiphon.Client, sent: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "CHARACTERS_A_REQUEST", 20)
    texts = ["hello", "in 3 hours", "in 4 hours", "ein Haus, zwei Häuser und", "hello"]
    client.generate(texts)
    assert [len(body["inputs"]) for body in sent()] == [2, 1, 1, 1]


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model.generate("hello", beam=3),
        lambda model: model.generate("hello", beam_size=0),
        lambda model: model.generate("hello", top_k=3),
        lambda model: model.generate("hello", batch_size=0),
        lambda model: model.generate("hello", temperature=float("nan")),
        lambda model: model.generate(["hello"] * 3, prefix=["in", "in"]),
        lambda model: model.generate(["hello"] * 3, required=[["hello"]]),
        lambda model: model.generate(["hello"] * 30, allowed=["hello", ["hello"]] * 15),
        lambda model: model.generate("hello " * 50),
        lambda model: model.generate(["hello", "hello " * 50]),
        lambda model: model.generate("hello", required=["hello"], forbidden=["hello"]),
        lambda model: model.score(["hello"], ["hello", "hello"]),
        lambda model: model.score("hello", "hello " * 50),
        lambda model: list(model.stream(["hello"])),
        lambda model: model.stream("hello", beam_size=0),
    ],
)
def test_wrong_calls_are_the_errors_of_a_local_model(
    local: Model, client: antiphon.Client, call: Callable[[Translator | antiphon.Client], object]
) -> None:
    with pytest.raises(UsageError) as here:
        call(local)
    with pytest.raises(UsageError) as there:
        call(client)
    assert str(here.value) == str(there.value)
    kinds = (ConfigError, DataError)
    assert [isinstance(there.value, kind) for kind in kinds] == [isinstance(here.value, kind) for kind in kinds]


def test_what_is_no_text_is_refused_before_it_is_sent() -> None:
    with antiphon.Client("http://127.0.0.1:9", retry_seconds=0) as client:
        for wrong in (3, None, {"a": "b"}, b"hello", [b"hello"], ["hello", 3], ["hello", Path("a.wav")]):
            with pytest.raises(DataError, match=r"`texts` must be"):
                client.generate(wrong)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="`seed` must be a number, a text or a list, but is a Tensor"):
            client.generate("hello", seed=torch.tensor(3))
        with pytest.raises(DataError, match="`source` must be one text"):
            client.attention(["hello"])  # type: ignore[arg-type]


def test_the_error_is_that_of_the_first_text(client: antiphon.Client) -> None:
    texts = ["hello"] * 30
    texts[11], texts[25] = "hello " * 50, "hello " * 60
    with pytest.raises(DataError, match="input 12 "):
        client.generate(texts)


def test_warnings_of_the_server_are_warnings_here() -> None:
    answers = [ANSWER | {"warnings": ["the text was cut.", "slow."]}, ANSWER]
    reply = (200, {}, json.dumps({"answers": answers}))
    final = event(index=0, answer=answers[0]) + "data: [DONE]\n\n"
    with scripted(reply, (200, STREAM, final)) as (url, _), antiphon.Client(url) as client:
        with pytest.warns(UserWarning) as caught:
            client.generate("hello")
        assert [str(each.message) for each in caught] == ["the text was cut.", "slow."]
        assert {each.filename for each in caught} == {__file__}
        with pytest.warns(UserWarning) as caught:
            assert list(client.stream("hello")) == []
        assert [str(each.message) for each in caught] == ["the text was cut.", "slow."]


def test_a_client_is_evaluated_like_a_model(local: Model, client: antiphon.Client) -> None:
    pairs = [("hello", "hello"), ("in 3 hours", "in 3 Stunden")]
    here, there = (antiphon.evaluate(model, pairs, metrics=["chrf"]) for model in (local, client))
    assert here["chrf"].score == there["chrf"].score


def test_a_client_serves_several_threads(local: Model, client: antiphon.Client) -> None:
    expected = {text: local.generate(text)[0].text for text in TEXTS[:4]}
    found: queue.Queue[tuple[str, str]] = queue.Queue()

    def ask(text: str) -> None:
        for _ in range(5):
            found.put((text, client.generate(text)[0].text))

    threads = [threading.Thread(target=ask, args=(text,)) for text in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.qsize() == 20
    while not found.empty():
        text, answer = found.get()
        assert answer == expected[text]


def test_a_model_process_that_dies_is_waited_for(folders: dict[str, Path], local: Model) -> None:
    entry = ModelEntry(name="tiny", path=str(folders["tiny"]), dtype="float64")
    service = ProcessService(ProcessSettings(models=(entry,), cache_entries=0))
    with live.running(service) as server, antiphon.Client(server.url, retry_seconds=PATIENT) as client:
        expected = rounded(local.generate(TEXTS))
        assert rounded(client.generate(TEXTS)) == expected
        (model,) = service._models.values()
        assert model.supervisor.pid is not None
        os.kill(model.supervisor.pid, signal.SIGKILL)
        assert rounded(client.generate(TEXTS)) == expected
        assert service.statuses()[0].restarts == 1


def test_recordings_for_a_model_of_speech(tmp_path: Path) -> None:
    files = [tmp_path / "a.wav", tmp_path / "b.WAV"]
    for number, file in enumerate(files):
        file.write_bytes(b"RIFF" * (10 + number))
    with live.running(FakeService()) as server:
        with antiphon.Client(server.url, model="ears") as client:
            for inputs in (files, map(str, files)):
                assert [each.text for each in client.generate(inputs)] == ["HEARD 40 BYTES", "HEARD 44 BYTES"]
            assert "".join(client.stream(files[0])).strip() == "HEARD 40 BYTES"
            assert client.score(files[:1], ["ja"]) == [-2.0]
            with pytest.raises(DataError, match=r"there is no file `.*c\.wav`"):
                client.generate(tmp_path / "c.wav")
        with antiphon.Client(server.url) as client:  # a model of texts
            assert client.generate("a.wav")[0].text == "A.WAV"
            with pytest.raises(DataError, match="or paths of"):
                client.generate(files)


def test_a_client_needs_no_pytorch() -> None:
    code = (
        "import sys, antiphon; antiphon.Client('http://x'); print('torch' in sys.modules, 'tokenizers' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False False\n"


def test_keys(folders: dict[str, Path], tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [{"name": "alice", "key": "secret-1"}]}))
    with served({"tiny": folders["tiny"]}, keys=str(keys)) as url:
        with antiphon.Client(url, "secret-1", retry_seconds=PATIENT) as client:
            assert client.generate("hello")[0].tokens
            assert "secret" not in repr(client)
        for key in (None, "wrong-2"):
            with antiphon.Client(url, key) as client, pytest.raises(UsageError, match="an API key is") as caught:
                client.generate("hello")
            assert not isinstance(caught.value, ConfigError | DataError | ModelError)


def test_an_unknown_model(url: str) -> None:
    with antiphon.Client(url, model="other") as client:
        with pytest.raises(ModelError, match="`model` must be one of tiny, labels, but is `other`"):
            client.generate("hello")
        with pytest.raises(ModelError, match=r"must be one of those that the server has \(tiny, labels\)"):
            client.task  # noqa: B018


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "", "ftp://host", 3, "http://", "http://[1"])
def test_an_address_must_be_http(url: Any) -> None:
    with pytest.raises(ConfigError, match="`url` must be an address such as"):
        antiphon.Client(url)


@pytest.mark.parametrize("key", ["", "a\nb", "ä", 3])
def test_a_key_must_fit_into_a_header(key: Any) -> None:
    with pytest.raises(ConfigError, match="`key` must be printable ASCII"):
        antiphon.Client("http://127.0.0.1:8000", key)


@pytest.mark.parametrize("setting", [{"timeout_seconds": 0}, {"retry_seconds": -1}, {"connections": 0}])
def test_settings_of_a_client_have_bounds(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        antiphon.Client("http://127.0.0.1:8000", **setting)


# A server with scripted responses.

ANSWER = {"text": "ja", "tokens": ["ja"], "score": -1.0, "confidence": 0.5, "finished": True}
GOOD = (200, {}, json.dumps({"answers": [ANSWER]}))
STREAM = {"content-type": "text/event-stream"}


def refusal(status: int, **headers: str) -> tuple[int, dict[str, str], str]:
    error = {"code": "unavailable", "field": None, "message": "not now."}
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps({"error": error})


@contextmanager
def scripted(*replies: tuple[int, dict[str, str], str] | None, delay: float = 0.0) -> Iterator[tuple[str, list[dict]]]:
    """The address of a server that sends these responses (None: it closes the connection), and what it was sent."""
    left, seen = list(replies), []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            seen.append({"path": self.path, "time": time.monotonic(), "port": self.client_address[1], **body})
            time.sleep(delay)
            if (reply := left.pop(0)) is None:
                self.close_connection = True
                return
            status, headers, text = reply
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "content-length" not in headers:
                self.send_header("content-length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", seen
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(status: int) -> None:
    with (
        scripted(refusal(status, retry_after="0.5"), refusal(status, retry_after="0"), GOOD) as (url, seen),
        antiphon.Client(url) as client,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error")
        assert client.generate("hello")[0].text == "ja"
    assert [each["inputs"] for each in seen] == [["hello"]] * 3
    assert seen[1]["time"] - seen[0]["time"] >= 0.5
    assert len({each["port"] for each in seen}) == 1, "the connection is not reused"


def test_retry_after_may_be_a_date() -> None:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 2))
    with scripted(refusal(503, retry_after=date), GOOD) as (url, seen), antiphon.Client(url) as client:
        assert client.generate("hello")[0].text == "ja"
    assert seen[1]["time"] - seen[0]["time"] > 0.9, "without the header it is 0.2 at most"


def test_a_pause_that_is_too_long_is_not_waited_for() -> None:
    with (
        scripted(refusal(429, retry_after="100")) as (url, seen),
        antiphon.Client(url, retry_seconds=2) as client,
        pytest.raises(WorkError, match="answered with status 429: not now"),
    ):
        client.generate("hello")
    assert len(seen) == 1


def test_the_time_of_retries_is_bounded() -> None:
    with scripted(*[refusal(503, retry_after="0.1")] * 50) as (url, seen):
        began = time.monotonic()
        with antiphon.Client(url, retry_seconds=0.55) as client, pytest.raises(WorkError, match="503"):
            client.generate("hello")
        assert time.monotonic() - began < 3
    assert 2 <= len(seen) <= 6


def test_no_retries_at_all() -> None:
    with (
        scripted(refusal(503, retry_after="0")) as (url, seen),
        antiphon.Client(url, retry_seconds=0) as client,
        pytest.raises(WorkError, match="503"),
    ):
        client.generate("hello")
    assert len(seen) == 1


@pytest.mark.parametrize("status", [400, 404, 405, 500, 504])
def test_other_failures_are_not_repeated(status: int) -> None:
    with (
        scripted(refusal(status, retry_after="0")) as (url, seen),
        antiphon.Client(url) as client,
        pytest.raises(WorkError, match=f"answered with status {status}: not now"),
    ):
        client.generate("hello")
    assert len(seen) == 1


def test_a_lost_connection_is_made_again() -> None:
    with (
        scripted(None, GOOD) as (url, seen),
        antiphon.Client(url) as client,
        pytest.warns(UserWarning, match=r"no answer from .* Trying again for 30 s"),
    ):
        assert client.generate("hello")[0].text == "ja"
    assert len(seen) == 2


def test_a_server_that_starts_later_is_waited_for() -> None:
    with scripted() as (url, _):
        pass  # its port is free now
    port = int(url.rpartition(":")[2])
    server: list[ThreadingHTTPServer] = []

    class Late(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(GOOD[2].encode())

        def log_message(self, *_: object) -> None:
            pass

    def start() -> None:
        server.append(ThreadingHTTPServer(("127.0.0.1", port), Late))
        server[0].serve_forever(poll_interval=0.02)

    timer = threading.Timer(0.7, start)
    timer.start()
    try:
        with antiphon.Client(url) as client, pytest.warns(UserWarning, match="Is the server running"):
            assert client.generate("hello")[0].text == "ja"
    finally:
        server[0].shutdown()
        server[0].server_close()
        timer.join()


def test_nobody_there() -> None:
    with scripted() as (url, _):
        pass
    with (
        antiphon.Client(url, retry_seconds=0) as client,
        pytest.raises(WorkError, match="Is the server running") as caught,
    ):
        client.generate("hello")
    assert caught.value.__cause__ is not None
    began = time.monotonic()
    with antiphon.Client("http://no-such-host.invalid") as client, pytest.raises(WorkError, match="no answer from"):
        client.generate("hello")
    assert time.monotonic() - began < 10, "an unknown host does not appear by waiting"


def test_a_slow_server_is_left() -> None:
    with (
        scripted(GOOD, GOOD, delay=1.0) as (url, seen),
        antiphon.Client(url, timeout_seconds=0.3) as client,
        pytest.raises(WorkError, match="Raise `timeout_seconds`"),
    ):
        client.generate("hello")
    assert len(seen) == 1


def test_no_antiphon_there() -> None:
    replies = [
        (200, {}, "<html>"),
        (404, {}, "Not Found"),
        (500, {}, '{"error": 3}'),
        (301, {"location": "https://x/"}, ""),
    ]
    with scripted(*replies) as (url, _), antiphon.Client(url) as client:
        for status in (200, 404, 500):
            with pytest.raises(WorkError, match=f"status {status}, which is no answer of `antiphon serve`"):
                client.generate("hello")
        with pytest.raises(WorkError, match="redirects to https://x/"):
            client.generate("hello")


def test_an_address_with_a_path_and_a_password() -> None:
    with (
        scripted(GOOD, refusal(500)) as (url, seen),
        antiphon.Client(url.replace("//", "//user:secret@") + "/mt/") as client,
    ):
        client.generate("hello")
        assert "secret" not in repr(client)
        with pytest.raises(WorkError) as caught:
            client.generate("hello")
        assert "secret" not in str(caught.value)
    assert seen[0]["path"] == "/mt/v1/generate"


def event(**data: object) -> str:
    return f"data: {json.dumps(data)}\n\n"


def test_a_stream_is_asked_for_again_before_its_first_event_only() -> None:
    error = f"event: error\ndata: {json.dumps({'error': {'code': 'unavailable', 'message': 'the model ended.'}})}\n\n"
    replies = [refusal(503, retry_after="0"), (200, STREAM, event(index=0, text="in ") + error)]
    with scripted(*replies) as (url, seen), antiphon.Client(url) as client:
        pieces = client.stream("hello")
        assert len(seen) == 2
        assert next(pieces) == "in "
        with pytest.raises(WorkError, match="the model ended"):
            next(pieces)
    assert len(seen) == 2


@pytest.mark.parametrize("length", [None, "1000"])
def test_a_stream_that_breaks_off_is_an_error(length: str | None) -> None:
    text = event(index=0, text="in ")
    headers = STREAM if length is None else {**STREAM, "content-length": length, "connection": "close"}
    with scripted((200, headers, text)) as (url, _), antiphon.Client(url, timeout_seconds=5) as client:
        pieces = client.stream("hello")
        assert next(pieces) == "in "
        with pytest.raises(WorkError, match=r"the stream from .* (broke off|ended before)"):
            list(pieces)


def test_a_dropped_stream_closes_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = threading.Event()
    app = FastAPI()

    @app.post("/v1/generate")
    async def endless() -> StreamingResponse:
        import anyio

        async def pieces() -> Any:
            try:
                while True:
                    yield event(index=0, text="in ")
                    await anyio.sleep(0.01)
            finally:
                gone.set()

        return StreamingResponse(pieces(), media_type="text/event-stream")

    with running(app) as url, antiphon.Client(url) as client:
        for drop in ("close", "del", "unread"):
            pieces: Any = client.stream("hello")
            if drop != "unread":
                assert next(pieces) == "in "
            if drop == "close":
                pieces.close()
            del pieces
            assert gone.wait(5), drop
            gone.clear()


def test_a_closed_client_says_so(url: str) -> None:
    client = antiphon.Client(url)
    client.close()
    with pytest.raises(UsageError, match="the client is closed"):
        client.generate("hello")
    with scripted(*[refusal(503, retry_after="5")] * 3) as (address, seen):
        client = antiphon.Client(address)
        threading.Timer(0.3, client.close).start()
        began = time.monotonic()
        with pytest.raises(UsageError, match="the client is closed"):
            client.generate("hello")
        assert time.monotonic() - began < 3
        assert len(seen) == 1
