"""API keys and rates, from a YAML or JSON file that is read again when it changes.

    keys:
      - name: alice                        # for logs
        key: a-long-random-text            # or `sha256:` and the hex digest of it
        admin: true                        # may load and unload models
        requests_per_minute: 60
        characters_per_minute: 100000
    anonymous: {requests_per_minute: 10}   # what a client without a key may do, each address for itself

Without `anonymous`, a key is needed. Without a file nobody needs one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.errors import ConfigError, one_line
from antiphon.serving.http.errors import ApiError
from antiphon.serving.http.logs import EVENTS
from antiphon.settings import Positive, Settings, build

_LOG = logging.getLogger(EVENTS)
_MOST_BUCKETS = 10_000  # of addresses; the least recently seen is forgotten
_CHECK_SECONDS = 1.0  # between checks of the file
_DIGEST = "sha256:"


@dataclass(frozen=True, kw_only=True)
class RateLimits(Settings):
    """What a client may do in a minute; None: no bound."""

    requests_per_minute: Positive | None = None
    characters_per_minute: Positive | None = None


@dataclass(frozen=True, kw_only=True)
class ApiKey(RateLimits):
    """A key and its rates."""

    name: str
    key: str
    admin: bool = False

    def digest(self) -> bytes:
        """The SHA-256 of the key."""
        if self.key.startswith(_DIGEST):
            return bytes.fromhex(self.key.removeprefix(_DIGEST))
        return hashlib.sha256(self.key.encode()).digest()

    def check(self) -> None:
        try:
            length = len(self.digest()) if self.key.startswith(_DIGEST) else 32
        except ValueError:
            length = 0
        if length != 32 or not self.key:
            raise ConfigError("`key` must be a text, or sha256: and 64 hexadecimal digits.")


@dataclass(frozen=True, kw_only=True)
class _Rules(Settings):
    keys: tuple[ApiKey, ...] = ()
    anonymous: RateLimits | None = None

    def check(self) -> None:
        names = [key.name for key in self.keys]
        if len({*names}) != len(names):
            raise ConfigError("`keys` must have different names.")


class _Bucket:
    """A token bucket that holds what a minute allows."""

    def __init__(self, per_minute: float) -> None:
        self.level, self.at = per_minute, time.monotonic()

    def take(self, amount: float, per_minute: float) -> float:
        """Take `amount`; the seconds to wait if there is not enough, and then nothing is taken.

        What is more than a whole minute's may be taken from a full bucket, which is then below zero.
        """
        now = time.monotonic()
        self.level = min(per_minute, self.level + (now - self.at) * per_minute / 60)
        self.at = now
        needed = min(amount, per_minute)
        if self.level >= needed - 1e-9:
            self.level -= amount
            return 0.0
        return (needed - self.level) * 60 / per_minute


class KeyRules:
    """The rules of the file `path`; without a file everything is open but the routes for administrators."""

    def __init__(self, path: str | None, *, open_admin: bool = False) -> None:
        self._path = None if path is None else Path(path)
        self._open_admin = open_admin
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()
        self._characters: dict[str, int] = {}  # by key
        self._seen: tuple[int, int] | None = None
        self._checked = time.monotonic()
        self._rules = _Rules()
        if self._path is not None:
            self._seen = self._stamp()
            self._rules = _read(self._path)

    @property
    def required(self) -> bool:
        """Whether a key is needed."""
        return self._path is not None and self._current().anonymous is None

    def describe(self) -> str:
        """What is open, in words, for the line at start."""
        if self._path is None:
            admin = "open to all" if self._open_admin else "refused"
            return f"no keys needed; loading and unloading of models is {admin}"
        rules = self._current()
        rest = "a key is needed" if rules.anonymous is None else "without a key by the rates of `anonymous`"
        return f"{len(rules.keys)} keys of {self._path}; {rest}"

    def enter(self, key: str | None, *, address: str, admin: bool = False) -> str | None:
        """Admit a request and take it from its rate; the name to charge characters to. ApiError 401, 403, 429."""
        rules = self._current()
        if self._path is None:
            if admin and not self._open_admin:
                raise ApiError(
                    403,
                    "forbidden",
                    "loading and unloading needs a key of an administrator, but the server has no key file. Start it "
                    "with --keys FILE, or with --open-admin.",
                )
            return None
        found = None if key is None else self._find(rules, key)
        if found is None:
            if key is not None or admin or rules.anonymous is None:
                what = "is not known" if key is not None else "is needed"
                advice = "Send it as `Authorization: Bearer KEY`."
                raise ApiError(
                    401, "unauthorized", f"an API key {what}. {advice}", headers={"WWW-Authenticate": "Bearer"}
                )
            self._take(("address", address), "requests", 1, rules.anonymous)
            return f"address {address}"
        if admin and not found.admin:
            raise ApiError(403, "forbidden", f"the key `{found.name}` is not one of an administrator.")
        self._take(("key", found.name), "requests", 1, found)
        return found.name

    def characters_of(self, name: str | None) -> int:
        """The characters charged to a client since the server started."""
        return self._characters.get(name or "", 0)

    def charge(self, name: str | None, characters: int) -> None:
        """Take characters from the rate of the client that `enter` named. ApiError 429."""
        rules = self._current()
        self._take_characters(name, characters, rules)
        if name is None or not name.startswith("address "):
            self._characters[name or ""] = self.characters_of(name) + characters

    def _take_characters(self, name: str | None, characters: int, rules: _Rules) -> None:
        if name is None:
            return
        if name.startswith("address ") and rules.anonymous is not None:
            self._take(("address", name.removeprefix("address ")), "characters", characters, rules.anonymous)
        for key in rules.keys:
            if key.name == name:
                self._take(("key", name), "characters", characters, key)

    def _take(self, who: tuple[str, str], what: str, amount: float, limits: RateLimits) -> None:
        per_minute = limits.requests_per_minute if what == "requests" else limits.characters_per_minute
        if per_minute is None:
            return
        place = (f"{who[0]} {what}", who[1])
        bucket = self._buckets.pop(place, None) or _Bucket(per_minute)
        self._buckets[place] = bucket
        while len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        if (wait := bucket.take(amount, per_minute)) > 0:
            message = f"at most {per_minute:g} {what} a minute are allowed."
            raise ApiError(429, "rate_limited", message, retry_after_seconds=wait)

    @staticmethod
    def _find(rules: _Rules, key: str) -> ApiKey | None:
        """The key of the rules that equals `key`; takes as long whichever it is."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        found = None
        for each in rules.keys:
            if hmac.compare_digest(each.digest(), digest):
                found = each
        return found

    def _stamp(self) -> tuple[int, int] | None:
        assert self._path is not None
        try:
            facts = self._path.stat()
        except OSError:
            return None
        return facts.st_mtime_ns, facts.st_size

    def _current(self) -> _Rules:
        """The rules, read again if the file has changed. A wrong file leaves the old rules in force."""
        now = time.monotonic()
        if self._path is None or now - self._checked < _CHECK_SECONDS:
            return self._rules
        self._checked = now
        if (stamp := self._stamp()) != self._seen:
            self._seen = stamp
            try:
                self._rules = _read(self._path)
                _LOG.warning("the key file %s was read again: %d keys", self._path, len(self._rules.keys))
            except ConfigError as error:
                _LOG.error("the new key file is wrong, the old keys stay in force: %s", error)
        return self._rules


def _read(path: Path) -> _Rules:
    """The rules in a file. ConfigError for a file that is not there or not right; it never quotes a key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the key file `{path}` cannot be read ({one_line(error)}).") from None
    try:
        value = _parse(text, path)
        return build(_Rules, value)
    except ConfigError as error:
        raise ConfigError(f"the key file `{path}` is wrong: {_without_values(str(error))}") from None


def _parse(text: str, path: Path) -> Mapping[str, Any]:
    if path.suffix == ".json":
        try:
            return json.loads(text)
        except ValueError as error:
            raise ConfigError(f"it must be JSON ({one_line(error)}).") from None
    from antiphon.recipe import read_yaml

    return read_yaml(text, str(path))[0]


def _without_values(message: str) -> str:
    """A message about a setting without the value that it shows, which may be a key."""
    return message.split(", but is the text")[0].replace("a recipe must be", "it must be")
