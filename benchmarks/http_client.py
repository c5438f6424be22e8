"""A small HTTP client for the benchmarks of the server, since a whole library would take as long as an answer does.

connection = await Connection.open(port)
status, headers, body = await connection.post("/v1/generate", {"inputs": "in 3 hours"})
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Self


class Connection:
    """A connection that is kept open between requests."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def post(self, path: str, value: Any) -> tuple[int, dict[str, str], bytes]:
        """The status, the headers and the body of the response."""
        body = json.dumps(value).encode()
        return await self.ask(f"POST {path}", body)

    async def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        return await self.ask(f"GET {path}", b"")

    async def ask(self, request: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        self.send(request, body)
        await self.writer.drain()
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in lines if line)}
        found = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(first.split()[1]), headers, found

    def send(self, request: str, body: bytes) -> None:
        """Send a request without waiting for its response."""
        head = f"{request} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)

    def close(self) -> None:
        self.writer.close()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Server:
    """A server process; `command` are the arguments of Python."""

    def __init__(self, name: str, command: Sequence[str], port: int) -> None:
        self.name, self.port = name, port
        self.process = subprocess.Popen([sys.executable, *command], stderr=subprocess.DEVNULL)

    async def ready(self, path: str, value: Any) -> None:
        """Wait until it answers the request."""
        for _ in range(900):
            try:
                connection = await Connection.open(self.port)
                status, _, _ = await connection.post(path, value)
                connection.close()
                if status == 200:
                    return
            except OSError:
                pass
            await asyncio.sleep(0.2)
        raise SystemExit(f"{self.name} did not answer")

    def end(self) -> int:
        """Ask it to end. Returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait()
