"""Keys and rates: who may use which route, and that no key is ever shown."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.routing import APIRoute
from serving.http.fake import FakeService
from serving.http.live import LiveServer, running

from antiphon.errors import ConfigError
from antiphon.serving.http import keys
from antiphon.serving.http.errors import ApiError
from antiphon.serving.http.keys import KeyRules
from antiphon.serving.http.logs import JsonLines

USER, ADMIN, HASHED = "user-key-1234567", "admin-key-765432", "hashed-key-111111"
RULES = f"""
keys:
  - {{name: user, key: {USER}}}
  - {{name: admin, key: {ADMIN}, admin: true}}
  - {{name: hashed, key: "sha256:{hashlib.sha256(HASHED.encode()).hexdigest()}"}}
"""
# The routes that need no key, even where there is a key file.
OPEN = {
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/openapi.json"),
    ("GET", "/frontend/settings"),
    ("GET", "/download_file/{name}"),  # its name is a secret
}
ADMIN_ROUTES = {("POST", "/v1/models/{name}/load"), ("POST", "/v1/models/{name}/unload")}
SENT: dict[str, dict[str, Any]] = {
    "/v1/generate": {"json": {"inputs": "a"}},
    "/v1/score": {"json": {"sources": "a", "targets": "b"}},
    "/v1/attention": {"json": {"source": "a"}},
    "/v1/translate": {"json": {"text": "a"}},
    "/translate": {"json": {"q": "a", "source": "en", "target": "de"}},
    "/detect": {"json": {"q": "a"}},
    "/v2/translate": {"json": {"text": ["a"], "target_lang": "DE"}},
    "/v1/audio/transcriptions": {"data": {"model": "ears"}, "files": {"file": ("a.wav", b"RIFF")}},
    "/translate_file": {"data": {"source": "en", "target": "de"}, "files": {"file": ("a.txt", b"a")}},
    "/v1/files": {"data": {"source": "en"}, "files": {"file": ("a.txt", b"a")}},
}
PLACES = {"{name}": "dates", "{id}": "none"}


@pytest.fixture(scope="module")
def log() -> Iterator[io.StringIO]:
    """Everything that the server logs."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    handler.addFilter(lambda record: not record.name.startswith(("httpx2", "httpcore2")))  # of the client
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, log: io.StringIO) -> Iterator[LiveServer]:
    file: Path = tmp_path_factory.mktemp("keys") / "keys.yaml"
    file.write_text(RULES, encoding="utf-8")
    with running(FakeService(), languages=["en-de,de-en"], keys=str(file), log_requests=True) as server:
        yield server


def routes(server: LiveServer) -> list[tuple[str, str]]:
    """Every method and path that the application answers."""
    found: list[tuple[str, str]] = []
    for route in server.app.routes:
        inner = getattr(getattr(route, "original_router", None), "routes", [route])
        found += [(method, each.path) for each in inner if isinstance(each, APIRoute) for method in each.methods]
    return sorted(found)


def pages(server: LiveServer) -> set[tuple[str, str]]:
    """The routes of the files of the page."""
    from antiphon.serving.http.pages import page_routes

    return {
        (method, route.path)
        for route in page_routes().routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }


def ask(server: LiveServer, method: str, path: str, headers: dict[str, str]) -> httpx2.Response:
    for place, value in PLACES.items():
        path = path.replace(place, value)
    return server.client.request(method, path, headers=headers, **SENT.get(path, {}))


def test_all_routes_are_seen(keyed: LiveServer) -> None:
    found = set(routes(keyed))
    assert len(found) > 20 and found > OPEN | ADMIN_ROUTES
    assert {path for method, path in found if method == "POST"} == {*SENT, *(path for _, path in ADMIN_ROUTES)}


