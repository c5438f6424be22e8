"""Intervals of a run: every n steps, or every n epochs.

>>> read_interval("2 epochs")
Interval(count=2, unit='epochs')
>>> str(read_interval(50)), interval_text("1 epoch")
('50 steps', '1 epoch')
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from antiphon.settings import NamedChoice, SettingError, Settings, show

_TEXT = re.compile(r"\s*([0-9]+)\s*(steps?|epochs?)\s*")


@dataclass(frozen=True)
class Interval:
    """Every `count` optimizer steps, or every `count` epochs: passes over the training data."""

    count: int
    unit: Literal["steps", "epochs"]

    def __str__(self) -> str:
        return f"{self.count} {self.unit.removesuffix('s') if self.count == 1 else self.unit}"


def read_interval(value: object) -> Interval:
    """An interval from a number of steps, or from a text such as `50 steps` or `1 epoch`; SettingError for others."""
    found = _TEXT.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, float) and value.is_integer():  # 1e3 is a float in YAML
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return Interval(value, "steps")
    if found is None or int(found[1]) == 0:
        problem = f"must be steps or epochs, such as 50, `50 steps` or `1 epoch`, but is {show(value)}"
        raise SettingError((), problem)
    return Interval(int(found[1]), "steps" if found[2].startswith("step") else "epochs")


def interval_text(value: object) -> str:
    """The normalized text of an interval: `50 steps`, `1 epoch`."""
    return str(read_interval(value))


Every = Annotated[Any, NamedChoice(interval_text)]


def set_default_steps(settings: Settings, name: str, steps_name: str, default: int) -> None:
    """Set `steps_name` to its default if neither field is set; SettingError if both are."""
    every, steps = getattr(settings, name), getattr(settings, steps_name)
    if every is not None and steps is not None:
        problem = f"and `{steps_name}` must not both be given, but are `{every}` and {steps}"
        raise SettingError((name,), problem, remedy="Drop one of them.")
    if every is None and steps is None:
        object.__setattr__(settings, steps_name, default)
