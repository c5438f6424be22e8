"""The process of a reader: it answers the requests for chunks until its pipe is closed."""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from antiphon.data.epochs.data_report import DataReport
from antiphon.data.epochs.encoding import ExampleEncoder, chunks
from antiphon.data.mixture import Mixture, MixtureItem
from antiphon.data.workers.messages import error_fields, pack_chunk, position_of


def serve(pipe: Connection, others: list[Connection], mixture: Mixture, encoder: ExampleEncoder) -> None:
    """Answer requests from `pipe`. `others` are the ends that belong to the training and to other readers: with them
    closed, each process sees when another has ended."""
    # A launcher stops a rank by a signal to its process group: the rank still needs its readers, to save.
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the training decides when to end
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread a reader
    for other in others:
        other.close()
    reader = ChunkReader(mixture, encoder)
    waiting: list[dict[str, Any]] = []
    try:
        while True:
            while not waiting or pipe.poll():
                waiting.append(json.loads(pipe.recv_bytes()))
                if "seed" in waiting[-1]:  # what was asked before is not wanted any more
                    del waiting[:-1]
            request = waiting.pop(0)
            if "seed" in request:
                reader.begin(request)
            else:
                pipe.send_bytes(reader.answer(request["stream"], texts=request["texts"]))
    except (EOFError, ConnectionError, KeyboardInterrupt):
        sys.exit(0)  # the training has ended


class ChunkReader:
    """Reads the streams of an epoch in chunks."""

    def __init__(self, mixture: Mixture, encoder: ExampleEncoder) -> None:
        self.mixture, self.encoder = mixture, encoder
        self.request: dict[str, Any] = {}
        self.report = DataReport()
        self.chunks: dict[int, Iterator[list[MixtureItem]]] = {}
        self.warnings: list[str] = []
        warnings.showwarning = lambda message, *_, **__: self.warnings.append(str(message))
        warnings.simplefilter("always")

    def begin(self, request: dict[str, Any]) -> None:
        """Go to the positions of a request: `seed`, `epoch`, `ticket`, and for each stream (number, position, part,
        parts)."""
        self.request, self.report, self.chunks = request, DataReport(), {}
        plans = self.mixture.streams(seed=request["seed"], epoch=request["epoch"])
        read = self.mixture.stream_reader(self.report)
        for number, position, part, parts in request["streams"]:
            self.chunks[number] = self._own(chunks(read(plans[number], position_of(position))), part, parts)

    def _own(self, found: Iterator[list[MixtureItem]], part: int, parts: int) -> Iterator[list[MixtureItem]]:
        """Of the chunks of a stream that several readers share, every one of `parts`, from number `part`."""
        for number, chunk in enumerate(found):
            if number % parts == part:
                yield chunk
            else:
                self.report.take()  # counted by the reader whose chunk it is
                self.warnings.clear()

    def answer(self, stream: int, *, texts: bool) -> bytes:
        """The next chunk of a stream. An error is in the header, and so is the end of the stream."""
        header: dict[str, Any] = {"ticket": self.request["ticket"], "stream": stream, "end": False}
        items = []
        try:
            chunk = next(self.chunks[stream], None)
            if chunk is None:
                header["end"] = True
            else:
                seed, epoch = self.request["seed"], self.request["epoch"]
                items = list(self.encoder.encode_chunk(chunk, self.report, seed=seed, epoch=epoch))
                header |= {"texts": [item.target for item in chunk]} if texts else {}
        except Exception as error:  # filters are a user's functions
            header["error"] = error_fields(error)
        said, self.warnings = self.warnings, []
        return pack_chunk({**header, "report": self.report.take(), "warnings": said}, items)
