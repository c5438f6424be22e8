"""Filters of training pairs.

    data:
      filters: [{length: {max: 100}}, {ratio: 3}, duplicates, {script: {target: Cyrillic}}, mymodule:clean]

A filter is a function from a `Pair` to true (keep) or false (drop). The first filter that returns false drops the pair.
A custom filter is a function, or a class with `__call__`, with its settings as keyword arguments: `mymodule:Name`, or
registered as `@register("filter", "name")`. Its result must depend on the pair alone, unless its class sets `remembers
= True`: such filters see each pair once, in the order of the files. The texts are those that the task returns, without
the `tag` and `prefix` of the source (`pair.row.source_prefix`).

A class that sets `learns = "train"` (or `"held_out"`) has a method `learn(pairs)`. It is called once, before the first
pair, with the training pairs (or with those of `data.valid` and `data.test`). A class may have a method `keeps(pairs)`
that returns a boolean for each of several pairs; it is called in place of `__call__` where that is faster. checks/ has
the filters for faults of texts, which `antiphon inspect` uses to find them.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from antiphon.config import TrainConfig
from antiphon.data.checks import languages, overlap, texts
from antiphon.data.lines import Pair
from antiphon.data.media.contents import key_or_name
from antiphon.data.media.references import Reference
from antiphon.errors import DataError
from antiphon.registry import lookup, nearest, register
from antiphon.settings import Count, Positive, Range, SettingError, Settings, Share, build, hints, inside, require, show

Unit = Literal["words", "characters"]
Filter = Callable[[Pair], bool]
PairsOf = Callable[[Literal["train", "held_out"]], Iterator[Pair]]
BATCH = 512  # pairs that are filtered together
CHECKS = (languages, overlap, texts)  # the modules that register the filters for faults of texts


class Filters:
    """The filters of a recipe; `begin()` makes new ones for a pass over the data.

    `held_out` is the data that filters compare the training pairs with (DataConfig.valid and .test).
    """

    def __init__(self, makers: Mapping[str, Callable[[], Filter]], *, held_out: Sequence[object] = ()) -> None:
        self._makers = dict(makers)
        self.names, self.held_out = list(makers), [data for data in held_out if data is not None]
        made = {name: make() for name, make in makers.items()}
        self.remember = any(getattr(each, "remembers", False) for each in made.values())
        self._learning: dict[str, Any] = {name: each for name, each in made.items() if getattr(each, "learns", None)}
        self._learned = False

    def begin(self, pairs_of: PairsOf | None = None) -> Callable[[Sequence[Pair]], list[str | None]]:
        """A function that returns, for each of some pairs, the name of the filter that drops it, or None if it is kept.

        `pairs_of` gives the pairs that filters learn from, at the first call.
        """
        if not self._learned:
            for each in self._learning.values():
                each.learn(iter(()) if pairs_of is None else pairs_of(each.learns))
            self._learned = True
        made = {name: self._learning[name] if name in self._learning else make() for name, make in self._makers.items()}

        def drops(pairs: Sequence[Pair]) -> list[str | None]:
            found: list[str | None] = [None] * len(pairs)
            left = list(range(len(pairs)))
            for name, each in made.items():  # a pair is seen by a filter only if those before keep it
                kept = _kept(name, each, [pairs[place] for place in left])
                for place, keep in zip(left, kept, strict=True):
                    found[place] = None if keep else name
                left = [place for place, keep in zip(left, kept, strict=True) if keep]
            return found

        return drops


def _kept(name: str, each: Any, pairs: Sequence[Pair]) -> list[bool]:
    """What a filter says of each of some pairs. DataError that names the pair if it raises an error."""
    together = getattr(each, "keeps", None) if len(pairs) > 1 else None
    if together is not None:
        return list(together(pairs))
    kept = []
    for pair in pairs:
        try:
            kept.append(bool(each(pair)))
        except Exception as error:  # a user's function may raise anything
            problem = f"raised {type(error).__name__}: {error}"
            raise DataError(f"the filter `{name}` {problem} ({pair.row.place}). Correct it.") from error
    return kept


def load_filters(settings: object, folder: Path | None = None, *, held_out: Sequence[object] = ()) -> Filters:
    """The filters of DataConfig.filters; a `module:Name` is looked up in `folder` first. Raises ConfigError.

    `held_out`: DataConfig.valid and .test, for filters that compare the training pairs with them.
    """
    makers: dict[str, Callable[[], Filter]] = {}
    items = settings if isinstance(settings, list | tuple) else ()
    for number, item in enumerate(items):
        [(name, values)] = item.items() if isinstance(item, Mapping) else [(str(item), None)]
        with inside("data"), inside("filters"), inside(str(number)):
            make = maker("filter", str(name), values, folder)
            make()  # checks its settings
        same = sum(other.split(" (")[0] == name for other in makers)
        makers[f"{name} ({same + 1})" if same else str(name)] = make
    return Filters(makers, held_out=held_out)


def filters_of(config: TrainConfig) -> Filters:
    """The filters of a recipe. Raises ConfigError."""
    folder = Path(config.folder) if config.folder else None
    return load_filters(config.data.filters, folder, held_out=(config.data.valid, config.data.test))


def maker(kind: str, name: str, values: Any, folder: Path | None, *, arguments: int = 1) -> Callable[[], Any]:
    """A factory of the registered part `name` of `kind` with the settings `values`.

    A class is instantiated with the settings; a function is later called with `arguments` positional ones and these.
    """
    part = lookup(kind, name, folder=folder)
    if isinstance(part, type) and issubclass(part, Settings):
        alone = next(iter(hints(part)), "")  # a single value, as in {ratio: 3}, sets the first setting
        given = values if isinstance(values, Mapping) else {} if values is None else {alone: values}
        made: Any = part
        return lambda: build(made, given)
    if not callable(part) or not (values is None or isinstance(values, Mapping)):
        problem = f"must be a function with its settings as a mapping, but `{name}` has {show(values)}"
        raise SettingError((), problem)
    given = dict(values or {})
    ahead = () if isinstance(part, type) else (None,) * arguments  # a function gets the pair first
    try:
        inspect.signature(part).bind(*ahead, **given)
    except TypeError as error:
        raise SettingError((name,), f"must have the settings of its function, but has {error}") from error
    function: Any = part
    return (lambda: function(**given)) if isinstance(part, type) else (lambda: functools.partial(function, **given))


def _size(text: str, unit: Unit) -> int:
    return len(text.split()) if unit == "words" else len(text)


@register("filter", "length")
@dataclass(frozen=True)
class Length(Settings):
    """Keeps pairs of which both sides have `min` to `max` units."""

    max: Count | None = None  # the first field, so that {length: 100} sets it
    min: Count = 1
    unit: Unit = "words"

    def check(self) -> None:
        ordered = self.max is None or self.min <= self.max
        require(ordered, "min", f"must be at most `max` ({self.max}), but is {self.min}")

    def __call__(self, pair: Pair) -> bool:
        sizes = _size(pair.source, self.unit), _size(pair.target, self.unit)
        return min(sizes) >= self.min and (self.max is None or max(sizes) <= self.max)


@register("filter", "ratio")
@dataclass(frozen=True)
class Ratio(Settings):
    """Keeps pairs of which the longer side has at most `most` times the units of the shorter one.

    `usual` is how many units a target usually has for each of the source, where one side needs more than the other.
    """

    most: Annotated[float, Range(low=1)]
    unit: Unit = "words"
    usual: Positive = 1.0

    def __call__(self, pair: Pair) -> bool:
        shorter, longer = sorted((self.usual * _size(pair.source, self.unit), _size(pair.target, self.unit)))
        return longer <= self.most * shorter


@register("filter", "duplicates")
class Duplicates:
    """Keeps the first of equal pairs, over all sources. Pairs are equal if tag, prefix, source and target are; images
    and sound if the contents of their files are.

    It stores a BLAKE2 digest of 16 bytes for each pair, about 100 bytes of memory: 1 GB for ten million pairs.
    """

    remembers = True

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def __call__(self, pair: Pair) -> bool:
        source = f"{pair.row.source_prefix}{pair.source}".encode("utf-8", "surrogatepass")
        if isinstance(pair.source, Reference):
            source = key_or_name(pair.source)
        text = f"{len(source)} ".encode() + source + pair.target.encode("utf-8", "surrogatepass")
        key = hashlib.blake2b(text, digest_size=16).digest()
        before = len(self._seen)
        self._seen.add(key)
        return len(self._seen) > before


@register("filter", "script")
@dataclass(frozen=True)
class Script(Settings):
    """Keeps pairs in which at least `share` of the letters of each side belong to its scripts, by their Unicode names.

    A text without letters is kept. Modifier letters (category Lm) belong to no script and are not counted.
    """

    source: tuple[str, ...] | str = ()
    target: tuple[str, ...] | str = ()
    share: Share = 0.5

    def check(self) -> None:
        for side in ("source", "target"):
            for name in _scripts(getattr(self, side)):
                hint = nearest(name, _COMMON_SCRIPTS.split())
                if not _is_script(_start(name)):
                    raise SettingError((side,), f"must be a script of Unicode, but is `{name}`", hint=hint)
        require(bool(self.source or self.target), "", "must have a script for `source` or `target`, but has none")

    def __call__(self, pair: Pair) -> bool:
        return self._fits(pair.source, self.source) and self._fits(pair.target, self.target)

    def _fits(self, text: str, scripts: tuple[str, ...] | str) -> bool:
        if not scripts:
            return True
        letters = text.translate(_script_table(_scripts(scripts)))
        return letters.count("1") >= self.share * len(letters)


_COMMON_SCRIPTS = (
    "Arabic Armenian Bengali Cyrillic Devanagari Ethiopic Georgian Greek Gujarati Gurmukhi Han Hangul Hebrew Hiragana "
    "Kannada Katakana Khmer Lao Latin Malayalam Myanmar Sinhala Tamil Telugu Thai Tibetan"
)


def _scripts(names: tuple[str, ...] | str) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def _start(script: str) -> str:
    """The beginning of the Unicode names of a script's letters."""
    return "CJK " if script.lower() == "han" else f"{script.upper()} "


class _ScriptTable(dict[int, str | None]):
    """A table for str.translate: "1" for a letter of the scripts, "0" for another letter, other characters deleted."""

    def __init__(self, scripts: tuple[str, ...]) -> None:
        self._starts = tuple(_start(name) for name in scripts)

    def __missing__(self, code: int) -> str | None:
        letter = unicodedata.category(chr(code)) in ("Lu", "Ll", "Lt", "Lo")
        name = unicodedata.name(chr(code), "?").removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ")
        return self.setdefault(code, str(int(name.startswith(self._starts))) if letter else None)


_script_table = functools.cache(_ScriptTable)  # one table for each set of scripts


@functools.cache
def _is_script(start: str) -> bool:
    letters = (chr(code) for code in range(sys.maxunicode + 1))
    return any(unicodedata.name(letter, "").startswith(start) and letter.isalpha() for letter in letters)
