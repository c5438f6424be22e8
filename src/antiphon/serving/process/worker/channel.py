"""The connection of a model process to the server: messages in, messages out.

A thread reads, so that messages arrive during a computation, and so that the process ends at once when the server is
gone.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Sequence

from antiphon.serving.process.messages import LENGTH, Message, decode, encode, frame_length


class Channel:
    """Messages from and to the server."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._arrived: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._sending = threading.Lock()
        threading.Thread(target=self._read, name="messages", daemon=True).start()

    def wait(self) -> Message:
        """The next message, as soon as there is one."""
        return self._arrived.get()

    def arrived(self) -> list[Message]:
        """The messages that are there."""
        found: list[Message] = []
        while not self._arrived.empty():
            found.append(self._arrived.get())
        return found

    def send(self, messages: Sequence[Message]) -> None:
        """Send messages; the process ends if the server is gone."""
        try:
            with self._sending:
                self._connection.sendall(encode(messages))
        except OSError:
            os._exit(0)

    def _read(self) -> None:
        try:
            with self._connection.makefile("rb") as stream:
                while len(head := stream.read(LENGTH.size)) == LENGTH.size:
                    for message in decode(stream.read(frame_length(head))):
                        self._arrived.put(message)
        except (OSError, ValueError):
            pass
        os._exit(0)  # the server is gone, or has closed the connection: nobody needs the work
