"""A task: one function that turns a record of the data into a source and its target.

    def verdict(record):                       # recipe: `task: mymodule:verdict`
        return record["review"], record.get("verdict")

A record maps field names to texts: the columns of a TSV or CSV file, the keys of a JSON line, or "source" and "target"
for a pair of text files. A target of None stands for a record without an answer.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from antiphon.errors import ConfigError, DataError
from antiphon.registry import lookup, nearest, register

Split = Callable[[Mapping[str, str]], tuple[str, str | None]]


@dataclass(frozen=True)
class Task:
    """name: as the recipe writes it. split: the function; `pair` calls it and checks what it gives."""

    name: str
    split: Split

    def pair(self, record: Mapping[str, str], *, where: str = "") -> tuple[str, str | None]:
        """The source and the target of `record`; DataError, which names `where` (file:line), if it has none."""
        place = f" ({where})" if where else ""
        try:
            result = self.split(record)
        except KeyError as error:
            field = str(error.args[0]) if error.args else ""
            raise DataError(
                f"a record must have the field `{field}`, but has {', '.join(record) or 'none'}{place}"
                f"{nearest(field, record) or '.'} Set `source_field` and `target_field`, or `task`."
            ) from error
        except Exception as error:  # a user's function may raise anything
            problem = f"raised {type(error).__name__}: {error}"
            raise DataError(f"the task `{self.name}` {problem}{place}. Correct its function.") from error
        if not (isinstance(result, tuple) and [type(part) for part in result] in ([str, str], [str, type(None)])):
            raise DataError(
                f"the task `{self.name}` must return a source and a target (str or None), "
                f"but returned {reprlib.repr(result)}{place}."
            )
        return result


@register("task", "text")
@register("task", "translation")
def source_and_target(record: Mapping[str, str]) -> tuple[str, str | None]:
    """The fields "source" and "target" as they are."""
    return record["source"], record.get("target")


def load_task(name: str, folder: Path | None = None, *, allow_import: bool = True) -> Task:
    """The task called `name`: registered, or `module:Name` looked up in `folder` and the current one.

    `allow_import=False` is for names that stand in a model folder. Raises ConfigError.
    """
    split = lookup("task", name, folder=folder, allow_import=allow_import)
    if not callable(split):
        raise ConfigError(
            f"the task `{name}` must be a function from a record to a pair, but is {reprlib.repr(split)}."
        )
    return Task(name, cast(Split, split))