def test_every_route_without_a_key_with_a_wrong_one_and_with_a_right_one(keyed: LiveServer) -> None:
    for method, path in routes(keyed):
        if (method, path) in OPEN or (method, path) in pages(keyed):
            assert ask(keyed, method, path, {}).status_code in (200, 304, 404), path
            continue
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-API-Key": "wrong"}, {"Authorization": USER}):
            response = ask(keyed, method, path, headers)
            assert response.status_code in (401, 403), (method, path, headers, response.text)
        right = ask(keyed, method, path, {"Authorization": f"Bearer {USER}"})
        admin = ask(keyed, method, path, {"X-API-Key": ADMIN})
        if (method, path) in ADMIN_ROUTES:
            assert right.status_code == 403 and "`user`" in right.text
        else:
            assert right.status_code not in (401, 403), (method, path, right.text)
        assert admin.status_code not in (401, 403), (method, path, admin.text)
    keyed.client.post("/v1/models/dates/load", headers={"X-API-Key": ADMIN})


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {USER}"},
        {"Authorization": f"bearer  {USER}"},
        {"Authorization": f"DeepL-Auth-Key {USER}"},
        {"X-API-Key": USER},
        {"X-API-Key": HASHED},
    ],
)
def test_the_ways_to_give_a_key(keyed: LiveServer, headers: dict[str, str]) -> None:
    assert keyed.client.get("/v1/models", headers=headers).status_code == 200


def test_the_key_of_libretranslate_is_a_field(keyed: LiveServer) -> None:
    body = {"q": "a", "source": "en", "target": "de"}
    assert keyed.client.post("/translate", json={**body, "api_key": USER}).status_code == 200
    assert keyed.client.post("/translate", data={**body, "api_key": USER}).status_code == 200
    assert keyed.client.post("/translate", params={**body, "api_key": USER}).status_code == 200
    assert keyed.client.get("/languages", params={"api_key": USER}).status_code == 200
    for wrong in ("wrong", "", None, 3, [USER]):
        response = keyed.client.post("/translate", json={**body, "api_key": wrong})
        assert response.status_code == 403 and isinstance(response.json()["error"], str)


@pytest.mark.parametrize("key", ["\xff", "a" * 10_000, "sha256:" + hashlib.sha256(HASHED.encode()).hexdigest(), "é"])
def test_odd_keys_are_wrong_keys(keyed: LiveServer, key: str) -> None:
    response = keyed.client.get("/v1/models", headers=[(b"X-API-Key", key.encode("latin-1"))])  # type: ignore[arg-type]
    assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer"


def test_a_file_belongs_to_its_key(keyed: LiveServer) -> None:
    sent = SENT["/v1/files"]
    made = keyed.client.post("/v1/files", headers={"X-API-Key": USER}, **sent).json()
    assert keyed.client.get(f"/v1/files/{made['id']}", headers={"X-API-Key": USER}).status_code == 200
    assert keyed.client.get(f"/v1/files/{made['id']}", headers={"X-API-Key": ADMIN}).status_code == 404


def test_no_key_is_shown(keyed: LiveServer, log: io.StringIO) -> None:
    """Not in logs, metrics, pages or errors: run after the tests above have sent all keys."""
    keyed.client.get("/v1/models", headers={"X-API-Key": USER})
    keyed.client.post("/translate", params={"q": "a-secret-text", "source": "en", "target": "de", "api_key": USER})
    shown = log.getvalue() + "".join(
        keyed.client.get(path, headers={"X-API-Key": ADMIN}).text
        for path in ("/metrics", "/openapi.json", "/v1/models")
    )
    assert '"key": "user"' in shown and '"route": "/translate"' in shown
    for secret in (USER, ADMIN, HASHED, hashlib.sha256(HASHED.encode()).hexdigest(), "a-secret-text"):
        assert secret not in shown


def test_without_a_file_only_administration_is_refused(server: LiveServer) -> None:
    assert server.client.get("/v1/models", headers={"X-API-Key": "any"}).status_code == 200
    response = server.client.post("/v1/models/later/load", headers={"X-API-Key": "any"})
    assert response.status_code == 403 and "--keys FILE" in response.json()["error"]["message"]


def test_administration_opened_by_a_setting() -> None:
    with running(FakeService(), open_admin=True) as server:
        assert server.client.post("/v1/models/later/load").json()["state"] == "ready"
        assert server.client.post("/v1/models/later/unload").json()["state"] == "unloaded"
        assert server.client.post("/v1/models/nope/load").status_code == 404


