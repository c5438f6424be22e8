"""`antiphon serve` as a command: a real model in a process of its own behind the routes, signals, wrong arguments."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import deepl
import httpx2
import pytest
from counts import count
from serving.process.tools import TEXTS, is_running, save_model

import antiphon
from antiphon.cli.main import main

SETTINGS = {"beam_size": 2, "max_new_tokens": 12}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("served") / "run" / "model")


class Command:
    """A running `antiphon serve`, its address, and what it has written to standard error."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "antiphon", "serve", *arguments, "--port", "0", "--threads", "1"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def url(self) -> str:
        """The address, once the models are ready."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.process.poll() is None:
            found = re.search(r"antiphon: (http://\S+) serves", self.text)
            if found is not None and httpx2.get(f"{found[1]}/ready").status_code == 200:
                return found[1]
            time.sleep(0.05)
        raise AssertionError(f"the server is not ready: {self.text}")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(40)
        self._reader.join()
        assert self.process.stdout is not None
        assert self.process.stdout.read() == ""
        return code


@contextmanager
def command(*arguments: str) -> Iterator[Command]:
    made = Command(*arguments)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
        made.process.wait()
        made._reader.join()


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Command]:
    with command(f"small={folder}", "--quantize", "int8", "--languages", "en-de") as made:
        yield made


@pytest.fixture(scope="module")
def client(served: Command) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=served.url(), timeout=60) as made:
        yield made


def test_it_says_what_it_serves(served: Command, client: httpx2.Client, folder: Path) -> None:
    (line,) = [line for line in served.lines if line.startswith("antiphon: http")]
    assert str(client.base_url).rstrip("/") in line and f"small ({folder}, device auto)" in line
    assert "no keys needed; loading and unloading of models is refused" in line


def test_answers_are_those_of_the_model(client: httpx2.Client, folder: Path) -> None:
    model = antiphon.load(folder, quantize="int8")
    body = {"inputs": TEXTS, "details": ["token_confidence"], **SETTINGS}
    answers = client.post("/v1/generate", json=body).json()["answers"]
    for answer, expected in zip(answers, model.generate(TEXTS, **SETTINGS), strict=True):
        assert (answer["text"], answer["tokens"]) == (expected.text, expected.tokens)
        assert answer["score"] == pytest.approx(expected.score)
        assert len(answer["token_confidence"]) == len(answer["tokens"])
    streamed = client.post("/v1/generate", json={**body, "inputs": TEXTS[1], "stream": True}).text
    events = [json.loads(block.removeprefix("data: ")) for block in streamed.strip().split("\n\n")[:-1]]
    assert "".join(event.get("text", "") for event in events) == answers[1]["text"]
    assert events[-1]["answer"]["text"] == answers[1]["text"] and streamed.endswith("data: [DONE]\n\n")
    scores = client.post("/v1/score", json={"sources": ["we go"], "targets": ["wir gehen"]}).json()["scores"]
    assert scores == pytest.approx(model.score(["we go"], ["wir gehen"]))
    maps = client.post("/v1/attention", json={"source": "we go", "target": "wir"}).json()
    assert maps["source_tokens"] == model.attention("we go", "wir").source_tokens
    assert len(maps["cross"]) >= 1


def test_limits_of_tokens_name_both_numbers(client: httpx2.Client) -> None:
    """The tokenizer is of bytes: 399 and the end are the model's 400."""
    assert client.post("/v1/generate", json={"inputs": "a" * 399, "max_new_tokens": 2}).status_code == 200
    over = client.post("/v1/generate", json={"inputs": "a" * 400, "max_new_tokens": 2})
    error = over.json()["error"]
    assert over.status_code == 422 and "400" in error["message"] and "401" in error["message"]


def test_foreign_routes_over_a_real_model(client: httpx2.Client) -> None:
    url = str(client.base_url)
    translated = deepl.DeepLClient("any", server_url=url).translate_text(TEXTS[0], target_lang="DE")
    html = client.post(
        "/translate", json={"q": "<p>we <b>go</b></p>", "source": "en", "target": "de", "format": "html"}
    )
    text = html.json()["translatedText"]
    assert isinstance(translated, deepl.TextResult)
    assert re.sub("[^<>/pb]", "", text) and text.startswith("<p>") and text.count("<b>") == text.count("</b>") == 1
    long = client.post("/v1/translate", json={"text": "we go. " * 200}).json()["translations"][0]
    assert len(long["segments"]) == 200 and long["text"].endswith(" ")


