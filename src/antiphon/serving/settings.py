"""The settings of the HTTP server: limits, time-outs, keys, languages. Each is a flag of `antiphon serve`."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from antiphon.settings import Count, Positive, Range, Settings, require

Port = Annotated[int, Range(low=0, high=65535)]
Pair = tuple[str, str]  # the codes of a source and a target language


@dataclass(frozen=True, kw_only=True)
class ServerSettings(Settings):
    """What the HTTP interface accepts, how long it waits, and who may use it."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is every address of the machine."""
    port: Port = 8000
    """TCP port; 0 is any free one."""
    keys: str | None = None
    """YAML or JSON file of API keys and rates, read again when it changes; without it nobody needs a key."""
    open_admin: bool = False
    """Without a key file, let everybody load and unload models."""
    languages: tuple[str, ...] = ()
    """Language pairs of a model that does not name them: en-de,de-en for the first one, NAME=en-de for another."""
    cors_origin: tuple[str, ...] = ()
    """Another origin whose pages may call the API, for example https://example.org; default: none."""
    trusted_proxy: tuple[str, ...] = ()
    """Address or network of a proxy whose X-Forwarded-For header is believed."""
    max_body_bytes: Count = 16_000_000
    """Most bytes of the body of a request, files included."""
    max_header_bytes: Annotated[int, Range(low=256)] = 32_768
    """Most bytes of the request line and the headers."""
    max_items: Count = 128
    """Most texts in one request."""
    max_characters: Count = 200_000
    """Most characters of one text."""
    max_beam_size: Count = 16
    """Largest `beam_size`, `n_best`, `beam_groups` and number of alternatives of a request."""
    max_new_tokens: Count = 1024
    """Largest `max_new_tokens` of a request."""
    header_timeout_seconds: Positive = 10.0
    """A connection whose headers take longer is closed."""
    body_timeout_seconds: Positive = 60.0
    """A request whose body takes longer is refused; a client that reads nothing for so long is disconnected."""
    keep_alive_seconds: Positive = 30.0
    """An idle connection is closed after this time."""
    request_timeout_seconds: Positive = 120.0
    """A request that is not answered in this time is ended with status 504."""
    drain_seconds: Positive = 25.0
    """After SIGTERM, running requests may take so long before they are ended."""
    file_seconds: Positive = 3600.0
    """A translated file can be downloaded for this time."""
    log_requests: bool = True
    """Write one line of JSON for each request to standard error, without texts and keys."""
    log_texts: bool = False
    """Write the texts of requests and answers into these lines too."""

    def check(self) -> None:
        for pair in self.languages:
            self._pairs_of(pair)
        for origin in self.cors_origin:
            bare = origin.startswith(("http://", "https://")) and "/" not in origin.partition("://")[2]
            require(
                bare,
                "cors_origin",
                f"must be an origin such as https://example.org, but one is `{origin}`",
                "Leave out the path.",
            )
        for proxy in self.trusted_proxy:
            require(_is_network(proxy), "trusted_proxy", f"must be an address or a network, but one is `{proxy}`")

    def language_pairs(self) -> Mapping[str | None, tuple[Pair, ...]]:
        """The pairs of `languages` by model; None is the default model."""
        found: dict[str | None, tuple[Pair, ...]] = {}
        for text in self.languages:
            name, pairs = self._pairs_of(text)
            found[name] = (*found.get(name, ()), *pairs)
        return found

    @staticmethod
    def _pairs_of(text: str) -> tuple[str | None, list[Pair]]:
        name, _, listed = text.rpartition("=")
        pairs = []
        for pair in listed.split(","):
            source, _, target = pair.strip().partition("-")
            valid = all(code.replace("_", "").isalnum() for code in (source, target))
            require(valid, "languages", f"must be pairs such as en-de, but one is `{pair}`", "Write NAME=en-de,de-en.")
            pairs.append((source, target))
        return name or None, pairs


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
