"""`antiphon.Client`: the same results and errors as a local model, from a running server."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from serving.http import live
from serving.http.fake import FakeService

import antiphon
from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
from antiphon.errors import ConfigError, DataError, ModelError, UsageError
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
        for wrong in (3, None, {"a": "b"}, b"hello", [b"hello"], ["hello", 3]):
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
    files = [tmp_path / "a.wav", tmp_path / "b.FLAC"]
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


def test_images_for_a_model_of_images(tmp_path: Path) -> None:
    files = [tmp_path / "a.png", tmp_path / "b.JPG"]
    for number, file in enumerate(files):
        file.write_bytes(b"data" * (10 + number))
    service = FakeService()
    with live.running(service) as server:
        with antiphon.Client(server.url, model="eyes") as client:
            for inputs in (files, map(str, files)):
                found = client.generate(inputs, prompt="what is this?")
                assert [each.text for each in found] == ["SAW 40 BYTES", "SAW 44 BYTES"]
            assert service.calls[-1].inputs == [b"data" * 10, b"data" * 11]
            assert "".join(client.stream(files[0])).strip() == "SAW 40 BYTES"
            assert client.score(files[:1], ["ja"]) == [-2.0]
            assert client.attention(files[0], "ja").source_tokens == ["40 bytes"]
            with pytest.raises(DataError, match=r"there is no file `.*c\.png`"):
                client.generate(tmp_path / "c.png")
        with antiphon.Client(server.url) as client:  # a model of texts
            assert client.generate("a.png")[0].text == "A.PNG"


def test_a_client_needs_no_pytorch() -> None:
    code = (
        "import sys, antiphon; antiphon.Client('http://x'); print('torch' in sys.modules, 'tokenizers' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False False\n"


def test_keys(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [{"name": "alice", "key": "secret-1"}]}))
    with live.running(FakeService(), keys=str(keys)) as server:
        url = server.url
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
