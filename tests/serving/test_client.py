"""`antiphon.Client`: the same results and errors as a local model, over HTTP; what it does when a server is busy or
away is tested against scripted responses."""

from __future__ import annotations

import functools
import json
import queue
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

import antiphon
from antiphon.cli.generate import with_alternatives
from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
from antiphon.errors import ConfigError, DataError, ModelError, UsageError, WorkError
from antiphon.generation.model import Model
from antiphon.models.build import build_network
from antiphon.models.folders.checkpoint import Parts
from antiphon.serving import client as client_module
from antiphon.settings import plain
from antiphon.text import train_tokenizer

TEXTS = ["in 3 hours we go", "hello, world. This is it!", "in drei Stunden\nund mehr", "ein Haus, zwei Häuser"] * 4
LABELS = {"0": "ein Haus", "1": "hello"}


@functools.cache
def local(*, labels: bool = False) -> Model:
    """A model with random weights."""
    tokenizer = train_tokenizer(TEXTS, kind="bpe", vocab_size=300)
    settings = ModelConfig("tiny", d_model=16, num_heads=2, ffn_dim=24, decoder_layers=1, max_length=40)
    size = tokenizer.vocab_size
    network = build_network(
        settings, AttentionConfig(), source_vocab=size, target_vocab=size, shared=True, seed=1
    ).eval()
    generation = GenerationConfig(beam_size=2, max_new_tokens=12)
    parts = Parts(network, settings, AttentionConfig(), tokenizer, tokenizer, "text", generation)
    if labels:
        return Model(network, tokenizer, task="classification", labels=LABELS, generation=generation)
    return Model.from_parts(parts)


def answering(models: dict[str, Model], *, key: str | None = None, max_items: int = 8) -> FastAPI:
    """The routes of /v1 over models in this process."""
    app, lock = FastAPI(), threading.Lock()
    app.state.requests = []

    @app.exception_handler(antiphon.UsageError)
    def refuse(request: Request, error: antiphon.UsageError) -> JSONResponse:
        code = "unknown_model" if isinstance(error, ModelError) else "invalid"
        field = "inputs" if isinstance(error, DataError) else None
        return JSONResponse({"error": {"code": code, "field": field, "message": str(error)}}, 422)

    @app.middleware("http")
    async def check_key(request: Request, rest: Callable) -> Any:
        if key is not None and request.headers.get("authorization") != f"Bearer {key}":
            return JSONResponse({"error": {"code": "unauthorized", "field": None, "message": "a key, please."}}, 401)
        return await rest(request)

    def chosen(body: dict[str, Any]) -> Model:
        name = body.pop("model", next(iter(models)))
        if name not in models:
            raise ModelError(f"there is no model {name}.")
        return models[name]

    @app.get("/v1/models")
    def list_models() -> dict[str, Any]:
        found = [
            {"name": name, "state": "ready", "default": place == 0, "task": model.task, "labels": model.labels}
            | {"limits": {"max_items": max_items}, "generation": plain(model.generation)}
            for place, (name, model) in enumerate(models.items())
        ]
        return {"models": found}

    @app.post("/v1/generate", response_model=None)
    def generate(body: dict[str, Any]) -> dict[str, Any] | StreamingResponse:
        app.state.requests.append(body.copy())
        model = chosen(body)
        texts, first_row = body.pop("inputs"), body.pop("first_row", 0)
        if len(texts) > max_items:
            raise DataError("too many.")
        if body.pop("stream", False):
            pieces = model.stream(texts[0], **body)
            return StreamingResponse(events(model, texts[0], pieces, body), media_type="text/event-stream")
        with lock, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            answers = [with_alternatives(each) for each in model.generate(texts, first_row=first_row, **body)]
        answers[0]["warnings"] = [str(each.message) for each in caught]
        return {"answers": answers, "model": "tiny"}

    def events(model: Model, text: str, pieces: Iterator[str], settings: dict[str, Any]) -> Iterator[str]:
        for piece in pieces:
            yield f"data: {json.dumps({'index': 0, 'text': piece})}\n\n"
        yield f"data: {json.dumps({'index': 0, 'answer': with_alternatives(model.generate(text, **settings)[0])})}\n\n"
        yield "data: [DONE]\n\n"

    @app.post("/v1/score")
    def score(body: dict[str, Any]) -> dict[str, Any]:
        with lock:
            return {"scores": chosen(body).score(**body)}

    @app.post("/v1/attention")
    def attention(body: dict[str, Any]) -> dict[str, Any]:
        maps = chosen(body).attention(**body)
        tensors = {role: getattr(maps, role).tolist() for role in ("cross", "encoder", "decoder")}
        return vars(maps) | tensors

    return app


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
def app() -> FastAPI:
    return answering({"tiny": local(), "labels": local(labels=True)})


