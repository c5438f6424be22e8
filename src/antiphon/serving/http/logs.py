"""The log of the server: lines of JSON, one a request or an event."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TextIO

REQUESTS, EVENTS = "antiphon.serving.requests", "antiphon.serving"


class JsonLines(logging.Formatter):
    """A record as an object: time, level, message, and the traceback of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        if record.name == REQUESTS:  # is an object already
            return record.getMessage()
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        facts = {"time": time, "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        return json.dumps(facts)


def log_to(stream: TextIO, *, requests: bool) -> None:
    """Write the events, and the requests if asked, to `stream`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    events = logging.getLogger(EVENTS)
    events.handlers, events.propagate = [handler], False
    events.setLevel(logging.INFO)
    logging.getLogger(REQUESTS).setLevel(logging.INFO if requests else logging.CRITICAL)
