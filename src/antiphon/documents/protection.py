"""Strings that an answer must have as the source has them, and phrases that a glossary translates.

    protection = Protection(["placeholders", "urls"], {"cat": "Katze"})
    protection.find("See {name}, the cat.")      # [Protected(4, 10, "{name}"), Protected(16, 19, "Katze")]

A model gets them as `required` phrases. What counts is the check of its answer afterwards: if a string is missing or
occurs too often, the segment is divided around its protected strings, and the parts between them are asked for again.
That needs nothing of the model: neither that its vocabulary can spell them, nor that it copies a stand-in.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from antiphon.errors import ConfigError
from antiphon.words import WORD_CHARACTER, joins

KINDS = ("placeholders", "urls", "emails", "numbers")
MAX_REQUIRED = 62  # phrases of one row of a search
MAX_GLOSSARY_ENTRIES = 10_000
# Every repetition is bounded or cannot be entered twice at one place, so that the time is linear.
_PATTERNS = {
    "placeholders": (
        r"\{\{[^{}\n]{0,200}\}\}|[$%#]?\{[^{}\n]{0,100}\}"  # {{ x }}, ${x}, %{x}, {name}, {0:>3}, {}
        r"|(?<![\d%])%\([^()\s]{1,80}\)[-#0 +]*\d*(?:\.\d+)?[a-zA-Z]"  # %(n)d
        r"|(?<![\d%])%(?:\d{1,2}\$)?[-#0+]?\d{0,4}(?:\.\d{1,4})?(?:hh?|ll?|L|z|j|t)?[diouxXeEfFgGcspaA@](?![a-zA-Z])"
        r"|(?<![\d%])%\d{1,2}(?![\w$]|[.,]\d)"  # %1
        r"|</?[A-Za-z][^<>\n]{0,200}>"  # <x id=1/>
        r"|(?<![\w:]):[a-z][a-z0-9_+-]{1,40}:(?![\w:])"  # :name:
    ),
    "urls": r"(?<!\w)(?i:https?://|ftp://|www\.)[^\s<>\"“”«»]+",
    "emails": r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?!\w)",
    "numbers": r"(?<!\d)(?<!\d[.,])\d+(?:[.,:/’'-]\d+)*",
}
_URL_END = ".,;:!?'’)]}*_"


@dataclass(frozen=True)
class Protected:
    """Characters [start, end) of a source, for which the answer has `output`.

    `exactly`: it occurs as often as in the source; else at least once (a glossary, inline code). `required`: it is a
    phrase for the search too.
    """

    start: int
    end: int
    output: str
    exactly: bool = True
    required: bool = True


class Protection:
    """What is protected in the texts of one request: kinds of strings (`KINDS`), and a glossary from source phrases to
    target phrases.

    A glossary's phrase is found as whole words, the longest first. One without capitals is also found with a capital
    at its beginning, or in capitals. ConfigError for an unknown kind or an empty phrase.
    """

    def __init__(self, kinds: Iterable[str] = (), glossary: Mapping[str, str] | None = None) -> None:
        self.kinds = tuple(dict.fromkeys(kinds))
        for kind in self.kinds:
            if kind not in KINDS:
                raise ConfigError(f"`protect` must name some of {', '.join(KINDS)}, but has `{kind:.40}`.")
        self._targets = _with_capitals(glossary or {})
        parts = {kind: f"(?P<{kind}>{_PATTERNS[kind]})" for kind in KINDS if kind in self.kinds}
        if self._targets:
            parts["glossary"] = f"(?P<glossary>{_alternatives(self._targets)})"
        order = ("placeholders", "urls", "emails", "glossary", "numbers")
        self._pattern = _compiled([parts[name] for name in order if name in parts])
        self._kinds_pattern = _compiled([parts[name] for name in order if name in parts and name != "glossary"])

    def find(self, text: str, *, glossary: bool = True) -> list[Protected]:
        """The protected strings of `text`, in order and without overlaps; without `glossary`, no phrases of it."""
        pattern = self._pattern if glossary else self._kinds_pattern
        if pattern is None:
            return []
        found, place = [], 0
        while match := pattern.search(text, place):
            kind, start, end = match.lastgroup, match.start(), match.end()
            if kind == "glossary":
                found.append(Protected(start, end, self._targets[match[0]], exactly=False))
            else:
                if kind == "urls":
                    end = start + len(_trimmed(match[0]))
                whole = not any(joins(char) for char in (text[start - 1 : start] + text[end : end + 1]))
                found.append(Protected(start, end, text[start:end], required=kind != "numbers" or whole))
            place = max(end, start + 1)
        return found


def required_phrases(protected: Sequence[Protected]) -> tuple[str, ...]:
    """The phrases for the search, each once."""
    return tuple(dict.fromkeys(one.output for one in protected if one.required and one.output.strip()))[:MAX_REQUIRED]


class DocumentProtection:
    """The protection of one document, which knows all protected strings that were found in it: an answer must not bring
    one of them from another segment either."""

    def __init__(self, protection: Protection | None) -> None:
        self._protection = protection or Protection()
        self._strings: set[str] = set()

    def find(self, text: str) -> list[Protected]:
        """The protected strings of a text of the document."""
        found = self._protection.find(text)
        self._strings.update(one.output for one in found if one.exactly)
        return found

    def counts(self, text: str) -> Counter[str]:
        """How often each of the strings stands in a text."""
        if not self._strings:
            return Counter()
        found = self._protection.find(text, glossary=False)
        return Counter(one.output for one in found if one.output in self._strings)

    def holds(self, source: str, protected: Sequence[Protected], answer: str) -> bool:
        """Whether the answer to a segment has each string as often as the segment, and all other copies."""
        if self.counts(source) != self.counts(answer):
            return False
        copies = {one.output for one in protected if not one.exactly}
        return not copies or copies <= set(copies_of(protected).findall(answer))


def copies_of(protected: Iterable[Protected]) -> re.Pattern[str]:
    """A pattern for the strings of which there must be copies."""
    return _pattern_of(tuple(dict.fromkeys(one.output for one in protected)))


def _compiled(parts: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(parts)) if parts else None


@functools.lru_cache(maxsize=1024)
def _pattern_of(outputs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(_alternatives(outputs, digits=True))


def _alternatives(texts: Iterable[str], *, digits: bool = False) -> str:
    """A pattern for any of the texts, the longest first, as whole words; with `digits` those of digits and the like
    need only be whole numbers, and texts that begin or end otherwise anything."""
    groups: dict[str, list[str]] = {}
    for text in sorted(texts, key=len, reverse=True):
        groups.setdefault(text[0], []).append(text)
    found = []
    for first, members in groups.items():
        rest = "|".join(re.escape(text[1:]) + _border(text[-1], digits=digits, before=False) for text in members)
        found.append(f"{_border(first, digits=digits, before=True)}{re.escape(first)}(?:{rest})")
    return "|".join(found)


def _border(char: str, *, digits: bool, before: bool) -> str:
    """What must not stand beside `char` at the border of a phrase."""
    if digits and char.isdigit():
        return r"(?<!\d)(?<!\d[.,])" if before else r"(?![.,]?\d)"
    if not joins(char):
        return ""
    return f"(?<!{WORD_CHARACTER})" if before else f"(?!{WORD_CHARACTER})"


def _with_capitals(glossary: Mapping[str, str]) -> dict[str, str]:
    if len(glossary) > MAX_GLOSSARY_ENTRIES:
        raise ConfigError(
            f"`glossary` must have at most {MAX_GLOSSARY_ENTRIES:,} entries, but has {len(glossary):,}. Send those "
            "that the text needs."
        )
    found: dict[str, str] = {}
    for source, target in glossary.items():
        if not source.strip() or not target.strip():
            raise ConfigError(f"`glossary` must have no empty phrase, but has `{source:.40}`: `{target:.40}`.")
        found[source.strip()] = target.strip()
    for source, target in list(found.items()):
        if source == source.lower():
            found.setdefault(source[0].upper() + source[1:], target)
            found.setdefault(source.upper(), target)
    return found


def _trimmed(url: str) -> str:
    """A URL without the punctuation behind it; a closing bracket belongs to it if it opens one."""
    end, unopened = len(url), url.count(")") - url.count("(")
    while end and url[end - 1] in _URL_END:
        if url[end - 1] == ")":
            if unopened <= 0:
                break
            unopened -= 1
        end -= 1
    return url[:end]
