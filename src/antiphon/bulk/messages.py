"""Messages between a bulk job and its processes: JSON objects, one a line. Never pickle."""

from __future__ import annotations

import json
from typing import Any, BinaryIO


def send(stream: BinaryIO, **message: Any) -> None:
    """Write a message at once."""
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()


class MessageBuffer:
    """The messages in bytes that arrive in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def messages(self, data: bytes) -> list[dict[str, Any]]:
        """The messages that `data` completes. Lines that are no message are left out."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines if line.startswith(b"{")]