@pytest.mark.parametrize(
    ("body", "field"),
    [({"inputs": "a", "top_k": 3}, "top_k"), ({"inputs": ["a"], "prefix": ["b", "c"]}, "prefix"),
     ({"inputs": "a", "n_best": 9, "beam_size": 2}, "n_best")],
)  # fmt: skip
def test_settings_that_the_model_refuses(client: httpx2.Client, body: dict[str, object], field: str) -> None:
    response = client.post("/v1/generate", json=body)
    assert response.status_code == 422 and response.json()["error"]["field"] == field, response.text


def test_metrics_of_the_process(client: httpx2.Client) -> None:
    text = client.get("/metrics").text
    assert 'antiphon_model_state{model="small",state="ready"} 1.0' in text
    assert re.search(r'antiphon_model_answers_total\{model="small"\} [1-9]', text)
    assert "antiphon_cache_hits_total" in text


def begin(url: str, body: dict[str, object]) -> socket.socket:
    """A connection with a request on it, sent at once."""
    host, port = url.removeprefix("http://").split(":")
    content = json.dumps(body).encode()
    head = f"POST /v1/generate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    made = socket.create_connection((host, int(port)), timeout=60)
    made.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode() + content)
    return made


def finish(connection: socket.socket) -> bytes:
    """The response on a connection."""
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.timeout(3600)  # the full count
def test_sigterm_with_requests_in_flight(folder: Path) -> None:
    # Enough work that the server still drains when the request after the signal arrives.
    body = {"inputs": "ab" * 100, "max_new_tokens": 120, "min_new_tokens": 100, "beam_size": 2}
    for _ in range(count("drains")):
        with command(str(folder), "--languages", "en-de") as made:
            url = made.url()
            sent = [begin(url, {**body, "prefix": str(number)}) for number in range(100)]
            deadline = time.monotonic() + 30
            while (running := _running(url)) < 50:
                assert time.monotonic() < deadline, running
            begun = time.monotonic()
            made.process.send_signal(signal.SIGTERM)
            while httpx2.get(f"{url}/ready").status_code == 200:
                assert time.monotonic() < begun + 10
            refused = httpx2.post(f"{url}/v1/generate", json=body)
            assert refused.status_code == 503 and refused.headers["connection"] == "close"
            answers = [finish(connection) for connection in sent]
            assert [answer[9:12] for answer in answers] == [b"200"] * 100
            assert all(answer.endswith(b'"model":"run"}') for answer in answers)
            assert made.process.wait(30) == 0 and time.monotonic() - begun < 30


def _running(url: str) -> int:
    """The requests that are not answered yet, without the one that asks."""
    found = re.search(r"antiphon_requests_running ([0-9]+)", httpx2.get(f"{url}/metrics").text)
    assert found is not None
    return int(found[1]) - 1


def test_ctrl_c_is_130_and_leaves_no_process(folder: Path) -> None:
    with command(str(folder), "--quiet") as made:
        deadline = time.monotonic() + 120
        while not (started := children(made.process.pid)):  # on a busy machine Python itself takes seconds to start
            assert time.monotonic() < deadline and made.process.poll() is None, made.text
            time.sleep(0.05)
        assert made.end(signal.SIGINT) == 130
        assert "Traceback" not in made.text
        while any(map(is_running, started)):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(found) for file in Path(f"/proc/{pid}/task").glob("*/children") for found in file.read_text().split()]


def ended(*arguments: str, code: str = "") -> tuple[int, str]:
    """The exit code and standard error of a command that ends by itself. `code` runs before it."""
    script = f"{code}\nimport sys\nfrom antiphon.cli.main import main\nsys.exit(main(['serve', *sys.argv[1:]]))"
    made = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    return made.returncode, made.stderr


