"""Names that people look for on a model, because those of transformers have them: the error says what is here.

antiphon.Model.from_pretrained    # AttributeError: ... `antiphon.load(path)` reads a folder or a model of the hub
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from antiphon.synonyms import METHODS


class _Absent:
    """An attribute that is not there, on the class and on its objects: `hasattr` says so too."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, owned: object, owner: type) -> NoReturn:
        raise AttributeError(f"a Model has no `{self.name}`, a name of transformers: {METHODS[self.name]}.")


class OtherToolkitNames:
    """A base of models, in which the names of METHODS are answered. They are not shown by `dir` of a model."""

    def __dir__(self) -> Iterable[str]:
        return [name for name in super().__dir__() if name not in METHODS]


for _name in METHODS:
    setattr(OtherToolkitNames, _name, _Absent(_name))
