"""Settings classes: frozen dataclasses whose fields are typed, bounded and checked on construction.

>>> @dataclass(frozen=True)
... class Colour(Settings):
...     red: Share = 0.0
>>> Colour(red=1).red, override(Colour(), {"red": 0.5}).red
(1.0, 0.5)

A wrong value is a ConfigError with the requirement, the value and its location. YAML recipes, the JSON of model
folders, flags and Python all use the same conversion. Standard library only.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import math
import os
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import MISSING, dataclass, fields, replace
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from antiphon.errors import ConfigError, printable
from antiphon.registry import nearest
from antiphon.synonyms import explain, find
from antiphon.urls import RemoteName

S = TypeVar("S", bound="Settings")


@dataclass(frozen=True)
class Range:
    """The bounds of a number; None: none. `open_low`, `open_high`: the bound itself is excluded."""

    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False

    def describe(self) -> str:
        """The bounds in words: "at least 0 and below 1"."""
        low = "" if self.low is None else f"{'above' if self.open_low else 'at least'} {self.low:g}"
        high = "" if self.high is None else f"{'below' if self.open_high else 'at most'} {self.high:g}"
        return " and ".join(part for part in (low, high) if part)

    def holds(self, value: float) -> bool:
        """Whether `value` is within the bounds."""
        low = self.low is None or value > self.low or (value == self.low and not self.open_low)
        return low and (self.high is None or value < self.high or (value == self.high and not self.open_high))


@dataclass(frozen=True)
class NamedChoice:
    """A text that `table` normalizes, for example "bf16" to "bfloat16"; it raises SettingError for others."""

    table: Callable[[str], str]


Count = Annotated[int, Range(low=1)]
CountOrZero = Annotated[int, Range(low=0)]
Positive = Annotated[float, Range(low=0, open_low=True)]
NotNegative = Annotated[float, Range(low=0)]
Share = Annotated[float, Range(low=0, high=1)]
Rate = Annotated[float, Range(low=0, high=1, open_high=True)]


Hint = str | Callable[[tuple[str, ...]], str]


class SettingError(ConfigError):
    """A ConfigError that knows which setting is wrong, so that a reader can add the section and the line.

    It prints as: `path` problem (where), hint? remedy. A hint that depends on the path is a function of it.
    """

    def __init__(
        self, path: tuple[str, ...], problem: str, *, hint: Hint = "", remedy: str = "", where: str = ""
    ) -> None:
        self.path, self.problem, self.hint, self.remedy, self.where = path, problem, hint, remedy, where
        super().__init__(path, problem)

    def __str__(self) -> str:
        subject = f"`{'.'.join(self.path)}` " if self.path else ""
        place = f" ({self.where})" if self.where else ""
        remedy = f" {self.remedy}" if self.remedy else ""
        hint = self.hint if isinstance(self.hint, str) else self.hint(self.path)
        return printable(f"{subject}{self.problem}{place}{hint or '.'}{remedy}")

    def under(self, section: str) -> SettingError:
        """The same error for the setting inside `section`."""
        return self._with((section, *self.path), self.where)

    def at(self, where: str) -> SettingError:
        """The same error with the location `where` (file and line)."""
        return self._with(self.path, self.where or where)

    def _with(self, path: tuple[str, ...], where: str) -> SettingError:
        return SettingError(path, self.problem, hint=self.hint, remedy=self.remedy, where=where)


@contextmanager
def inside(section: str) -> Iterator[None]:
    """A context that prepends `section` to the path of a SettingError."""
    try:
        yield
    except SettingError as error:
        raise error.under(section) from None


@contextmanager
def saying(*path: str) -> Iterator[None]:
    """A context that converts a plain ConfigError, such as an unknown name, to a SettingError for the setting
    `path`."""
    try:
        yield
    except SettingError:
        raise
    except ConfigError as error:
        raise SettingError(path, f"cannot be used: {str(error).rstrip('.')}") from error


def require(holds: bool, setting: str, problem: str, remedy: str = "") -> None:
    """Raise SettingError about `setting` (dotted; "" for the whole section) unless `holds`."""
    if not holds:
        raise SettingError(tuple(part for part in setting.split(".") if part), problem, remedy=remedy)


class FlagText(str):
    """The text of a flag: used as text where a text is expected, else `meaning`, its YAML value, is used."""

    meaning: Any

    def __new__(cls, text: str, meaning: Any) -> FlagText:
        made = super().__new__(cls, text)
        made.meaning = meaning
        return made


@dataclass(frozen=True)
class Settings:
    """The base class: on construction, converts and checks each field, then calls `check`."""

    def __post_init__(self) -> None:
        for name, hint in hints(type(self)).items():
            with inside(name):
                object.__setattr__(self, name, convert(getattr(self, name), hint))
        self.check()

    def check(self) -> None:
        """Raise SettingError if fields are inconsistent. Override in subclasses."""


@functools.cache
def hints(cls: type[Settings]) -> dict[str, Any]:
    """The fields of a settings class with their types."""
    known = get_type_hints(cls, include_extras=True)
    return {field.name: known[field.name] for field in fields(cls)}


def build(cls: type[S], mapping: Mapping[str, Any]) -> S:
    """Make a `cls` from `mapping`; an unknown key is an error that names the nearest one."""
    if not isinstance(mapping, Mapping):
        raise SettingError((), f"must be a mapping of settings, but is {show(mapping)}")
    _know(cls, mapping)
    for field in fields(cls):
        if field.name not in mapping and field.default is MISSING and field.default_factory is MISSING:
            raise SettingError((field.name,), "must be given, but is not there")
    return cls(**mapping)


def override(config: S, changes: Mapping[str, Any]) -> S:
    """`config` with `changes` by name; names and values are checked as in a file."""
    _know(type(config), changes)
    return replace(config, **changes)


def _know(cls: type[Settings], names: Iterable[str]) -> None:
    """Raise SettingError for the first name that is not a field of `cls`; hints include the fields of its sections."""
    known = hints(cls)
    for name in names:
        if name not in known:
            inside = [
                f"{key}.{name}"
                for key, hint in known.items()
                for kind in (get_args(hint) or (hint,))
                if isinstance(kind, type) and issubclass(kind, Settings) and name in hints(kind)
            ]
            hint: Hint = f", did you mean `{inside[0]}`?" if inside else nearest(name, known)
            if find(name) is not None:
                hint = functools.partial(_of_others, cls)
            remedy = "" if hint else f"Known: {', '.join(known)}."
            raise SettingError((str(name),), "is not a known setting", hint=hint, remedy=remedy)


def _of_others(cls: type[Settings], path: tuple[str, ...]) -> str:
    """The hint for an unknown name at the end of `path` that is a name of another library; "" if it is not."""
    section = ".".join(part for part in path[:-1] if not part.isdigit())
    alone = cls.__name__.removesuffix("Config").lower()  # for settings outside a recipe, such as those of `generate`

    def here(setting: str) -> str | None:
        home, _, last = setting.rpartition(".")
        own = home == section if section else home.rpartition(".")[2] in ("", alone)
        if own and last in hints(cls):
            return f"`{last}`"
        recipe = section or home.partition(".")[0] in hints(cls)
        return f"`{setting}`" if recipe and home != "load" else None

    return explain(path[-1], here, section=section or alone)


def from_json_mapping(cls: type[S], mapping: Mapping[str, Any], where: str) -> S:
    """Make a `cls` from JSON values of the file `where`; ConfigError for a wrong key or value."""
    try:
        return build(cls, mapping)
    except SettingError as error:
        raise error.at(where) from None


def plain(value: Any) -> Any:
    """Settings as dicts, tuples as lists; the inverse of `build`."""
    if isinstance(value, Settings):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.shown if isinstance(value, RemoteName) else value


def convert(value: Any, hint: Any) -> Any:
    """Convert `value` to the type `hint`; SettingError if it does not fit."""
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(value, FlagText) and hint is not str and origin not in (Annotated, Union, types.UnionType):
        value = _listed(value, hint) if origin is tuple else value.meaning
    if origin is Annotated:
        return _bounded(convert(value, arguments[0]), arguments[1])
    if origin in (Union, types.UnionType):
        return _either(value, arguments)
    if origin is Literal:
        if value not in arguments or isinstance(value, bool):
            raise _wrong(f"one of {', '.join(map(str, arguments))}", value, nearest(str(value), map(str, arguments)))
        return value
    if origin is tuple:
        return _tuple(value, arguments)
    if isinstance(hint, type) and issubclass(hint, Settings):
        settings: Any = value
        return settings if isinstance(settings, hint) else build(hint, settings)
    reader = _READERS.get(hint)
    return value if reader is None else reader(value)


def _listed(value: FlagText, hint: Any) -> Any:
    """The list that a flag spells as bleu,chrf or as 0.9,0.95. Where a list of texts is wanted, each part is one."""
    if _takes_text(hint) and not isinstance(value.meaning, list | tuple | Mapping):
        return [part.strip() for part in str(value).split(",")]
    return (
        [_number_or_text(part) for part in str(value).split(",")] if isinstance(value.meaning, str) else value.meaning
    )


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text.strip()


def show(value: Any) -> str:
    """A value for a message, shortened: numbers unchanged, texts in backticks, other values by type."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text `{value if len(value) <= 60 else value[:57] + '...'}`"
    if isinstance(value, int | float):
        return "a number beyond 1e18" if isinstance(value, int) and abs(value) > 1e18 else str(value)
    kinds = {dict: "a mapping", list: "a list", tuple: "a list"}
    return kinds.get(type(value), f"a {type(value).__name__}")


