"""`antiphon watch` and `antiphon train --watch` as processes: what they print, and when they end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from watching.logs import make_run

from antiphon.cli.flags import parse
from antiphon.cli.main import command_class
from antiphon.watching.beside import WatchProcess
from antiphon.watching.server import HOST


def command(*words: str | Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "antiphon", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def rows_at(url: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{url}api/runs", timeout=10) as answer:
        return {run["name"]: run["rows"] for run in json.load(answer)["runs"]}


def is_open(url: str) -> bool:
    try:
        rows_at(url)
    except (urllib.error.URLError, OSError):
        return False
    return True


def wait_until_closed(url: str) -> None:
    deadline = time.monotonic() + 30
    while is_open(url):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_watch_prints_its_address_and_the_tunnel_and_ends_by_ctrl_c(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in "ab"]
    process = command("watch", *runs, "--port", "0", SSH_CONNECTION="1.2.3.4 5 6.7.8.9 22")
    assert process.stderr is not None
    line, tunnel = process.stderr.readline(), process.stderr.readline()
    url = line.split()[1]
    assert line == f"antiphon: {url} shows a, b; Ctrl-C ends it\n"
    port = url.split(":")[2].rstrip("/")
    assert f"ssh -N -L {port}:127.0.0.1:{port} " in tunnel
    deadline = time.monotonic() + 20
    while rows_at(url) != {"a": 105, "b": 105}:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130 and process.stderr.read() == "antiphon: interrupted\n"
    assert not is_open(url)


def test_the_commands_of_the_page_in_docs_are_understood() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "watching.md").read_text(encoding="utf-8")
    lines = [line.split("#")[0].split() for line in page.splitlines() if line.startswith("    antiphon ")]
    assert [line[1] for line in lines] == ["watch", "watch", "train"]
    for _, name, *words in lines:
        found = parse(command_class(name), words, prog=f"antiphon {name}")
        assert found.watch if name == "train" else [*found.runs] == words


def test_what_cannot_be_shown_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with socket.socket() as used:
        used.bind((HOST, 0))
        used.listen()
        port = str(used.getsockname()[1])
        wrong = {
            "must be a run folder": command("watch", tmp_path / "empty"),
            f"port {port} must be free, but is in use": command("watch", make_run(tmp_path / "run"), "--port", port),
            "drop `--seed`": command("watch", tmp_path / "run", "--seed", "1"),
            "must be at most 65535": command("watch", tmp_path / "run", "--port", "70000"),
        }
        for words, process in wrong.items():
            _, said = process.communicate(timeout=60)
            assert process.returncode == 2 and words in said and said.count("\n") == 1, said


def test_a_page_beside_a_training_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from antiphon.watching.beside import WatchProcess\n"
        "with WatchProcess([Path(sys.argv[1])]) as page: print(page.state, flush=True); time.sleep(600)"
    )
    training = subprocess.Popen([sys.executable, "-c", script, tmp_path / "later"], stdout=subprocess.PIPE, text=True)
    assert training.stdout is not None
    url, _, words = training.stdout.readline().partition(" ")
    assert words == "shows the run while it trains\n" and rows_at(url) == {}
    make_run(tmp_path / "later")
    deadline = time.monotonic() + 20
    while rows_at(url) != {"later": 105}:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    training.kill()
    training.wait()
    began = time.monotonic()
    assert is_open(url)  # an open page reads the last rows
    wait_until_closed(url)
    assert time.monotonic() - began > 1


def test_a_page_that_cannot_start_does_not_stop_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with WatchProcess([tmp_path]) as page:
        assert page.state == "there is no page: its process ended with 1"


def test_train_with_a_page(tmp_path: Path) -> None:
    pairs = "".join(f"{word}\t{word[::-1]}\n" for word in ("abc", "bca", "cab", "acb") * 8)
    (tmp_path / "pairs.tsv").write_text(f"source\ttarget\n{pairs}")
    (tmp_path / "recipe.yaml").write_text(
        "data: {train: {path: pairs.tsv}, valid: {path: pairs.tsv}}\ntokenizer: {kind: characters}\n"
        "model: {preset: tiny, d_model: 16, num_heads: 2}\n"
        "training: {max_steps: 10, batch_tokens: 60, log_every_steps: 2, warmup_steps: 2}\n"
    )
    process = command("train", tmp_path / "recipe.yaml", "--output", tmp_path / "run", "--watch", "--threads", "1")
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "shows the run while it trains" in line:
            url = line.split()[1]
            assert url.startswith(f"http://{HOST}:") and is_open(url)
    assert process.wait(timeout=120) == 0, lines
    folder = tmp_path / "run"
    assert lines[-1] == f"antiphon: the page ends with the training; `antiphon watch {folder}` shows it again\n"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    tokens = [row["tokens"] for row in rows if "tokens" in row]
    assert len(tokens) == 5 and tokens == sorted(set(tokens))
    wait_until_closed(url)
