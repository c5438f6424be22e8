"""The log of the server: lines of JSON, one a request or an event."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import TextIO

REQUESTS, EVENTS = "antiphon.serving.requests", "antiphon.serving"


class JsonLines(logging.Formatter):
    """A record as an object: time, level, message."""

    def format(self, record: logging.LogRecord) -> str:
        if record.name == REQUESTS:  # is an object already
            return record.getMessage()
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        facts = {"time": time, "level": record.levelname.lower(), "message": record.getMessage()}
        return json.dumps(facts)


def log_failure(message: str) -> None:
    """Log the exception that is being handled: its type and where it was raised, and not its text, which may quote the
    texts of users."""
    kind, _, trace = sys.exc_info()
    places = "".join(traceback.format_tb(trace))
    name = "" if kind is None else kind.__name__
    logging.getLogger(EVENTS).error("%s: %s\n%s", message, name, places)


def log_to(stream: TextIO, *, requests: bool) -> None:
    """Write the events, and the requests if asked, to `stream`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    events = logging.getLogger(EVENTS)
    events.handlers, events.propagate = [handler], False
    events.setLevel(logging.INFO)
    logging.getLogger(REQUESTS).setLevel(logging.INFO if requests else logging.CRITICAL)
