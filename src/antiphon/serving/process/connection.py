"""A model process as the server sees it: started with a socket, whose end is the end of the process too.

process = await ModelProcess.start(StartModel(paths=["runs/demo"]))
process.send([SubmitInput(job=1, input="in 3 hours", row=0)])
async for messages in process.frames(): ...             # ends when the process does
await process.end()
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Self

from antiphon.serving.process.messages import LENGTH, Message, StartModel, decode, encode, frame_length

_BUFFER_BYTES = 2**20


class ModelProcess:
    """A running process and the connection to it."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process, self._reader, self._writer = process, reader, writer

    @classmethod
    async def start(cls, first: StartModel) -> Self:
        """Start a process that loads a model. OSError if it cannot be started."""
        ours, theirs = socket.socketpair()
        # Not asyncio's subprocess: in Python 3.11 its `kill` takes the exit code from the thread that waits for it.
        command = [sys.executable, "-P", "-m", "antiphon.serving.process", str(theirs.fileno()), str(os.getpid())]
        process = None
        try:
            with theirs:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
                )
            reader, writer = await asyncio.open_connection(sock=ours, limit=_BUFFER_BYTES)
        except BaseException:
            ours.close()
            if process is not None:
                process.kill()
                process.wait()
            raise
        made = cls(process, reader, writer)
        made.send([first])
        return made

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def send(self, messages: Sequence[Message]) -> None:
        """Send messages; to a process that has ended, nothing. The caller bounds how many are under way."""
        if not self._writer.is_closing():
            self._writer.write(encode(messages))

    async def frames(self) -> AsyncIterator[list[Message]]:
        """The messages of the process, until it ends."""
        while True:
            try:
                head = await self._reader.readexactly(LENGTH.size)
                content = await self._reader.readexactly(frame_length(head))
            except (EOFError, OSError):
                return
            yield decode(content)

    def kill(self) -> None:
        """End the process at once, stopped or stuck ones too."""
        self._process.kill()

    async def end(self) -> int:
        """End the process and return its exit code, negative for a signal."""
        self._writer.close()
        self.kill()
        return await asyncio.get_running_loop().run_in_executor(None, self._process.wait)
