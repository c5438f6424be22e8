"""Retries of remote reads with exponential backoff, and the errors that remain after them.

persist(lambda: system.info(path), name=name)
"""

from __future__ import annotations

import itertools
import random
import threading
import time
import warnings
from collections.abc import Callable
from typing import TypeVar

from antiphon.errors import AntiphonError, DataError, ReadError, one_line
from antiphon.urls import RemoteName, hide

T = TypeVar("T")

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0  # seconds; doubled after each failure
_WARNED_AFTER = 3  # failures in a row; a single one is nothing to report
_PERMANENT = (ValueError, TypeError, KeyError, AttributeError, NotImplementedError, ImportError, NotADirectoryError)
_NO_ACCESS = ("NoCredentials", "PartialCredentials", "CredentialRetrieval", "ProfileNotFound", "GatedRepo", "Token")
_WORTH_RETRYING = (408, 425, 429)  # of the HTTP statuses 400 to 499: timeouts, too early, too many requests


def persist(action: Callable[[], T], *, name: RemoteName, closing: threading.Event | None = None) -> T:
    """The result of `action`, repeated while the connection fails, `name.retries` times at most.

    `closing` ends the waiting between two tries. Raises DataError for a file that is not there or not permitted, and
    ReadError if the last try failed.
    """
    began = time.monotonic()
    for failures in itertools.count(1):
        try:
            return action()
        except AntiphonError:
            raise
        except Exception as error:  # libraries over a network raise anything
            if (final := permanent(error, name)) is not None:
                raise final from shown(error)
            if failures > name.retries or (closing is not None and closing.is_set()):
                tried = f"tried {failures} times in {time.monotonic() - began:.0f} s" if failures > 1 else "tried once"
                raise ReadError(name, f"{reason(error)}; {tried}") from shown(error)
            if failures == _WARNED_AFTER:
                warnings.warn(f"reading `{name}` failed {failures} times ({reason(error)}); trying on", stacklevel=2)
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** (failures - 1)) * random.Random().uniform(0.5, 1.0)
        if closing is None:
            time.sleep(delay)
        else:
            closing.wait(delay)
    raise AssertionError("itertools.count ends")


def permanent(error: BaseException, name: RemoteName) -> DataError | None:
    """The error to raise at once for a fault that no further try mends; None for one that may pass."""
    error = _unwrapped(error)
    status = getattr(error, "status", None) or getattr(error, "code", None)
    status = status if isinstance(status, int) else None
    kind = type(error).__name__
    if isinstance(error, FileNotFoundError | IsADirectoryError) or status in (404, 410):
        return DataError(f"the data file `{name}` cannot be read (there is none). Check the URL.")
    if isinstance(error, PermissionError) or status in (401, 403) or kind.startswith(_NO_ACCESS):
        return DataError(
            f"the data file `{name}` cannot be read ({reason(error)}). Check the credentials, which are those of the "
            "environment (docs/data-at-scale.md)."
        )
    refused = status is not None and 400 <= status < 500 and status not in _WORTH_RETRYING
    if refused or isinstance(error, _PERMANENT):
        return DataError(f"the data file `{name}` cannot be read ({reason(error)}). Check the URL.")
    return None


def reason(error: BaseException) -> str:
    """The message of a library's error on one line, without credentials."""
    error = _unwrapped(error)
    return hide(one_line(error))[:200].rstrip(".") or type(error).__name__


def _unwrapped(error: BaseException) -> BaseException:
    """The error of aiohttp: fsspec makes a `FileNotFoundError` of every failed request for the size of an http file."""
    cause = error.__cause__
    is_wrapper = isinstance(error, FileNotFoundError) and type(cause).__module__.startswith("aiohttp")
    return cause if cause is not None and is_wrapper else error


def shown(error: BaseException) -> BaseException | None:
    """`error` as the cause of another; None if its message, or one of its own causes, has credentials."""
    link: BaseException | None = error
    while link is not None:
        if hide(str(link)) != str(link):
            return None
        link = link.__cause__ or link.__context__
    return error
