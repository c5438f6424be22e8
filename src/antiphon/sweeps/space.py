"""The space of a sweep: which values each setting of a recipe may have.

    space = parse_space({"training.lr": {"low": 1e-4, "high": 1e-2, "log": True}}, grid=False)
    space["training.lr"].value(0.003)

A key is a setting of a recipe (`training.lr`), a section of it (`training`, whose settings then change together), or
`variant`, which selects one of the recipe's variants. A parameter of the study is a key with a label of a choice (a
text) or a number of a range.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from antiphon.registry import nearest
from antiphon.settings import SettingError, show

Params = dict[str, Any]  # key -> the label of a choice, or a number of a range
_RANGE_KEYS = ("low", "high", "log", "step", "points")
VARIANT = "variant"


@dataclass(frozen=True)
class ChoiceSpace:
    """Values by label, in order."""

    values: Mapping[str, Any]

    def value(self, label: Any) -> Any:
        """The value of a recipe for a label."""
        return self.values[label]

    def grid(self) -> list[Any]:
        """All labels."""
        return list(self.values)


@dataclass(frozen=True)
class RangeSpace:
    """Numbers from `low` to `high`, both included; whole ones if both bounds are.

    `log`: uniform in the logarithm. `step`: only low, low + step, ... `points`: how many a grid has.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    points: int | None = None

    @property
    def whole(self) -> bool:
        """Whether the values are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int) and (self.step is None or self.step % 1 == 0)

    def value(self, number: Any) -> Any:
        """The value of a recipe for a number of the study."""
        return int(number) if self.whole else float(number)

    def grid(self) -> list[Any]:
        """The numbers of a grid: `points` of them at equal distances, or each multiple of `step`."""
        if self.points is None:
            assert self.step is not None
            count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
            found = [self.low + place * self.step for place in range(count)]
        else:
            shares = [place / max(1, self.points - 1) for place in range(self.points)]
            ratio = self.high / self.low if self.log else 0.0
            found = [
                self.low * ratio**share if self.log else self.low + share * (self.high - self.low) for share in shares
            ]
        rounded = [round(number) if self.whole else float(f"{number:.6g}") for number in found]
        return list(dict.fromkeys(rounded))


Domain = ChoiceSpace | RangeSpace


def parse_space(space: object, *, grid: bool) -> dict[str, Domain]:
    """The domains of `space` by key. `grid`: ranges become choices. SettingError for an empty or invalid one."""
    if not isinstance(space, Mapping):
        raise SettingError((), f"must map settings of the recipe to their values, but is {show(space)}")
    if not space:
        raise SettingError(
            (), "must have at least one setting, but is empty", remedy="For example training.lr: [1e-3, 3e-3]."
        )
    return {str(key): _domain(str(key), value, grid=grid) for key, value in space.items()}


def _domain(key: str, value: object, *, grid: bool) -> Domain:
    if isinstance(value, list | tuple):
        return _choices(key, value)
    if isinstance(value, Mapping) and set(value) == {"choices"}:
        named = value["choices"]
        if isinstance(named, list | tuple):
            return _choices(key, named)
        if not isinstance(named, Mapping) or not named:
            raise SettingError((key, "choices"), f"must be a list of values, or values by name, but is {show(named)}")
        return ChoiceSpace({str(name): item for name, item in named.items()})
    if isinstance(value, Mapping) and {"low", "high"} & set(value):
        found = _range(key, value, grid=grid)
        return _choices(key, found.grid()) if grid else found
    raise SettingError(
        (key,),
        f"must be a list of values, {{low, high}} or {{choices: values by name}}, but is {show(value)}",
        remedy="For one value, use `set`.",
    )


def _choices(key: str, values: Sequence[object]) -> ChoiceSpace:
    if not values:
        raise SettingError((key,), "must have at least one value, but is an empty list")
    labels = [label_of(value) for value in values]
    for label in labels:
        if labels.count(label) > 1:
            raise SettingError((key,), f"must have each value once, but has `{label}` twice", remedy="Drop one.")
    return ChoiceSpace(dict(zip(labels, values, strict=True)))


def _range(key: str, value: Mapping[Any, Any], *, grid: bool) -> RangeSpace:
    for name in value:
        if name not in _RANGE_KEYS:
            hint = nearest(str(name), _RANGE_KEYS)
            raise SettingError((key, str(name)), f"is not known; a range has {', '.join(_RANGE_KEYS)}", hint=hint)
    for name in ("low", "high"):
        _number(key, name, value.get(name))
    low, high, log = value["low"], value["high"], value.get("log", False)
    step, points = value.get("step"), value.get("points")
    if not low < high:
        raise SettingError((key,), f"must have `low` below `high`, but has {low:g} and {high:g}")
    if not isinstance(log, bool):
        raise SettingError((key, "log"), f"must be true or false, but is {show(log)}")
    if log and low <= 0:
        raise SettingError((key, "low"), f"must be above 0 where `log` is true, but is {low:g}")
    if log and step is not None:
        raise SettingError((key, "step"), "must be left out where `log` is true", remedy="Use `points` in a grid.")
    if step is not None:
        _number(key, "step", step)
        if not 0 < step <= high - low:
            raise SettingError((key, "step"), f"must be above 0 and at most {high - low:g}, but is {step:g}")
    if points is not None and (not isinstance(points, int) or isinstance(points, bool) or points < 2):
        raise SettingError((key, "points"), f"must be a whole number of at least 2, but is {show(points)}")
    if grid and points is None and step is None:
        raise SettingError((key,), "needs `points` or `step` in a grid", remedy="For example points: 5.")
    return RangeSpace(low, high, log, step, points)


def _number(key: str, name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SettingError((key, name), f"must be a number, but is {show(value)}")


def label_of(value: object) -> str:
    """A value on one line, as it would stand in a recipe."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {label_of(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(label_of, value)) + "]"
    return str(value)


def grid_of(space: Mapping[str, Domain]) -> Iterator[Params]:
    """Every combination of the values of a grid; the last key changes fastest."""
    for combination in itertools.product(*(domain.grid() for domain in space.values())):
        yield dict(zip(space, combination, strict=True))


def grid_size(space: Mapping[str, Domain]) -> int | None:
    """The number of combinations; None if a range has neither `points` nor `step`, that is, infinitely many."""
    total = 1
    for domain in space.values():
        if isinstance(domain, RangeSpace) and domain.points is None and domain.step is None:
            return None
        total *= len(domain.grid())
    return total


def describe(params: Params) -> str:
    """Parameters on one line: `training.lr=0.003 training.optimizer=muon`."""
    return " ".join(f"{short_key(key, params)}={label_of(value)}" for key, value in params.items())


def short_key(key: str, keys: Mapping[str, Any] | Sequence[str]) -> str:
    """The last part of a key if no other key ends in it, else the whole key."""
    last = key.rpartition(".")[2]
    return last if sum(other.rpartition(".")[2] == last for other in keys) == 1 else key
