"""The HTTP connection of `antiphon.Client`: requests that are sent again, and errors as exceptions of this package.

A request for answers changes nothing on the server, so it may be sent again after any failure. A stream is sent again
only until its first event, because its pieces have been given to the caller. Errors of the server are the exceptions
that a local model raises: ConfigError and DataError for a setting or a text that is wrong, ModelError for an unknown
model, UsageError for a missing or wrong key, WorkError for everything else.
"""

from __future__ import annotations

import email.utils
import json
import math
import random
import re
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2

from antiphon.config import GenerationConfig
from antiphon.errors import AntiphonError, ConfigError, DataError, ModelError, UsageError, WorkError
from antiphon.settings import hints, show

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 15.0  # an idle connection is closed before the server closes it (--keep-alive-seconds, 30)
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0  # between attempts, where the server does not say how long
_AGAIN = (429, 502, 503)  # overloaded; a proxy without a server behind it; loading, restarting or shutting down
_KEY_STATUSES = (401, 403)
_OF_A_ROW = re.compile(r"`\w+` of input \d")


class Connection:
    """Requests to one server. Thread-safe; connections are reused.

    A request ends after `timeout_seconds`. After a failure that may pass it is sent again, for at most `retry_seconds`
    after the first one.
    """

    def __init__(self, url: str, *, key: str | None, timeout_seconds: float, retry_seconds: float) -> None:
        try:
            address = httpx2.URL(url)
        except (httpx2.InvalidURL, TypeError):
            address = httpx2.URL("")
        escaped = "%" in address.host and ":" not in address.host  # a character that no name of a host has
        if address.scheme not in ("http", "https") or not address.host or escaped:
            raise ConfigError(f"`url` must be an address such as http://127.0.0.1:8000, but is {show(url)}.")
        self.url = str(address.copy_with(username="", password=""))  # for messages
        if key is not None and not (isinstance(key, str) and key.isascii() and key.isprintable() and key):
            raise ConfigError("`key` must be printable ASCII characters, but is not.")  # never the key itself
        self._retry_seconds = retry_seconds
        self._closed = threading.Event()
        self._http = httpx2.Client(
            base_url=address,
            headers={"accept": "application/json", **({} if key is None else {"authorization": f"Bearer {key}"})},
            timeout=httpx2.Timeout(timeout_seconds, connect=min(timeout_seconds, CONNECT_SECONDS), pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=IDLE_SECONDS),
        )

    def close(self) -> None:
        """Close the connections; requests that wait to be sent again end."""
        self._closed.set()
        self._http.close()

    def get(self, path: str) -> Any:
        """The JSON of a GET request."""
        return self._json(self._send("GET", path, None, stream=False))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON of a POST request."""
        return self._json(self._send("POST", path, body, stream=False))

    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The server-sent events of a POST request up to `[DONE]`.

        The request is sent when this is called. Closing the iterator closes the connection, and the server stops its
        work.
        """
        events = self._events(self._send("POST", path, body, stream=True))
        next(events)  # from here on the iterator owns the connection, and closes it when it is dropped
        return events

    def _events(self, response: httpx2.Response) -> Iterator[dict[str, Any]]:
        try:
            yield {}
            for event in httpx2.EventSource(response):
                if event.data == "[DONE]":
                    return
                found = self._parsed(event.data)
                if event.event == "error" or not isinstance(found, dict):
                    raise self._error(500, found)
                yield found
        except httpx2.HTTPError as error:
            raise WorkError(f"the stream from {self.url} broke off ({_words(error)}). Ask again.") from error
        finally:
            response.close()
        raise WorkError(f"the stream from {self.url} ended before its last event. Ask again.")

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None, *, stream: bool) -> httpx2.Response:
        """The response to a request, whose status is 200; it is sent again as long as that may help."""
        content = None if body is None else json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        headers = {} if body is None else {"content-type": "application/json"}
        pauses = _Pauses(self._retry_seconds)
        while True:
            if self._closed.is_set():
                raise UsageError("the client is closed. Make another one.")
            request = self._http.build_request(method, path, content=content, headers=headers)
            try:
                response = self._http.send(request, stream=stream)
                if response.is_success:
                    return response
                response.read()
                failure, asked = self._failure(response), _retry_after(response)
                again = response.status_code in _AGAIN
            except RuntimeError:
                if self._closed.is_set():  # since the check above
                    continue
                raise
            except httpx2.TransportError as error:
                if self._closed.is_set():  # by another thread, in the middle of the request
                    continue
                failure, asked, again = self._unreachable(error), None, _may_pass(error)
                failure.__cause__ = error
            if not again or (pause := pauses.next(asked)) is None:
                raise failure
            if asked is None and pauses.count == 1:
                warnings.warn(f"{failure} Trying again for {self._retry_seconds:g} s.", stacklevel=2)
            self._closed.wait(pause)

    def _unreachable(self, error: httpx2.TransportError) -> WorkError:
        """The exception for a request without a response."""
        if isinstance(error, httpx2.TimeoutException):
            return WorkError(f"no answer from {self.url} in time ({_words(error)}). Raise `timeout_seconds`.")
        return WorkError(f"no answer from {self.url} ({_words(error)}). Is the server running?")

    def _failure(self, response: httpx2.Response) -> AntiphonError:
        """The exception for a response that is an error."""
        if response.is_redirect:
            target = response.headers.get("location", "another address")
            return WorkError(f"{self.url} redirects to {target}. Give that address as `url`.")
        return self._error(response.status_code, self._parsed(response.text))

    def _error(self, status: int, body: object) -> AntiphonError:
        """The exception for an error's body, `{"error": {"code", "field", "message"}}`."""
        error = body.get("error") if isinstance(body, Mapping) else None
        if not isinstance(error, Mapping) or not isinstance(error.get("message"), str):
            return WorkError(f"{self.url} answered with status {status}, which is no answer of `antiphon serve`.")
        message = error["message"]
        if status in _KEY_STATUSES:
            return UsageError(message)
        if error.get("code") == "unknown_model":
            return ModelError(message)
        if status in (413, 422) or error.get("code") == "invalid":
            field = str(error.get("field") or "")
            is_setting = not field or field.partition(".")[0] in hints(GenerationConfig)
            # A setting that only one row has wrong, such as a phrase that its vocabulary lacks, is data.
            return ConfigError(message) if is_setting and not _OF_A_ROW.match(message) else DataError(message)
        return WorkError(f"{self.url} answered with status {status}: {message}")

    def _json(self, response: httpx2.Response) -> Any:
        found = self._parsed(response.text)
        if not isinstance(found, dict):
            raise self._error(response.status_code, found)
        return found

    def _parsed(self, text: str) -> Any:
        """JSON; None for a text that is none, such as the page of a proxy."""
        try:
            return json.loads(text)
        except ValueError:
            return None


