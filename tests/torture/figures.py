"""What a test reached, beside that it passed: how many were tried, how large the largest difference was.

def test_x(figures): figures.add("inputs", 20); figures.most("difference", 3e-12)

`make torture` records them (records.py), and docs/reliability.md shows them. Those of the parameters of one test, and
of the tests of one row, are put together: sums of what is added, the largest of `most`, the smallest of `least`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

HOW = {"add": lambda a, b: a + b, "most": max, "least": min}
Figures = dict[str, list[Any]]  # name -> [how, value]


class FigureRecorder:
    """The figures of one test; `properties` is the list `user_properties` of pytest."""

    def __init__(self, properties: list[tuple[str, object]]) -> None:
        self._figures: Figures = {}
        properties.append(("figures", self._figures))

    def add(self, name: str, number: int) -> None:
        """`number` more of what is called `name`."""
        self._put("add", name, int(number))

    def most(self, name: str, value: float) -> None:
        """`value`, if none was larger."""
        self._put("most", name, float(value))

    def least(self, name: str, value: float) -> None:
        """`value`, if none was smaller."""
        self._put("least", name, float(value))

    def _put(self, how: str, name: str, value: float) -> None:
        self._figures.update(together([self._figures, {name: [how, value]}]))


def together(many: Iterable[Figures]) -> Figures:
    """Several tests' figures as one."""
    found: Figures = {}
    for figures in many:
        for name, (how, value) in figures.items():
            found[name] = [how, HOW[how](found[name][1], value) if name in found else value]
    return found


def as_text(figures: Figures) -> str:
    """1,000 inputs; difference at most 3.1e-12"""
    words = {"add": "{value:,} {name}", "most": "{name} at most {value:.3g}", "least": "{name} at least {value:.3g}"}
    return "; ".join(words[how].format(name=name, value=value) for name, (how, value) in figures.items())
