"""`antiphon find-batch`: the largest `batch_tokens` that fits, and the fastest."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from antiphon.cli.command import Command, columns, import_modules
from antiphon.cli.find_lr import overrides_of
from antiphon.cli.flags import Flag, Positional
from antiphon.errors import UsageError
from antiphon.settings import Positive

_UNITS = {"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "k": 2**10, "m": 2**20, "g": 2**30}
_UNITS |= {"kb": 10**3, "mb": 10**6, "gb": 10**9}


def memory_bytes(text: str) -> int:
    """The bytes of a text such as 4GiB or 800MB."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    if found is None or found[2].lower() not in _UNITS or float(found[1]) <= 0:
        raise UsageError(f"`--memory` must be a number of bytes such as 4GiB or 800MB, but is `{text}`.")
    return int(float(found[1]) * _UNITS[found[2].lower()])


@dataclass(frozen=True, kw_only=True)
class FindBatch(Command):
    """Find the largest `training.batch_tokens` that fits into memory, and the fastest, by training some steps of each.

    The steps run in a process of their own: memory that runs out ends only that. Nothing is written.
    """

    recipe: Annotated[str, Positional("RECIPE.yaml")]
    """The recipe."""
    memory: Annotated[str | None, Flag("SIZE", default="90 % of what is free")] = None
    """The memory that training may use, such as 4GiB; on a GPU: all of it."""
    step_seconds: Positive = 30.0
    """No larger size is tried once a step takes this long."""
    variant: Annotated[str | None, Flag("NAME")] = None
    """One of the recipe's `variants`."""
    set: Annotated[tuple[str, ...], Flag("KEY=VALUE", default="repeatable")] = ()
    """A setting laid over the recipe, such as model.d_model=512."""
    json: bool = False
    """One JSON object instead of a table."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module that registers custom parts."""

    def run(self) -> int:
        import_modules(self.imports)
        limit = None if self.memory is None else memory_bytes(self.memory)
        overrides = overrides_of(self.set)
        if self.seed is not None:
            overrides["training.seed"] = str(self.seed)
        if self.dtype is not None:
            overrides["training.precision"] = self.dtype
        from antiphon.recipe import read_recipe

        config = read_recipe(self.recipe, overrides, variant=self.variant)
        self.start(dtype=config.training.precision)
        from antiphon.sweeps.table import as_table
        from antiphon.workflows.finding.find_batch import find_batch, text_row

        result = find_batch(
            self.recipe,
            overrides=overrides,
            variant=self.variant,
            device=self.device,
            threads=self.threads,
            memory_bytes=limit,
            step_seconds=self.step_seconds,
            report=self._report,
        )
        if self.json:
            sys.stdout.write(json.dumps(result.as_json()) + "\n")
            return 0
        sys.stdout.write(as_table([text_row(row) for row in result.rows], width=columns()))
        sys.stdout.write(f"\n{result.verdict}\n")
        return 0

    def _report(self, row: Mapping[str, Any]) -> None:
        speed = f"{row['tokens_per_second']:,.0f} tokens/s" if row["fits"] else "does not fit"
        self.say(f"batch_tokens {row['batch_tokens']:,}: {speed}")