class _Pauses:
    """Pauses between attempts: what the server asks for, else twice the last one, with random variation so that many
    clients do not return together."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._end = seconds, math.nan
        self._next = FIRST_PAUSE_SECONDS
        self.count = 0

    def next(self, asked: float | None) -> float | None:
        """The pause before the next attempt; None if the time is over, or would be over after it."""
        now = time.monotonic()
        if not self.count:
            self._end = now + self._seconds
        self.count += 1
        pause = self._next * random.uniform(0.5, 1.0) if asked is None else asked
        self._next = min(2 * self._next, LONGEST_PAUSE_SECONDS)
        return pause if self._seconds and now + pause <= self._end else None


def _retry_after(response: httpx2.Response) -> float | None:
    """The seconds of the header Retry-After, which is a number or a date (RFC 9110, 10.2.3); None without one."""
    text = response.headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _may_pass(error: httpx2.TransportError) -> bool:
    """Whether a request without a response may succeed later: refused or lost connections, not unknown hosts."""
    if isinstance(error, httpx2.ConnectError):
        return "Errno -" not in str(error) and "certificate" not in str(error).lower()  # getaddrinfo's are negative
    return isinstance(error, httpx2.ConnectTimeout | httpx2.NetworkError | httpx2.RemoteProtocolError)


def _words(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__
