"""`antiphon inspect`: what is wrong with the data of a recipe, and what the run would cost."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

from antiphon.cli.command import Command, columns, import_modules
from antiphon.cli.flags import Flag, Positional


@dataclass(frozen=True, kw_only=True)
class Inspect(Command):
    """Look at the data of a recipe before it is trained, and say what the run would cost.

    Found are overlap of the training data with validation and test, swapped, copied and wrong-language pairs, mixed
    encodings, odd characters, numbers and URLs that differ, duplicates, and texts that are too long, each with rows and
    with the filter that removes it. Time, memory and padding are measured on a few real steps. Nothing is written.
    """

    recipe: Annotated[str, Positional("RECIPE.yaml")]
    """The recipe; files in it are relative to its folder."""
    json: bool = False
    """One JSON object instead of text."""
    html: Annotated[str | None, Flag("FILE", default="none is written")] = None
    """Also write the report as one HTML file, which needs nothing else."""
    world: Annotated[str | None, Flag("NxDEVICE", default="this machine alone")] = None
    """Also plan the run on other devices, computed from their data sheets: what fits, which sharding, how long, what it
    costs. Such as 64xH200, 2x8xH100 (nodes x GPUs) or 16x96GB,400TFLOP/s,200GB/s (memory, matrix rate, link)."""
    price_per_hour: Annotated[float | None, Flag("PRICE", default="GPU hours alone")] = None
    """The price of a GPU for an hour, for `--world`."""
    data_only: bool = False
    """Look at the data alone: no tokens, no time and memory of the run."""
    variant: Annotated[str | None, Flag("NAME", default="the recipe without its variants")] = None
    """One of the recipe's `variants`."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module that registers custom parts."""

    def run(self) -> int:
        import_modules(self.imports)
        from antiphon.inspection.scaling.devices import read_cluster
        from antiphon.recipe import read_recipe

        if self.world is not None:
            read_cluster(self.world)  # a wrong name is an error before anything is read
        short = {"training.seed": self.seed, "training.precision": self.dtype}
        overrides = {name: str(value) for name, value in short.items() if value is not None}
        config = read_recipe(self.recipe, overrides, variant=self.variant)
        device = self.start(dtype=config.training.precision)
        from antiphon.workflows.inspect import inspect

        known = {"world": self.world, "price_per_hour": self.price_per_hour}
        report = inspect(config, **known, device=device, data_only=self.data_only, title=self.recipe)
        if self.html is not None:
            report.to_html(self.html)
            self.say(f"the report is in `{self.html}`")
        sys.stdout.write(f"{report.to_json()}\n" if self.json else report.text(columns() or 80))
        return 0
