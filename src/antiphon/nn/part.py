"""Base of parts that recipes can name: a part stores its constructor arguments, so that it can be saved by name.

>>> from antiphon.nn.rules import Alibi, Window
>>> Window(128).spec, (Alibi() & Window(16)).spec
({'window': 128}, {'all': ['alibi', {'window': 16}]})
"""

from __future__ import annotations

import inspect
from typing import Any, Self

from torch import nn

from antiphon.registry import name_for


class Part(nn.Module):
    """Base of score rules and mixers."""

    _spec: object = None
    _made_with: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})

    def __new__(cls, *arguments: Any, **settings: Any) -> Self:
        part = super().__new__(cls)
        object.__setattr__(part, "_made_with", (arguments, settings))
        return part

    @property
    def spec(self) -> object:
        """The entry of a recipe: a name, or {name: settings}; None if it has no name or its arguments are objects."""
        return self._spec if self._spec is not None else self._derived()

    @spec.setter
    def spec(self, value: object) -> None:
        object.__setattr__(self, "_spec", value)

    def _derived(self) -> object:
        kind, (arguments, settings) = type(self), self._made_with
        name = spec_name(kind)
        if name is None:
            return None
        if not arguments and not settings:
            return name
        if len(arguments) == 1 and not settings and not isinstance(arguments[0], dict):
            return {name: arguments[0]} if is_literal(arguments[0]) else None
        bound = inspect.signature(kind.__init__).bind(self, *arguments, **settings).arguments
        named = dict(list(bound.items())[1:])
        return {name: named} if is_literal(named) else None


def spec_name(thing: object) -> str | None:
    """The name of a class or function in a recipe: the registered one, else `module:Name`; None if it was defined in a
    notebook, a script or another function."""
    return name_for("attention", thing)


def is_literal(value: object) -> bool:
    """Whether `value` can be stored in a recipe or a model folder."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_literal(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(is_literal(item) for item in value)
    return value is None or isinstance(value, (bool, int, float, str))