@functools.cache
def field_docs(cls: type[Settings]) -> dict[str, str]:
    """The docstring under each field of a settings class, on one line: the help of its flag."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__bases__):  # in the order of dataclasses.fields
        docs |= field_docs(base) if issubclass(base, Settings) else {}
    body = _class_bodies(cls.__module__)[cls.__qualname__]
    for statement, following in itertools.pairwise(body):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            value = following.value if isinstance(following, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                docs[statement.target.id] = " ".join(value.value.split())
    return docs


@functools.cache
def _class_bodies(module: str) -> dict[str, list[ast.stmt]]:
    """The bodies of the top-level classes of a module, by name; cached, since the help of a command needs many."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {statement.name: statement.body for statement in tree.body if isinstance(statement, ast.ClassDef)}


def _wrong(wanted: str, value: Any, hint: str = "") -> SettingError:
    return SettingError((), f"must be {wanted}, but is {show(value)}", hint=hint)


def _whole(value: Any) -> int:
    # Accept 8e3, which is a float in YAML.
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, float) or not value.is_integer():
        raise _wrong("a whole number", value)
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong("a number", value)
    try:
        number = float(value)
    except OverflowError:  # an integer with hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise _wrong("a finite number", value)
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str | os.PathLike):
        raise _wrong("a text", value)
    return str(value)


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong("true or false", value)
    return value


