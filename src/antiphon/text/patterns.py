"""The patterns of the built-in corpus: how Babel formats a date, an amount of money, ... in a locale.

A pattern fixes the words (a long date in March, an amount in euros by name); a value fills it in (day and year, the
amount).

>>> Money("name", "EUR").render(Locale("de"), (Decimal("12.5"),))
'12,50 Euro'
"""

from __future__ import annotations

import calendar
import functools
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any, Literal

from babel import Locale, dates, numbers, units

Value = tuple[Any, ...]

_FIRST_YEAR, _LAST_YEAR = 1900, 2099
_DATE_STYLES: tuple[Literal["full", "long", "medium"], ...] = ("full", "long", "medium")
_TIME_STYLES: tuple[Literal["short", "medium"], ...] = ("short", "medium")
_LENGTHS: tuple[Literal["long", "short"], ...] = ("long", "short")
_MONEY_STYLES: tuple[Literal["name", "standard"], ...] = ("name", "standard")
_SECONDS = {
    "year": 31_536_000,
    "month": 2_592_000,
    "week": 604_800,
    "day": 86_400,
    "hour": 3_600,
    "minute": 60,
    "second": 1,
}
_UNITS = (
    "length-kilometer length-meter length-centimeter length-millimeter length-mile length-foot length-inch "
    "mass-kilogram mass-gram mass-milligram mass-pound mass-ounce mass-tonne volume-liter volume-milliliter "
    "volume-cubic-meter volume-gallon area-square-meter area-square-kilometer area-hectare speed-kilometer-per-hour "
    "speed-mile-per-hour speed-meter-per-second temperature-celsius temperature-fahrenheit duration-year "
    "duration-month duration-week duration-day duration-hour duration-minute duration-second digital-gigabyte "
    "digital-megabyte digital-kilobyte energy-kilocalorie energy-kilowatt-hour power-watt power-kilowatt"
)
_CURRENCIES = (
    "USD EUR JPY GBP CNY CHF AUD CAD HKD SGD SEK NOK DKK INR KRW BRL MXN ZAR RUB TRY "
    "NZD PLN THB IDR HUF CZK ILS CLP PHP AED SAR MYR RON ARS EGP VND UAH COP KES ISK"
)
# Numbers for every plural form in CLDR, and a large one.
_NUMBERS = tuple((Decimal(text),) for text in ("1", "2", "3", "5", "11", "21", "100", "3.5", "1234.56"))


class MissingPattern(Exception):
    """Raised if a locale has no words for a pattern."""


@dataclass(frozen=True)
class Pattern(ABC):
    """A kind of phrase; its fields are the fixed part."""

    @abstractmethod
    def probes(self) -> tuple[Value, ...]:
        """Values by whose texts patterns can be distinguished."""

    @abstractmethod
    def draw(self, rng: random.Random) -> Value:
        """Draw a random value."""

    @abstractmethod
    def render(self, locale: Locale, value: Value) -> str:
        """The text of `value`; raises MissingPattern if the locale has none."""

    def determines(self, source: Locale, target: Locale) -> bool:
        """Whether the source text contains everything that the target text needs. Only what probes do not show."""
        return True


@dataclass(frozen=True)
class Date(Pattern):
    """Value: day, year."""

    style: Literal["full", "long", "medium"]
    month: int

    def probes(self) -> tuple[Value, ...]:
        return ((3, 1924), (3, 2024), (14, 2024))

    def draw(self, rng: random.Random) -> Value:
        year = rng.randint(_FIRST_YEAR, _LAST_YEAR)
        return rng.randint(1, calendar.monthrange(year, self.month)[1]), year

    def render(self, locale: Locale, value: Value) -> str:
        day, year = value
        return dates.format_date(date(year, self.month, day), self.style, locale=locale)

    def determines(self, source: Locale, target: Locale) -> bool:
        ours, theirs = (dates.get_date_format(self.style, locale=locale).pattern for locale in (source, target))
        return _names_weekday(ours) or not _names_weekday(theirs)


@dataclass(frozen=True)
class DayOfMonth(Pattern):
    """Value: the day."""

    month: int

    def probes(self) -> tuple[Value, ...]:
        return ((3,), (14,))

    def draw(self, rng: random.Random) -> Value:
        return (rng.randint(1, calendar.monthrange(2024, self.month)[1]),)

    def render(self, locale: Locale, value: Value) -> str:
        try:
            return dates.format_skeleton("MMMMd", date(2024, self.month, value[0]), fuzzy=False, locale=locale)
        except KeyError as error:
            raise MissingPattern from error


@dataclass(frozen=True)
class Time(Pattern):
    """Value: hour, minute, and the second where the style is medium."""

    style: Literal["short", "medium"]

    def probes(self) -> tuple[Value, ...]:
        return tuple(self._cut((hour, 7, 5)) for hour in range(24))

    def draw(self, rng: random.Random) -> Value:
        return self._cut((rng.randrange(24), rng.randrange(60), rng.randrange(60)))

    def render(self, locale: Locale, value: Value) -> str:
        return dates.format_time(time(*value), self.style, locale=locale)

    def _cut(self, clock: Value) -> Value:
        return clock[:2] if self.style == "short" else clock


