"""Attributes of models in transformers: the error on a Model names the equivalent here.

antiphon.Model.from_pretrained    # AttributeError: ... `antiphon.load(path)` reads a folder or a model of the hub
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from antiphon.synonyms import METHODS


class _Absent:
    """An attribute that raises AttributeError, on the class and on its objects; `hasattr` is False."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, owned: object, owner: type) -> NoReturn:
        raise AttributeError(f"a Model has no `{self.name}`, a name of transformers: {METHODS[self.name]}.")


class OtherToolkitNames:
    """A base class of models with a helpful error for each name in METHODS. `dir` does not list these names."""

    def __dir__(self) -> Iterable[str]:
        return [name for name in super().__dir__() if name not in METHODS]


for _name in METHODS:
    setattr(OtherToolkitNames, _name, _Absent(_name))