@pytest.fixture(scope="module")
def url(app: FastAPI) -> Iterator[str]:
    with running(app) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[antiphon.Client]:
    with antiphon.Client(url) as client:
        yield client


def script(model: Model | antiphon.Client) -> list[object]:
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
        list(model.stream("hello", beam_size=3)),
        list(model.stream("")),
        model.score(texts, texts[::-1]),
        model.score("hello", "ein Haus"),
        model.score([], []),
        model.labels,
        model.task,
        model.generation,
    ]


def test_a_script_moves_from_here_to_there_by_one_line(client: antiphon.Client) -> None:
    here, there = script(local()), script(client)
    assert here == there
    assert [type(each) for each in here] == [type(each) for each in there]


def test_a_model_with_labels(url: str) -> None:
    with antiphon.Client(url, model="labels") as client:
        assert client.labels == ["ein Haus", "hello"]
        [here], [there] = local(labels=True).generate("in 3 hours"), client.generate("in 3 hours")
        assert here == there
        assert there.probabilities is not None
        assert list(client.stream("hello")) == list(local(labels=True).stream("hello"))


def test_attention_maps_are_those_of_the_model(client: antiphon.Client) -> None:
    for target in ("ein Haus", None):
        here, there = local().attention("hello, world", target), client.attention("hello, world", target)
        for role in ("cross", "encoder", "decoder"):
            torch.testing.assert_close(there.weights(role), here.weights(role))
        assert there.pharaoh() == here.pharaoh()
        assert there.labels("decoder") == here.labels("decoder")


def test_long_lists_go_in_several_requests_and_come_back_in_order(app: FastAPI, client: antiphon.Client) -> None:
    texts = [f"hello {number}, in {number % 7} hours" for number in range(30)]
    app.state.requests.clear()
    prefix = [None if number % 3 else "ein" for number in range(30)]
    sampled = {"temperature": 1.0, "beam_size": 1, "seed": 5, "prefix": prefix}
    assert client.generate(texts, **sampled) == local().generate(texts, **sampled)
    sent = sorted(app.state.requests, key=lambda body: body.get("first_row", 0))
    assert [len(body["inputs"]) for body in sent] == [8, 8, 8, 6]
    assert [text for body in sent for text in body["inputs"]] == texts
    assert client.score(texts, texts) == local().score(texts, texts)
    app.state.requests.clear()
    client.generate(texts[:9], batch_size=4)
    assert sorted(len(body["inputs"]) for body in app.state.requests) == [1, 4, 4]


def test_a_request_has_a_bounded_size(app: FastAPI, client: antiphon.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "CHARACTERS_A_REQUEST", 20)
    app.state.requests.clear()
    texts = ["hello", "in 3 hours", "in 4 hours", "ein Haus, zwei Häuser und", "hello"]
    assert client.generate(texts) == local().generate(texts)
    sent = sorted(app.state.requests, key=lambda body: body.get("first_row", 0))
    assert [len(body["inputs"]) for body in sent] == [2, 1, 1, 1]


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
    client: antiphon.Client, call: Callable[[Model | antiphon.Client], object]
) -> None:
    with pytest.raises(UsageError) as here:
        call(local())
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
        with pytest.warns(UserWarning, match="the text was cut"):
            assert list(client.stream("hello")) == []


def test_a_client_is_evaluated_like_a_model(client: antiphon.Client) -> None:
    pairs = [("hello", "hello"), ("in 3 hours", "in 3 Stunden")]
    here, there = (antiphon.evaluate(model, pairs, metrics=["chrf"]) for model in (local(), client))
    assert here["chrf"].score == there["chrf"].score


def test_a_client_serves_several_threads(client: antiphon.Client) -> None:
    expected = {text: local().generate(text)[0].text for text in TEXTS[:4]}
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


def test_a_client_needs_no_pytorch() -> None:
    code = (
        "import sys, antiphon; antiphon.Client('http://x'); print('torch' in sys.modules, 'tokenizers' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False False\n"


def test_keys() -> None:
    with running(answering({"tiny": local()}, key="secret-1")) as url:
        with antiphon.Client(url, "secret-1") as client:
            assert client.generate("hello") == local().generate("hello")
            assert "secret" not in repr(client)
        for key in (None, "wrong-2"):
            with antiphon.Client(url, key) as client, pytest.raises(UsageError, match="a key, please") as caught:
                client.generate("hello")
            assert not isinstance(caught.value, ConfigError | DataError | ModelError)


def test_an_unknown_model(url: str) -> None:
    with antiphon.Client(url, model="other") as client:
        with pytest.raises(ModelError, match="there is no model other"):
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
        pytest.warns(UserWarning, match=r"no answer from .* trying again for 30 s"),
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
