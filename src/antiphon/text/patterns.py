"""The patterns of the built-in corpus: how Babel writes a date, an amount of money, ... in a locale.

A pattern fixes the words ("long date in March", "euros by name"); a value fills it (the day and the year, the amount).
Patterns that come first win where a source could mean two things ("May 5, 2024" is a long and a medium date).
"""

from __future__ import annotations

import calendar
import datetime
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from babel import Locale, dates, numbers, units

Value = tuple[object, ...]

_YEARS = (1900, 2099)
_CURRENCIES = (
    "USD EUR JPY GBP CNY CHF AUD CAD HKD SGD SEK NOK DKK INR KRW BRL MXN ZAR RUB TRY "
    "NZD PLN THB IDR HUF CZK ILS CLP PHP AED SAR MYR RON ARS EGP VND UAH COP KES ISK"
).split()
_UNITS = (
    "length-kilometer length-meter length-centimeter length-millimeter length-mile length-foot length-inch length-yard "
    "mass-kilogram mass-gram mass-milligram mass-pound mass-ounce mass-tonne "
    "volume-liter volume-milliliter volume-cubic-meter volume-gallon area-square-meter area-square-kilometer area-hectare "
    "speed-kilometer-per-hour speed-mile-per-hour speed-meter-per-second temperature-celsius temperature-fahrenheit "
    "duration-year duration-month duration-week duration-day duration-hour duration-minute duration-second "
    "digital-gigabyte digital-megabyte digital-kilobyte energy-kilocalorie energy-kilowatt-hour power-watt power-kilowatt"
).split()
_SECONDS = {
    "year": 365 * 86_400,
    "month": 30 * 86_400,
    "week": 7 * 86_400,
    "day": 86_400,
    "hour": 3_600,
    "minute": 60,
    "second": 1,
}


class WrongPattern(Exception):
    """A locale has no words for a pattern."""


@dataclass(frozen=True)
class Pattern:
    """name: what is fixed. render: (locale, *value) -> text. draw: a value at random. probes: values that tell patterns apart."""

    name: tuple[object, ...]
    render: Callable[..., str]
    draw: Callable[[random.Random], Value]
    probes: tuple[Value, ...]
    tells: Callable[[Locale, Locale], bool] = lambda source, target: True