_READERS: dict[Any, Callable[[Any], Any]] = {int: _whole, float: _number, str: _text, bool: _switch}


def _bounded(value: Any, bound: Any) -> Any:
    if isinstance(bound, Range) and not bound.holds(value):
        raise _wrong(bound.describe(), value)
    if isinstance(bound, NamedChoice):
        return bound.table(value)
    return value


def _either(value: Any, options: tuple[Any, ...]) -> Any:
    """Convert to the first option of a union that fits (None included); else raise the error of the first option."""
    meaning = value
    if isinstance(value, FlagText):
        # For texts every word is a text, including none, null and ~; an empty one is None.
        text = value != "" and any(map(_takes_text, options))
        meaning = value if text else None if value == "none" else value.meaning  # none: as the help calls it
    if meaning is None and type(None) in options:
        return None
    errors: list[SettingError] = []
    for option in options:
        if option is not type(None):
            try:
                return convert(value, option)
            except SettingError as error:
                errors.append(error)
    raise errors[0]


def _takes_text(option: Any) -> bool:
    """Whether a type is a text, a list of texts, or a union with one of them."""
    bare = get_args(option)[0] if get_origin(option) is Annotated else option
    return bare is str or (
        get_origin(bare) in (tuple, Union, types.UnionType) and any(map(_takes_text, get_args(bare)))
    )


def _tuple(value: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    endless = len(arguments) == 2 and arguments[1] is Ellipsis
    if not isinstance(value, list | tuple):
        raise _wrong("a list" if endless else f"a list of {len(arguments)} values", value)
    wanted = [arguments[0]] * len(value) if endless else list(arguments)
    if len(wanted) != len(value):
        raise SettingError((), f"must be a list of {len(wanted)} values, but has {len(value)}")
    made: list[Any] = []
    for number, (item, wish) in enumerate(zip(value, wanted, strict=True)):
        # Nested settings are named by their index; for plain values the message shows the value.
        numbered = isinstance(wish, type) and issubclass(wish, Settings)
        with inside(str(number)) if numbered else nullcontext():
            made.append(convert(item, wish))
    return tuple(made)