def test_rates(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    entry = {"name": "a", "key": "key-a", "requests_per_minute": 3, "characters_per_minute": 100}
    file.write_text(json.dumps({"keys": [entry], "anonymous": {"requests_per_minute": 2}}), encoding="utf-8")
    with running(FakeService(), keys=str(file)) as server:
        headers = {"X-API-Key": "key-a"}
        statuses = [server.client.get("/v1/models", headers=headers).status_code for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        refused = server.client.get("/v1/models", headers=headers)
        assert 1 <= int(refused.headers["retry-after"]) <= 20 and refused.json()["error"]["code"] == "rate_limited"
        assert [server.client.get("/v1/models").status_code for _ in range(3)] == [200, 200, 429]
        assert server.client.get("/v1/models", headers={"X-API-Key": "wrong"}).status_code == 401
        assert server.client.post("/v1/models/later/load").status_code == 401


def test_characters_are_a_rate_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text("keys: [{name: a, key: key-a, characters_per_minute: 100}]", encoding="utf-8")
    with running(FakeService(), keys=str(file)) as server:
        server.client.headers["X-API-Key"] = "key-a"
        assert server.post("/v1/generate", inputs=["a" * 60]).status_code == 200
        refused = server.post("/v1/generate", inputs=["a" * 60])
        assert refused.status_code == 429 and "100 characters a minute" in refused.json()["error"]["message"]
        assert server.post("/v1/generate", inputs=["a" * 30]).status_code == 200


def test_a_bucket_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(keys.time, "monotonic", lambda: now[0])
    bucket = keys._Bucket(60)
    assert all(bucket.take(1, 60) == 0 for _ in range(60))
    assert bucket.take(1, 60) == pytest.approx(1.0)
    now[0] = 1.0
    assert bucket.take(1, 60) == 0 and bucket.take(1, 60) > 0
    now[0] = 100.0
    assert bucket.take(90, 60) == 0  # more than a minute's, from a full bucket: the debt delays what follows
    assert bucket.take(1, 60) == pytest.approx(31.0)


def test_the_file_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keys, "_CHECK_SECONDS", 0.0)
    file = tmp_path / "keys.yaml"
    file.write_text("keys: [{name: a, key: old-key}]", encoding="utf-8")
    rules = KeyRules(str(file))
    assert rules.enter("old-key", address="x") == "a"

    def write(text: str, second: int) -> None:
        file.write_text(text, encoding="utf-8")
        os.utime(file, (time.time() + second, time.time() + second))

    write("keys: [{name: a, key: new-key}]", 1)
    assert rules.enter("new-key", address="x") == "a"
    with pytest.raises(ApiError):
        rules.enter("old-key", address="x")
    for number, wrong in enumerate(
        ("keys: {", "keys: [{name: a, kye: new-key}]", "keys: [{name: b, key: 7}]", "\0"), 2
    ):
        caplog.clear()
        write(wrong, number)
        assert rules.enter("new-key", address="x") == "a"  # the old rules hold
        assert rules.enter("new-key", address="x") == "a"
        assert len(caplog.records) == 1 and "the old keys stay in force" in caplog.text
        assert "new-key" not in caplog.text
    file.unlink()
    assert rules.enter("new-key", address="x") == "a"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("keys: [{name: a}]", "`keys.0.key` must be given"),
        ("keys: [{name: a, key: ''}]", "`key` must be a text"),
        ("keys: [{name: a, key: 'sha256:abc'}]", "64 hexadecimal digits"),
        ("keys: [{name: a, key: b}, {name: a, key: c}]", "different names"),
        ("keys: [{name: a, key: b, requests_per_minute: 0}]", "above 0"),
        ("kyes: []", "is not a known setting"),
        ("- a", "mapping"),
        ("keys: [", "must be YAML"),
    ],
)
def test_a_wrong_file_at_the_start(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=words) as caught:
        KeyRules(str(file))
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        KeyRules(str(tmp_path / "missing.yaml"))
