"""How often the property tests repeat, from one file (counts.toml): few in `make test`, the full figure with
ANTIPHON_TORTURE=1.

from counts import count for seed in range(count("beam_oracle")): ...
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

MODE = "torture" if os.environ.get("ANTIPHON_TORTURE") == "1" else "test"
_TABLE: dict[str, dict[str, int]] = tomllib.loads(Path(__file__).with_name("counts.toml").read_text(encoding="utf-8"))


def count(name: str) -> int:
    """The count called `name` in force; KeyError, with the known names, if counts.toml has none of that name."""
    if name not in _TABLE:
        raise KeyError(f"tests/counts.toml has no [{name}]; it has {', '.join(_TABLE)}")
    return _TABLE[name][MODE]


def parts(name: str, *, most: int = 100) -> list[range]:
    """The numbers 0 to count(name) - 1 in ranges of at most `most`, a test each: what has run is not run again by a
    `make torture` that goes on."""
    number = count(name)
    return [range(first, min(first + most, number)) for first in range(0, number, most)]


def names() -> list[str]:
    """The names of all counts."""
    return [*_TABLE]


def describe() -> str:
    """One line for the head of a test run."""
    return f"counts ({MODE}): " + ", ".join(f"{name}={row[MODE]}" for name, row in _TABLE.items())
