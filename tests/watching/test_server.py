"""The server of the page: this machine alone, read only, safe headers, and one clear line for a port in use."""

from __future__ import annotations

import http.client
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from watching.logs import make_run

from antiphon.errors import ConfigError, UsageError
from antiphon.watching import WatchPage, watch
from antiphon.watching.files import page_files
from antiphon.watching.runs import WatchedRuns
from antiphon.watching.server import PORT, WatchServer, open_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchServer]:
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "a")
    make_run(folder / "ü b", offset=0.5)
    made = open_server(WatchedRuns([folder]), 0)
    made.start()
    while any(run["rows"] == 0 for run in made.runs.summaries()):
        pass
    yield made
    made.stop()


def ask(server: WatchServer, path: str, *, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


def test_every_answer_has_the_headers_of_security(server: WatchServer) -> None:
    for path in ("/", "/scripts/main.js", "/api/runs", "/nowhere", "/api/samples?run=a"):
        _, headers, _ = ask(server, path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff" and headers["server"] == "antiphon"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:9000", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("LOCALHOST", 200),
        ("evil.example", 421), ("localhost.evil.example:6007", 421), ("127.0.0.1.evil.example", 421), ("", 421),
        ("localhost:evil", 421), ("192.168.1.5:6007", 421),
    ],
)  # fmt: skip
def test_only_names_of_this_machine_are_answered(server: WatchServer, host: str, status: int) -> None:
    assert ask(server, "/api/runs", Host=host)[0] == status
    assert ask(server, "/", Host=host)[0] == status


def test_only_files_of_the_page_are_served(server: WatchServer) -> None:
    for path in (
        "/../server.py",
        "/..%2fserver.py",
        "//etc/passwd",
        "/page/index.html",
        "/scripts/",
        "/uplot/../index.html",
    ):
        status, _, body = ask(server, path)
        assert status == 404 and json.loads(body)["error"]
    assert ask(server, "/uplot/LICENSE")[2].startswith(b"The MIT License")
    assert all(ask(server, path)[0] == 200 for path in page_files())


def test_nothing_can_be_changed(server: WatchServer) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert ask(server, "/api/runs", method=method)[0] == 501
    status, headers, body = ask(server, "/", method="HEAD")
    assert (status, body) == (200, b"") and int(headers["content-length"]) > 1000
    tag = ask(server, "/")[1]["etag"]
    assert ask(server, "/", **{"If-None-Match": tag})[0] == 304


def test_figures_are_sent_as_numbers(server: WatchServer) -> None:
    status, headers, body = ask(server, "/api/figures?run=%C3%BC%20b&name=step&name=loss&start=100&generation=0")
    assert status == 200 and headers["content-type"] == "application/octet-stream"
    length = struct.unpack_from("<I", body)[0]
    head = json.loads(body[4 : 4 + length])
    assert (4 + length) % 8 == 0 and head == {"generation": 0, "start": 100, "rows": 105, "names": ["step", "loss"]}
    assert struct.unpack_from("<5d", body, 4 + length) == (970, 980, 990, 1000, 1000)
    assert ask(server, "/api/figures?run=none&name=step")[0] == 404
    assert ask(server, "/api/figures?run=a&name=step&start=-1&generation=x")[0] == 200


def test_settings_are_those_of_the_recipes(server: WatchServer) -> None:
    found = json.loads(ask(server, "/api/settings")[2])
    assert found["a"]["training.lr"] == "0.001" and found["ü b"]["training.lr"] == "0.501"


def test_a_port_in_use_is_refused_in_one_line_and_without_one_the_next_is_taken(server: WatchServer) -> None:
    used = server.server_address[1]
    with pytest.raises(ConfigError, match=f"port {used} must be free, but is in use. Choose another `port`") as raised:
        open_server(server.runs, used)
    assert "\n" not in str(raised.value)
    first, second = open_server(server.runs, None), open_server(server.runs, None)
    assert PORT <= first.server_address[1] < second.server_address[1] < PORT + 20
    first.server_close()
    second.server_close()


def test_a_page_in_a_notebook_shows_itself(tmp_path: Path) -> None:
    with watch(make_run(tmp_path / "run"), port=0) as page:
        assert isinstance(page, WatchPage)
        html = page._repr_html_()
        assert f'<iframe src="{page.url}"' in html and "<svg" in html and "<script" not in html
        headers = ask(page._server, "/")[1]  # type: ignore[arg-type]
        assert "frame-ancestors http://localhost:*" in headers["content-security-policy"]
        assert page.url in repr(page) and "closed" not in repr(page)
    assert "closed" in repr(page)
    page.close()
    with pytest.raises(UsageError, match="`port` must be None or a number"):
        watch(tmp_path / "run", port=99999)


def test_the_code_of_the_page_in_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "watching.md").read_text(encoding="utf-8")
    [code] = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    for name in "ab":
        make_run(tmp_path / "runs" / name)
    monkeypatch.chdir(tmp_path)
    found: dict = {}
    exec(code, found)
    assert "closed" in repr(found["page"])


def test_a_run_shows_itself_beside_others(tmp_path: Path) -> None:
    from antiphon.training.reporting.rows import MetricRows
    from antiphon.workflows import Run

    run = Run(make_run(tmp_path / "one"), None, MetricRows(), "done")  # type: ignore[arg-type]
    with run.watch(make_run(tmp_path / "two"), port=0) as page:
        assert [each["name"] for each in page._runs.summaries()] == ["one", "two"]
