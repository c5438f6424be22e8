"""Helpful errors for unknown keyword arguments, as for unknown settings.

@known_keywords("load")
def load(path, *, device="auto"): ...

load("t5", devcie="cpu")    # ConfigError: `devcie` is not an argument of `antiphon.load`, did you mean `device`?
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from antiphon.errors import ConfigError
from antiphon.registry import nearest
from antiphon.synonyms import explain

P = ParamSpec("P")
R = TypeVar("R")


def known_keywords(section: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator that turns the TypeError about an unknown keyword into a ConfigError that names the nearest one.

    `section` is the section of the function's keywords in synonyms.py.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        known = list(inspect.signature(function).parameters)

        def here(setting: str) -> str | None:
            home, _, last = setting.rpartition(".")
            return f"`{last}`" if home == section and last in known else None

        @functools.wraps(function)
        def call(*arguments: P.args, **keywords: P.kwargs) -> R:
            for name in keywords.keys() - known:
                hint = explain(name, here, section=section) or nearest(name, known)
                remedy = hint or f". Known: {', '.join(known)}."
                raise ConfigError(f"`{name}` is not an argument of `antiphon.{function.__name__}`{remedy}")
            return function(*arguments, **keywords)

        return call

    return decorate
