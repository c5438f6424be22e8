"""docs/serving.md, and the part of README.md about it: the commands start, the requests and the Python run against a
server, and the tables are right."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from generation.test_model import model as random_model
from page_commands import passages
from serving.http.fake import FakeService
from serving.http.live import LiveServer, running

import antiphon
from antiphon.cli.flags import parse
from antiphon.cli.serve import Serve
from antiphon.serving.http.keys import KeyRules
from antiphon.serving.process.settings import ProcessSettings
from antiphon.serving.settings import ServerSettings

ROOT = Path(__file__).resolve().parents[2]
PAGE = "docs/serving.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"
COMMANDS = [
    passage
    for page in ("README.md", PAGE)
    for passage in passages(page)
    if passage.mark.endswith("test_serving_page.py")
]


def fences(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with running(FakeService(), languages=["en-de,de-en"]) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a recording."""
    monkeypatch.chdir(tmp_path)
    with wave.open("hello.wav", "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(b"\0\0" * 1600)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_the_commands_start_a_server(command: object, folder: Path) -> None:
    for name in ("demo", "mine"):
        random_model("bytes").save(folder / "runs" / name)
    (key_file,) = fences("yaml")
    (folder / "keys.yaml").write_text(key_file, encoding="utf-8")
    (words, _), *rest = command.commands  # type: ignore[attr-defined]
    assert words[:2] == ["antiphon", "serve"] and not rest
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    # The page's port may be in use; models are loaded by other tests.
    started = [sys.executable, "-m", "antiphon", *words[1:], "--port", "0", "--lazy"]
    server = subprocess.Popen(started, stderr=subprocess.PIPE, text=True, env=environment)
    assert server.stderr is not None
    try:
        line = server.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        with antiphon.Client(found[0], "a-long-random-text") as client:
            names = [each["name"] for each in client.models()]
        assert names == (["dates", "mine"] if "dates=" in words[2] else [Path(words[2]).name])
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.stderr.close()


def test_there_are_commands() -> None:
    assert len(COMMANDS) == 4


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("block", fences("shell"))
def test_the_requests_are_answered(block: str, server: LiveServer, folder: Path) -> None:
    assert ADDRESS in block
    script = block.replace(ADDRESS, server.url).replace("curl ", "curl --silent --show-error ")
    ended = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, check=False, cwd=folder)
    assert (ended.returncode, ended.stderr) == (0, "")
    if "stream" in block:
        assert ended.stdout.endswith("data: [DONE]\n\n")
    else:
        assert "error" not in json.loads(ended.stdout)


def test_the_python_runs(server: LiveServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = [passage.text for passage in passages(PAGE) if passage.python]
    assert len(code) == 3
    for block in code:
        assert ADDRESS in block
        exec(compile(block.replace(ADDRESS, server.url), PAGE, "exec"), {})
    shown = capsys.readouterr().out
    assert shown.count("IN 3 HOURS\n") == 3, "three clients translate the same text"
    assert "HEARD" in shown and "IN 5 HOURS" in shown and "[-12.0]" in shown


def test_the_answers_that_are_shown_have_the_fields_of_real_ones(server: LiveServer) -> None:
    shown = [set(re.findall(r'"(\w+)":', block)) for block in fences("json")]
    (translation, answer) = shown
    assert translation == {"translatedText"}
    with antiphon.Client(server.url) as client:
        found = client._connection.post("/v1/generate", {"inputs": ["a"], "details": ["alignment"]})
    assert answer == {*found, *found["answers"][0], *found["answers"][0]["alignment"][0]}


def test_the_table_of_limits_has_the_defaults() -> None:
    known = {entry.name: entry.default for kind in (ServerSettings, ProcessSettings) for entry in fields(kind)}
    rows = re.findall(r"^\| `--([a-z-]+)` \| (\d+) \|", TEXT, re.MULTILINE)
    assert len(rows) > 10
    for flag, value in rows:
        assert known[flag.replace("-", "_")] == float(value), flag
    limits = {name for name in known if name.startswith("max_") or name.endswith("_timeout_seconds")}
    others = {"max_load_failures", "max_attention_values", "load_timeout_seconds"}
    assert limits - others == {flag.replace("-", "_") for flag, _ in rows} & limits


def test_numbers_in_the_text_are_the_defaults() -> None:
    parameters = antiphon.Client.__init__.__kwdefaults__
    assert "of which four run at the same time" in TEXT and parameters["connections"] == 4
    assert "for at most 30 seconds (`retry_seconds=`)" in TEXT and parameters["retry_seconds"] == 30
    assert "ends after 300 (`timeout_seconds=`)" in TEXT and parameters["timeout_seconds"] == 300
    settings = ServerSettings(**parse(Serve, ["x"], prog="antiphon serve").server)
    assert "(at most `--drain-seconds`, 25)" in TEXT and settings.drain_seconds == 25
    assert "exists for an hour (`--file-seconds`)" in TEXT and settings.file_seconds == 3600


def test_the_key_file_is_one(tmp_path: Path) -> None:
    (text,) = fences("yaml")
    path = tmp_path / "keys.yaml"
    path.write_text(text, encoding="utf-8")
    rules = KeyRules(str(path))
    assert rules.enter("a-long-random-text", address="") == "alice"
    assert not rules.required, "without a key by the rate of `anonymous`"
    assert {each["name"] for each in yaml.safe_load(text)["keys"]} == {"alice", "operator"}


def test_files_that_are_named_are_there() -> None:
    named = set(re.findall(r"`(?:deploy/)?([\w-]+\.(?:yaml|service|py|txt))`", TEXT)) - {"notes.txt", "keys.yaml"}
    assert len(named) > 5
    for name in named:
        assert (ROOT / "deploy" / name).is_file(), name
    for command in re.findall(r"`(docker build [^`]*)`", TEXT):
        words = shlex.split(command)
        assert (ROOT / words[words.index("--file") + 1]).is_file()
