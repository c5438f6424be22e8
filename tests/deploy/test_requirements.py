"""deploy/requirements.txt is enough to serve: without the libraries of training, evaluation and the command line, a
model is loaded, `antiphon serve` starts, translates texts, HTML and files, streams, and ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx2
import pytest
from generation.test_model import model as random_model

import antiphon
from antiphon.generation.model import Model

ROOT = Path(__file__).resolve().parents[2]
NOT_SERVING = {"sacrebleu", "Babel", "tyro", "rich"}  # dependencies of the package that a server does without
OTHERS = {"transformers", "datasets", "pandas", "pyarrow", "matplotlib", "ctranslate2", "peft", "schedulefree", "nltk"}


def names(lines: list[str]) -> dict[str, str]:
    """Requirements by name."""
    found = (re.fullmatch(r"([\w-]+)(.*)", line.split("#")[0].strip()) for line in lines)
    return {match[1]: match[2] for match in found if match}


def test_the_list_is_that_of_the_package_without_what_a_server_does_not_need() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = names(project["dependencies"]) | names(project["optional-dependencies"]["serve"])
    listed = names((ROOT / "deploy" / "requirements.txt").read_text(encoding="utf-8").splitlines())
    assert wanted.keys() >= NOT_SERVING
    assert listed == {name: floor for name, floor in wanted.items() if name not in NOT_SERVING}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a Python, and of its child processes, in which those libraries cannot be imported."""
    refused = sorted({*map(str.lower, NOT_SERVING), *OTHERS})
    folder = tmp_path_factory.mktemp("site")
    code = f"import sys\nsys.modules.update(dict.fromkeys({refused}))\n"
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    path = [str(folder), str(ROOT / "src")]
    found = os.environ | {"PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"}
    lines = [f"try: import {name}; print('{name}')\nexcept ImportError: pass" for name in map(str.lower, NOT_SERVING)]
    tried = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], env=found, capture_output=True, text=True, check=True
    )
    assert tried.stdout == "", "these can still be imported"
    return found


def test_a_model_answers_without_them(tmp_path: Path, environment: dict[str, str]) -> None:
    folder = random_model().save(tmp_path / "model")
    code = f"""
import antiphon
model = antiphon.load({str(folder)!r}, quantize="int8")
texts = ["hello. in 3 hours we go. " * 4, "ein Haus"]
answers = model.generate(texts, overflow="split", beam_size=2)
assert "".join(model.stream(texts[1])) == answers[1].text
assert model.score(texts[1], "Haus")[0] < 0
print(model.attention("ein Haus", "Haus").cross.shape[0])
"""
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "1\n"), ended.stderr


def test_the_server_runs_without_them(tmp_path: Path, environment: dict[str, str]) -> None:
    Model.from_parts(random_model().parts).save(tmp_path / "model")
    words = ["-m", "antiphon", "serve", f"tiny={tmp_path / 'model'}", "--port", "0", "--languages", "en-de"]
    server = subprocess.Popen([sys.executable, *words], env=environment, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        lines = []
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", lines[-1] if lines else "")):
            lines.append(server.stderr.readline())
            assert lines[-1], lines
        with (
            antiphon.Client(found[0], retry_seconds=200) as client,
            httpx2.Client(base_url=found[0], timeout=60) as http,
        ):
            assert client.generate(["hello", "ein Haus"])[1].tokens
            assert "".join(client.stream("hello", beam_size=1)) == client.generate("hello", beam_size=1)[0].text
            body = {"q": "<p>hello <b>world</b></p>", "source": "en", "target": "de", "format": "html"}
            assert "<b>" in http.post("/translate", json=body).raise_for_status().json()["translatedText"]
            assert http.post("/detect", json={"q": "in 3 hours we go home"}).raise_for_status().json()
            form = {"source": "en", "target": "de"}
            sent = http.post("/translate_file", data=form, files={"file": ("a.txt", b"hello\n\nein Haus\n")})
            assert (
                http.get(sent.raise_for_status().json()["translatedFileUrl"]).raise_for_status().text.count("\n") == 3
            )
            assert "antiphon_requests_total" in http.get("/metrics").raise_for_status().text
            assert http.get("/openapi.json").raise_for_status().json()["openapi"]
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.stderr.close()
