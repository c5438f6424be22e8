"""The built-in corpus: deterministic, unambiguous, held-out combinations, right where a person can check it."""

from __future__ import annotations

import functools
import random
import time
from collections import Counter
from decimal import Decimal

import pytest
from babel import Locale, dates

from antiphon.errors import ConfigError
from antiphon.text.patterns import Date, DateAndTime, Measurement, Money, RelativeDate, Time, _names_weekday
from antiphon.text.phrases import Phrase, PhraseCorpus, _PatternSet, phrases, plain

PAIRS = [("en", "de"), ("de", "es"), ("en", "ja"), ("ar", "en"), ("pt-BR", "pl")]
made = functools.cache(phrases)


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def corpus(request) -> PhraseCorpus:
    return made(*request.param)


def everything(corpus: PhraseCorpus) -> list[Phrase]:
    return [phrase for split in corpus.phrases.values() for phrase in split]


def test_sizes_and_kinds(corpus):
    assert (len(corpus.valid), len(corpus.test)) == (400, 800)
    assert 12_000 <= len(corpus.train) <= 20_000
    assert len(corpus.kinds_test) == len(corpus.test)
    kinds = Counter(corpus.kinds_test)
    assert set(kinds) == {"date", "time", "date and time", "relative", "unit", "money"}
    assert min(kinds.values()) >= 40


def test_no_source_has_two_targets_and_none_repeats(corpus):
    sources = [phrase.source for phrase in everything(corpus)]
    assert len(sources) == len(set(sources))


def test_held_out_combinations_of_known_parts(corpus):
    """By the parts that the corpus names: none of a held-out phrase is new, the combination is."""
    train = corpus.phrases["train"]
    parts = {part for phrase in train for part in phrase.parts}
    combinations = {phrase.parts for phrase in train}
    for split in ("valid", "test"):
        for phrase in corpus.phrases[split]:
            assert parts.issuperset(phrase.parts), phrase
            assert phrase.parts not in combinations, phrase
    assert not {phrase.parts for phrase in corpus.phrases["valid"]} & {
        phrase.parts for phrase in corpus.phrases["test"]
    }


def test_held_out_words_are_known(corpus):
    """The same law on the texts themselves: but for numbers, a held-out text is made of words of the training texts."""

    def words(text: str) -> list[str]:
        return "".join(" " if letter.isdigit() or letter in ".,:'" else letter for letter in text).split()

    for side in (0, 1):
        known = {word for pair in corpus.train for word in words(pair[side])}
        assert all(known.issuperset(words(pair[side])) for pair in corpus.valid + corpus.test)


def test_texts_can_be_typed(corpus):
    for phrase in everything(corpus):
        for text in (phrase.source, phrase.target):
            assert text and text == text.strip()
            assert text.isprintable(), repr(text)
            assert not set(text) & set("\u00a0\u2009\u202f\u2013\u2019\u200e\u200f"), repr(text)


def test_deterministic_whatever_the_global_random_state():
    random.seed(1)
    state = random.getstate()
    assert phrases("en", "de") == made("en", "de")
    assert random.getstate() == state
    assert phrases("en", "de", seed=1).test != made("en", "de").test


def test_quick_enough():
    """5 seconds on a quiet machine; twice that where other tests want the same cores."""
    start = time.process_time()
    phrases("en", "it")
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    ("pattern", "value", "english", "german"),
    [
        (Date("full", 3), (5, 2024), "Tuesday, March 5, 2024", "Dienstag, 5. März 2024"),
        (Date("medium", 3), (5, 2024), "Mar 5, 2024", "05.03.2024"),
        (Time("short"), (14, 7), "2:07 PM", "14:07"),
        (DateAndTime("long", 12), (31, 1999, 0, 30), "December 31, 1999, 12:30 AM", "31. Dezember 1999, 00:30"),
        (RelativeDate("hour", 1), (3,), "in 3 hours", "in 3 Stunden"),
        (RelativeDate("day", -1), (1,), "1 day ago", "vor 1 Tag"),
        (RelativeDate("day", 1), (14,), "in 14 days", "in 14 Tagen"),
        (Measurement("length-kilometer", "long"), (Decimal("12.5"),), "12.5 kilometers", "12,5 Kilometer"),
        (Money("standard", "EUR"), (Decimal("1234.5"),), "€1,234.50", "1.234,50 €"),
        (Money("name", "USD"), (Decimal(1),), "1 US dollar", "1 US-Dollar"),
        (Money("name", "CHF"), (Decimal("2.50"),), "2.50 Swiss francs", "2,50 Schweizer Franken"),
    ],
)
def test_patterns_in_two_languages(pattern, value, english, german):
    assert plain(pattern.render(Locale("en"), value)) == english
    assert plain(pattern.render(Locale("de"), value)) == german


def test_a_source_that_says_too_little_is_left_out():
    english, french, german = (Locale(name) for name in ("en", "fr", "de"))
    # "3/5/24" is written "05/03/2024" in French (which century?), but "05.03.24" in German.
    assert not _PatternSet(english, french)._is_unambiguous(Date("short", 3), {})
    assert _PatternSet(english, german)._is_unambiguous(Date("short", 3), {})
    # A full date names the weekday, which a long date does not tell.
    assert Date("full", 3).determines(english, german)
    assert not any(
        _names_weekday(dates.get_date_format("long", locale).pattern) for locale in ("es", "pt_BR", "eu", "de")
    )
    assert all(_names_weekday(dates.get_date_format("full", locale).pattern) for locale in ("es", "pt_BR", "eu", "de"))


def test_the_first_of_two_meanings_wins():
    """In English a medium date in May looks like a long one; German writes "5. Mai" and "05.05."."""
    may = [p for p in everything(made("en", "de")) if p.kind == "date" and p.source.startswith("May ")]
    assert may
    assert all("Mai" in phrase.target for phrase in may)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("german", "did you mean `de`"),
        ("dee", "did you mean `ee`"),
        ("en-XY", "did you mean `en_"),
        ("", "Examples"),
        ("xx", "xx"),
    ],
)
def test_an_unknown_locale_names_the_nearest(name, hint):
    with pytest.raises(ConfigError, match=hint):
        phrases("en", name)


def test_two_different_locales():
    with pytest.raises(ConfigError, match="two different locales"):
        phrases("pt-BR", "pt_BR")