@dataclass(frozen=True)
class DateAndTime(Pattern):
    """Value: day, year, hour, minute."""

    style: Literal["full", "long", "medium"]
    month: int

    def probes(self) -> tuple[Value, ...]:
        return tuple((*day, hour, 7) for day in self._date.probes() for hour in (0, 2, 12, 14))

    def draw(self, rng: random.Random) -> Value:
        return *self._date.draw(rng), *Time("short").draw(rng)

    def render(self, locale: Locale, value: Value) -> str:
        joined = str(dates.get_datetime_format(self.style, locale=locale)).replace("'", "")
        day = self._date.render(locale, value[:2])
        return joined.replace("{0}", Time("short").render(locale, value[2:])).replace("{1}", day)

    @property
    def _date(self) -> Date:
        return Date(self.style, self.month)

    def determines(self, source: Locale, target: Locale) -> bool:
        return self._date.determines(source, target)


@dataclass(frozen=True)
class RelativeDate(Pattern):
    """Value: how many."""

    unit: str
    sign: Literal[1, -1]

    def probes(self) -> tuple[Value, ...]:
        return ((1,), (2,), (3,), (5,), (11,), (21,), (100,))

    def draw(self, rng: random.Random) -> Value:
        return (rng.randint(1, 200) if rng.random() < 0.7 else rng.randint(1, 20),)

    def render(self, locale: Locale, value: Value) -> str:
        delta = timedelta(seconds=self.sign * value[0] * _SECONDS[self.unit])
        # The high threshold keeps Babel from turning "14 days" into "2 weeks".
        text = dates.format_timedelta(delta, granularity=self.unit, threshold=1e9, add_direction=True, locale=locale)  # type: ignore[arg-type]
        return _checked(text)


@dataclass(frozen=True)
class Measurement(Pattern):
    """Value: the amount."""

    unit: str
    length: Literal["long", "short"]

    def probes(self) -> tuple[Value, ...]:
        return _NUMBERS

    def draw(self, rng: random.Random) -> Value:
        return (_amount(rng, _measures()),)

    def render(self, locale: Locale, value: Value) -> str:
        text = units.format_unit(value[0], self.unit, self.length, locale=locale)
        return _checked(
            "" if self.unit in text else text
        )  # Babel returns the name of the unit if it has no word for it


@dataclass(frozen=True)
class Money(Pattern):
    """Value: the amount, in the currency."""

    style: Literal["name", "standard"]
    currency: str

    def probes(self) -> tuple[Value, ...]:
        return _NUMBERS

    def draw(self, rng: random.Random) -> Value:
        return (_amount(rng, _prices()),)

    def render(self, locale: Locale, value: Value) -> str:
        amount: Decimal = value[0]
        cents = self.style == "standard" or amount != amount.to_integral_value()  # "5 euros", but "€5.00"
        return numbers.format_currency(
            amount, self.currency, locale=locale, currency_digits=cents, format_type=self.style
        )


def all_patterns() -> Iterator[tuple[str, Pattern]]:
    """Every pattern with its kind. The first wins if a source text fits two ("May 5, 2024": long or medium)."""
    months = range(1, 13)
    yield from (("date", Date(style, month)) for style in _DATE_STYLES for month in months)
    yield from (("date", DayOfMonth(month)) for month in months)
    yield from (("time", Time(style)) for style in _TIME_STYLES)
    yield from (("date and time", DateAndTime(style, month)) for style in _DATE_STYLES for month in months)
    yield from (("relative", RelativeDate(unit, sign)) for unit in _SECONDS for sign in (1, -1))
    yield from (("unit", Measurement(unit, length)) for length in _LENGTHS for unit in _UNITS.split())
    yield from (("money", Money(style, code)) for style in _MONEY_STYLES for code in _CURRENCIES.split())


def _names_weekday(pattern: str) -> bool:
    return any(letter in re.sub("'[^']*'", "", pattern) for letter in "Eec")


def _checked(text: str) -> str:
    if not text:
        raise MissingPattern
    return text


def _amount(rng: random.Random, amounts: list[Decimal]) -> Decimal:
    """One of `amounts`, or a small number: small numbers have the irregular plural forms."""
    return rng.choice(amounts) if rng.random() < 0.7 else Decimal(rng.randint(1, 20))


@functools.cache
def _prices() -> list[Decimal]:
    """1,500 amounts of up to six digits, every second one without cents."""
    rng = random.Random("prices")
    return [_number(rng, digits=6, places=rng.choice((0, 2))) for _ in range(1500)]


@functools.cache
def _measures() -> list[Decimal]:
    """700 amounts: mostly small whole numbers, some with one decimal place."""
    rng = random.Random("measures")
    return [_number(rng, digits=4, places=rng.choice((0, 0, 1))) for _ in range(700)]


def _number(rng: random.Random, *, digits: int, places: int) -> Decimal:
    whole = rng.randrange(1, 10 ** rng.randint(1, digits))
    return Decimal(whole) + Decimal(rng.randrange(10**places)).scaleb(-places)
