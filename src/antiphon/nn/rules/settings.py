"""Checks of the settings of rules. Each returns the value, or raises a ValueError with a message of one line."""

from __future__ import annotations

import math


def whole(name: str, value: object, *, least: int, hint: str = "") -> int:
    """A whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"`{name}` must be a whole number of at least {least}, but is {value!r}.{hint and f' {hint}'}")
    return value


def positive(name: str, value: object) -> float:
    """A finite number above 0."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ValueError(f"`{name}` must be a number above 0, but is {value!r}.")
    return float(value)


def truth(name: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be true or false, but is {value!r}.")
    return value
