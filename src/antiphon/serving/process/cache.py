"""A cache of answers to repeated inputs: the least recently used ones leave when it is full.

    cache = AnswerCache(max_entries=10_000, max_bytes=2**26)
    key = cache_key(["demo", 1], message, sampled=False)        # everything that changes an answer
    cache.put(key, answer, ())
    cache.get(key)                               # (answer, warnings) or None

Answers are held as JSON, which counts their bytes and gives each reader an object of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from antiphon.serving.process.messages import SubmitInput

_OVERHEAD_BYTES = 200  # of an entry: its key, and the objects of Python
_WITHOUT_EFFECT = ("batch_size",)  # settings that do not change an answer


class AnswerCache:
    """Answers by key, bounded by their number and their bytes."""

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._entries: OrderedDict[bytes, bytes] = OrderedDict()
        self.bytes = self.hits = self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> tuple[dict[str, Any], tuple[str, ...]] | None:
        """The answer and its warnings, which becomes the most recently used one."""
        found = self._entries.get(key)
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        answer, warnings = json.loads(found)
        return answer, tuple(warnings)

    def put(self, key: bytes, answer: dict[str, Any], warnings: Sequence[str]) -> None:
        """Store an answer, unless it alone is larger than the cache."""
        content = json.dumps([answer, list(warnings)]).encode("ascii")
        size = len(content) + _OVERHEAD_BYTES
        if size > self._max_bytes or not self._max_entries:
            return
        self._remove(key)
        self._entries[key] = content
        self.bytes += size
        while len(self._entries) > self._max_entries or self.bytes > self._max_bytes:
            self._remove(next(iter(self._entries)))

    def _remove(self, key: bytes) -> None:
        content = self._entries.pop(key, None)
        if content is not None:
            self.bytes -= len(content) + _OVERHEAD_BYTES


def cache_key(model: Sequence[str | int], message: SubmitInput, *, sampled: bool) -> bytes:
    """The key of an answer: its model (and which load of it), the input, the settings that are not the model's own, and
    the details.

    For a `sampled` answer the row and the seed are part of it, because random numbers depend on them.
    """
    without = _WITHOUT_EFFECT if sampled else (*_WITHOUT_EFFECT, "seed")
    settings = {name: value for name, value in message.settings.items() if name not in without}
    given = message.input
    content = given if isinstance(given, bytes) else given.encode("utf-8", "surrogatepass")
    row = message.row if sampled else None
    rest = [*model, isinstance(given, bytes), settings, sorted(set(message.details)), row]
    head = json.dumps(rest, sort_keys=True).encode("ascii")
    return hashlib.blake2b(len(head).to_bytes(8, "big") + head + content, digest_size=32).digest()
