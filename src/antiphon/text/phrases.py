"""The built-in corpus: short phrases in two languages, from the human translations in CLDR.

Dates, times, dates with times, relative times, units and money, formatted by Babel in any two of about 1,000 locales.
It is a real translation task (words, word order, plural forms, number formats), but not open-domain translation.

>>> corpus = phrases("en", "de")
>>> corpus.test[0], corpus.kinds_test[0]
(('April 24, 2072, 11:19 AM', '24. April 2072, 11:19'), 'date and time')

The phrases of `valid` and `test` are held-out combinations: each part of a phrase (its pattern, month, day, year, hour,
amount, ... and each word of its texts) occurs in `train`, but the combination does not. No source has two targets. The
corpus depends only on the locales, the seed and the version of Babel. CLDR: https://cldr.unicode.org.
"""

from __future__ import annotations

import itertools
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from babel import Locale, UnknownLocaleError
from babel.localedata import locale_identifiers

from antiphon.errors import ConfigError
from antiphon.registry import nearest
from antiphon.text.patterns import MissingPattern, Pattern, Value, all_patterns

Pair = tuple[str, str]

_TOTAL, _VALID, _TEST = 18_000, 400, 800
# Percentages. Kinds with more combinations of parts need more examples.
_SHARES = {"date": 20, "time": 6, "date and time": 27, "relative": 8, "unit": 14, "money": 25}

# Characters that nobody types: narrow and no-break spaces, typographic dashes and quotes, direction marks.
_PLAIN = str.maketrans(
    dict.fromkeys("\u00a0\u2007\u2009\u202f", " ")
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-")
    | {"\u2019": "'"}
    | dict.fromkeys("\u061c\u200e\u200f\u2066\u2067\u2068\u2069")
)
_NUMBER = re.compile(r"[\d.,:']+")


@dataclass(frozen=True)
class Phrase:
    """A pair with its kind and parts: its pattern, ("money", Money("name", "EUR")), and its values, ("money", 0, 9)."""

    source: str
    target: str
    kind: str
    parts: tuple[tuple[object, ...], ...]


@dataclass(frozen=True)
class PhraseCorpus:
    """The phrases of each split; `train`, `valid` and `test` are their pairs."""

    phrases: dict[str, list[Phrase]]

    @property
    def train(self) -> list[Pair]:
        return self._pairs("train")

    @property
    def valid(self) -> list[Pair]:
        return self._pairs("valid")

    @property
    def test(self) -> list[Pair]:
        return self._pairs("test")

    @property
    def kinds_test(self) -> list[str]:
        """The kind of each test phrase, for scores per kind."""
        return [phrase.kind for phrase in self.phrases["test"]]

    def _pairs(self, split: str) -> list[Pair]:
        return [(phrase.source, phrase.target) for phrase in self.phrases[split]]