def one_line(text: str) -> str:
    """The only line of the command line itself."""
    (line,) = [line for line in text.splitlines() if line.startswith("antiphon: ") and " serves " not in line]
    return line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "`[NAME=]MODEL ...` must be given"),
        (["/no/such/folder"], "`/no/such/folder` must be a run folder or a model folder, but is not there"),
        (["FOLDER", "FOLDER"], "must have different names, but two are `run`"),
        (["FOLDER", "--keys", "/no/keys.yaml"], "the key file `/no/keys.yaml` cannot be read"),
        (["FOLDER", "--languages", "english"], "must be pairs such as en-de, but one is `english`"),
        (["FOLDER", "--port", "70000"], "`--port` must be at least 0 and at most 65535"),
        (["FOLDER", "--cors-origin", "example.org"], "must be an origin such as https://example.org"),
        (["FOLDER", "--trusted-proxy", "proxy"], "must be an address or a network, but one is `proxy`"),
        (["FOLDER", "--host", "no.such.host.invalid"], "Give --host 127.0.0.1"),
        (["FOLDER", "--seed", "3"], "`--seed` is a setting of each request"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments_are_one_line(
    folder: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is started: without a process, most of whose time are imports."""
    port = [] if "--port" in arguments else ["--port", "0"]
    code = main(["serve", *(str(folder) if word == "FOLDER" else word for word in arguments), *port])
    text = capsys.readouterr().err
    assert code == 2 and words in one_line(text), text


def test_a_model_that_is_not_there_is_one_line() -> None:
    code, text = ended("no/such", "--port", "0")
    words = "the model `such` cannot be loaded: there is no folder `no/such` here"
    assert code == 2 and words in one_line(text), text


def test_a_port_in_use_is_one_line(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, text = ended(str(folder), "--port", str(port))
    assert code == 2 and f"port {port} of 127.0.0.1 is in use. Give --port" in one_line(text)


@pytest.mark.parametrize("library", ["fastapi", "uvicorn", "prometheus_client", "python_multipart"])
def test_a_missing_extra_is_one_line(folder: Path, library: str) -> None:
    code, text = ended(str(folder), code=f"import sys; sys.modules['{library}'] = None")
    name = library.replace("_", "-")
    assert code == 2 and one_line(text) == (
        f"antiphon: `antiphon serve` needs {name}. Install: pip install 'antiphon[serve]'"
    )


def test_a_lazy_model_is_loaded_by_its_first_call(folder: Path) -> None:
    with command(str(folder), "wrong=no/such", "--lazy") as made:
        url = made.url()
        states = httpx2.get(f"{url}/ready").json()["models"]
        assert states == {"run": "unloaded", "wrong": "unloaded"}
        answer = httpx2.post(f"{url}/v1/generate", json={"inputs": "a", "max_new_tokens": 3}, timeout=60)
        assert answer.status_code == 200, answer.text
        wrong = httpx2.post(f"{url}/v1/generate", json={"inputs": "a", "model": "wrong"}, timeout=60)
        assert wrong.status_code == 503 and "no folder" in wrong.json()["error"]["message"]
        assert httpx2.get(f"{url}/health").status_code == 200  # a model that fails later does not end the server
        assert made.end() == 0


def test_an_open_address_is_a_warning(folder: Path) -> None:
    with command(str(folder), "--host", "0.0.0.0") as made:
        made_url = made.url().replace("0.0.0.0", "127.0.0.1")
        assert httpx2.get(f"{made_url}/health").status_code == 200
        assert made.end() == 0
    (warning,) = [json.loads(line) for line in made.lines if '"warning"' in line]
    assert "--keys FILE" in warning["message"]


def test_the_server_needs_no_torch_tyro_or_babel(folder: Path) -> None:
    """What a process that only serves imports; the model's own process has PyTorch."""
    code = (
        "import sys; sys.modules['tyro'] = sys.modules['babel'] = sys.modules['sacrebleu'] = None\n"
        "from antiphon.cli import serve\n"
        "serve.Serve._announce = lambda self, *_: sys.exit(7 if 'torch' in sys.modules else 5)"
    )
    assert ended(str(folder), "--port", "0", code=code)[0] == 5
