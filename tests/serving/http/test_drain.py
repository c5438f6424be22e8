"""The end of a server: running requests are answered, new ones get 503, and then the process ends."""

from __future__ import annotations

import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from serving.http.fake import FakeService
from serving.http.live import running, until

from antiphon.errors import UsageError
from antiphon.serving.http.server import bind
from antiphon.serving.settings import ServerSettings


def test_running_requests_are_answered_and_new_ones_refused() -> None:
    service = FakeService()
    service.pause()
    with running(service) as server, ThreadPoolExecutor(30) as pool:
        made = [pool.submit(server.post, "/v1/generate", inputs=[f"a{number}"]) for number in range(30)]
        until(lambda: service.running == 30)
        server.server.handle_exit(signal.SIGTERM, None)
        time.sleep(0.3)
        refused = httpx2.post(f"{server.url}/v1/generate", json={"inputs": ["b"]})
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
        assert refused.headers["connection"] == "close" and refused.json()["error"]["code"] == "unavailable"
        assert httpx2.get(f"{server.url}/ready").status_code == 503
        assert httpx2.get(f"{server.url}/health").status_code == 200
        assert "antiphon_draining 1.0" in httpx2.get(f"{server.url}/metrics").text
        libre = httpx2.post(f"{server.url}/translate", json={"q": "a", "source": "en", "target": "de"})
        assert libre.status_code == 503 and libre.json() == {"error": "the server is shutting down."}
        service.resume()
        answers = [each.result() for each in made]
        assert [each.json()["answers"][0]["text"] for each in answers] == [f"A{number}" for number in range(30)]
        until(lambda: service.stopped)
        assert service.drained and server.server.exit_code == 0
        with pytest.raises(OSError):
            socket.create_connection((server.host, server.port), timeout=5).close()


def test_a_stream_is_finished_while_the_server_drains() -> None:
    service = FakeService()
    with running(service) as server:
        with server.client.stream("POST", "/v1/generate", json={"inputs": ["w " * 500], "stream": True}) as response:
            parts = response.iter_text()
            first = next(parts)
            server.server.handle_exit(signal.SIGTERM, None)
            assert (first + "".join(parts)).endswith("data: [DONE]\n\n")
        until(lambda: service.stopped)


def test_what_takes_too_long_is_ended() -> None:
    service = FakeService()
    service.pause()
    with running(service, drain_seconds=0.5) as server:
        thread = threading.Thread(target=lambda: _ignore(lambda: server.post("/v1/generate", inputs=["a"])))
        thread.start()
        until(lambda: service.running == 1)
        server.server.handle_exit(signal.SIGTERM, None)
        assert until(lambda: service.stopped, 15) < 10
        thread.join()
        until(lambda: service.running == 0)
        assert server.server.exit_code == 1


def test_a_second_signal_ends_at_once() -> None:
    service = FakeService()
    service.pause()
    with running(service, drain_seconds=60) as server:
        thread = threading.Thread(target=lambda: _ignore(lambda: server.post("/v1/generate", inputs=["a"])))
        thread.start()
        until(lambda: service.running == 1)
        server.server.handle_exit(signal.SIGINT, None)
        server.server.handle_exit(signal.SIGINT, None)
        until(lambda: service.running == 0)
        thread.join()
        assert server.server.exit_code == 130


def _ignore(work: object) -> None:
    try:
        work()  # type: ignore[operator]
    except httpx2.HTTPError:
        pass


def test_a_server_without_work_ends_at_once() -> None:
    service = FakeService()
    with running(service) as server:
        server.server.handle_exit(signal.SIGTERM, None)
        assert until(lambda: service.stopped) < 2


def test_a_port_in_use() -> None:
    settings = ServerSettings(port=0)
    with bind(settings) as first:
        port = first.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} of 127.0.0.1 is in use. Give --port another one"):
            bind(ServerSettings(port=port))


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "a b", "x" * 300])
def test_an_address_that_cannot_be_used(host: str) -> None:
    with pytest.raises(UsageError, match="Give --host"):
        bind(ServerSettings(host=host, port=0))