def phrases(source: str = "en", target: str = "de", *, seed: int = 0) -> PhraseCorpus:
    """The corpus from locale `source` to locale `target` ("de", "pt-BR", "zh_Hant").

    Raises ConfigError for an unknown locale, for two equal ones, and for a locale that CLDR hardly covers.
    """
    locales = parse_locale(source), parse_locale(target)
    if locales[0] == locales[1]:
        raise ConfigError(f"the phrases must be in two different locales, but both are `{source}`.")
    rng = random.Random(f"{locales[0]} {locales[1]} {seed}")
    found = _PatternSet(*locales)
    splits: dict[str, list[Phrase]] = {"train": [], "valid": [], "test": []}
    for kind, share in _SHARES.items():
        made = found.draw(kind, _TOTAL * share // 100, rng)
        held, train = _hold_out(made, (_VALID + _TEST) * share // 100)
        cut = len(held) * _VALID // (_VALID + _TEST)
        splits["valid"] += held[:cut]
        splits["test"] += held[cut:]
        splits["train"] += train
    if len(splits["test"]) < _TEST // 2:
        raise ConfigError(
            f"the phrases from `{source}` to `{target}` must give {_TEST} tests, but give {len(splits['test'])}: "
            "CLDR hardly covers these locales. Choose others."
        )
    for split in splits.values():
        rng.shuffle(split)
    return PhraseCorpus(splits)


def parse_locale(name: str) -> Locale:
    """The locale called `name`; ConfigError, with the nearest known name, if CLDR has none."""
    try:
        return Locale.parse(name.replace("-", "_"))
    except (UnknownLocaleError, ValueError, TypeError) as error:
        english = {title.casefold(): code for code, title in Locale("en").languages.items()}
        known = {code.casefold(): code for code in locale_identifiers()}
        hint = english.get(name.strip().casefold())
        hint = (
            f", did you mean `{hint}`?" if hint in known.values() else nearest(name.replace("-", "_"), known.values())
        )
        raise ConfigError(
            f"`{name}` is not a locale of CLDR{hint or '.'} Examples: en, de, fr, pt-BR, zh-Hant."
        ) from error


class _PatternSet:
    """The unambiguous patterns of two locales, and the phrases made so far."""

    def __init__(self, source: Locale, target: Locale) -> None:
        self._locales = source, target
        self._target_of: dict[str, str] = {}
        probes: dict[str, str] = {}
        self._patterns: dict[str, list[Pattern]] = {kind: [] for kind in _SHARES}
        for kind, pattern in all_patterns():
            if self._is_unambiguous(pattern, probes):
                self._patterns[kind].append(pattern)

    def draw(self, kind: str, count: int, rng: random.Random) -> list[Phrase]:
        """Up to `count` phrases of `kind` with different sources, evenly from all its patterns."""
        made: list[Phrase] = []
        patterns = self._patterns[kind]
        for attempt in range(4 * count if patterns else 0):
            pattern = patterns[attempt % len(patterns)]
            value = pattern.draw(rng)
            source, target = self._render(pattern, value)
            if source not in self._target_of:
                self._target_of[source] = target
                values = ((kind, i, part) for i, part in enumerate(value))
                made.append(Phrase(source, target, kind, ((kind, pattern), *values)))
            if len(made) == count:
                break
        rng.shuffle(made)
        return made

    def _is_unambiguous(self, pattern: Pattern, probes: dict[str, str]) -> bool:
        """Whether both locales have the pattern and the source determines the target.

        The probes reveal source texts with two translations, by this pattern or an earlier one: a year of two digits, a
        time without a.m. or p.m., "$" for two currencies.
        """
        try:
            pairs = [self._render(pattern, value) for value in pattern.probes()]
        except MissingPattern:
            return False
        if not pattern.determines(*self._locales):
            return False
        new: dict[str, str] = {}
        for source, target in pairs:
            if (probes | new).get(source, target) != target:
                return False
            new[source] = target
        probes |= new
        return True

    def _render(self, pattern: Pattern, value: Value) -> Pair:
        source, target = (plain(pattern.render(locale, value)) for locale in self._locales)
        return source, target


def plain(text: str) -> str:
    """`text` in characters that people type, in Unicode normal form C, with single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).translate(_PLAIN).split())


def _hold_out(made: Sequence[Phrase], count: int) -> tuple[list[Phrase], list[Phrase]]:
    """Up to `count` phrases whose parts and words all occur in the rest, and the rest."""
    needs = [[*phrase.parts, *_words("source", phrase.source), *_words("target", phrase.target)] for phrase in made]
    left = Counter(itertools.chain.from_iterable(needs))
    held: list[Phrase] = []
    rest: list[Phrase] = []
    for phrase, need in zip(made, needs, strict=True):
        if len(held) < count and all(left[part] > 1 for part in need):
            left.subtract(need)
            held.append(phrase)
        else:
            rest.append(phrase)
    return held, rest


def _words(side: str, text: str) -> set[tuple[str, str]]:
    """The words of `text` without numbers. A held-out phrase must not need a word form that is not in `train`."""
    return {(side, word) for word in _NUMBER.sub(" ", text).split()}
