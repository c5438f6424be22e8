"""The registry of parts by name: registered names, `module:Name`, and entry points of installed packages.

>>> register("task", "shout")(str.upper)("a")
'A'
>>> lookup("task", "shout")("b")
'B'
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from antiphon.errors import ConfigError, argument

T = TypeVar("T")

# The kinds of parts.
KINDS = ["attention", "augmentation", "filter", "metric", "objective", "optimizer", "reporter", "schedule", "task"]

_parts: dict[str, dict[str, Any]] = {}


def register(kind: str, name: str) -> Callable[[T], T]:
    """A decorator that registers an object as the part `name` of `kind`.

    Registering the same definition again (a notebook cell that is run twice) replaces it. ConfigError for another
    object under a registered name, or a kind that is not in KINDS.
    """
    _check_kind(kind)

    def keep(part: T) -> T:
        taken = _parts.setdefault(kind, {}).get(name, part)
        if _origin(taken) != _origin(part):
            raise ConfigError(f"the {kind} `{name}` is already registered as {_origin(taken)}. Choose another name.")
        _parts[kind][name] = part
        return part

    return keep


def unregister(kind: str, name: str) -> None:
    """Forget what is registered as `name` among the parts of `kind`; ConfigError where nothing is.

    For tests, and for a notebook that wants the name for another part. Entry points of packages stay.
    """
    _check_kind(kind)
    if name not in _parts.get(kind, {}):
        raise ConfigError(f"`{name}` is not a registered {kind}{nearest(name, _parts.get(kind, {})) or '.'}")
    del _parts[kind][name]


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ConfigError(f"a part must be one of {', '.join(KINDS)}, but is `{kind}`{nearest(kind, KINDS) or '.'}")


def lookup(kind: str, name: str, *, folder: Path | None = None, allow_import: bool = True) -> Any:
    """Look up the part `name` of `kind`: registered, else `module:Name`, else an entry point.

    A `module:Name` is looked up in `folder`, then in the current folder, then among the installed
    packages. With `allow_import=False` it is never imported (names that come from a model folder).
    Raises ConfigError that names the nearest known ones.
    """
    if name in _parts.get(kind, {}):
        return _parts[kind][name]
    if ":" in name:
        if not allow_import:
            module = name.partition(":")[0]
            first = argument(f"import {module}", flag=f"--import {module}")
            raise ConfigError(
                f"the {kind} `{name}` is not imported unasked. Give {first}, or register it in that module: "
                f'`antiphon.register("{kind}", "{name}")`.'
            )
        return _import(kind, name, folder)
    for point in entry_points(group=f"antiphon.{kind}", name=name):
        return point.load()
    known = names(kind)
    raise ConfigError(
        f"`{name}` is not a known {kind}{nearest(name, known) or '.'} "
        f"Known: {', '.join(known) or 'none'}; or write module:Name."
    )


def names(kind: str) -> list[str]:
    """The names that `lookup(kind, ...)` finds without an import by path, sorted."""
    return sorted({*_parts.get(kind, {}), *(point.name for point in entry_points(group=f"antiphon.{kind}"))})


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint to append to a message about an unknown name, with its comma: ", did you mean `x`?" or "".

    Names that start with `name` are preferred to others with similar letters: --bea is --beam-size, not --stream.
    """
    known = list(known)
    begun = [each for each in known if each.startswith(str(name))] if len(str(name).strip("-")) > 2 else []
    close = difflib.get_close_matches(str(name), begun or known, n=1, cutoff=0.0 if begun else 0.6)
    return f", did you mean `{close[0]}`?" if close else ""


def registered_name(kind: str, part: Any) -> str | None:
    """The name under which `part` is registered, or None."""
    return next((name for name, known in _parts.get(kind, {}).items() if known is part), None)


def name_for(kind: str, part: Any) -> str | None:
    """The name by which `lookup` finds a class or function: the registered one, else `module:Name`; None if another
    process could not import it (defined in a notebook, a script, or a function)."""
    name = registered_name(kind, part)
    if name is not None:
        return name
    module, path = getattr(part, "__module__", None), getattr(part, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(path, str) or module == "__main__" or "<" in path:
        return None
    return f"{module}:{path}"


def imported(name: str) -> Any:
    """The object `module:Name` of a module that is imported already; None if it is not imported, or has no such
    name."""
    module, _, path = name.partition(":")
    part: Any = sys.modules.get(module)
    for step in path.split("."):
        if not isinstance(part, ModuleType | type) or step not in vars(part):
            return None
        part = vars(part)[step]
    return part


def _origin(part: Any) -> str:
    """The location of a part's definition; equal for two executions of the same definition."""
    return f"{getattr(part, '__module__', '?')}.{getattr(part, '__qualname__', repr(part))}"


def _import(kind: str, name: str, folder: Path | None) -> Any:
    module_name, _, attribute = name.partition(":")
    places = list(dict.fromkeys(str(Path(place).resolve()) for place in (folder, Path.cwd()) if place is not None))
    sys.path[:0] = places
    importlib.invalidate_caches()
    try:
        part: Any = importlib.import_module(module_name)
    except Exception as error:  # the user's module may raise anything while it is imported
        raise ConfigError(
            f"the {kind} `{name}` cannot be imported ({type(error).__name__}: {error}). "
            f"Looked in {', '.join(places)} and Python's path."
        ) from error
    finally:
        for place in places:
            sys.path.remove(place)
    for step in attribute.split("."):
        if step not in vars(part):
            raise ConfigError(f"the module `{module_name}` has no `{attribute}`{nearest(step, vars(part)) or '.'}")
        part = vars(part)[step]
    return part
