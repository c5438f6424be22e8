"""`antiphon find-lr`: a range test of the learning rate."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Annotated

from antiphon.cli.command import Command, columns, import_modules
from antiphon.cli.flags import Flag, Positional
from antiphon.errors import UsageError
from antiphon.settings import Count, Positive

ENDINGS = (".svg", ".html", ".json")


def overrides_of(texts: tuple[str, ...]) -> dict[str, str]:
    """The settings of --set flags, each KEY=VALUE."""
    made = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"`--set` must be KEY=VALUE, such as training.optimizer=muon, but is `{text}`.")
        made[key.strip()] = value.strip()
    return made


@dataclass(frozen=True, kw_only=True)
class FindLr(Command):
    """Raise the learning rate step by step until training diverges, and suggest one (a range test, Smith 2017).

    The curve goes to the terminal, and to a picture with --output. Nothing else is written.
    """

    recipe: Annotated[str, Positional("RECIPE.yaml")]
    """The recipe."""
    low: Positive = 1e-6
    """The first rate."""
    high: Positive = 1.0
    """The last rate, if training does not diverge before."""
    steps: Count = 100
    """Steps from the first rate to the last."""
    variant: Annotated[str | None, Flag("NAME")] = None
    """One of the recipe's `variants`."""
    set: Annotated[tuple[str, ...], Flag("KEY=VALUE", default="repeatable")] = ()
    """A setting laid over the recipe, such as training.optimizer=muon."""
    output: Annotated[str | None, Flag("FILE", default="the terminal")] = None
    """A file for the curve: .svg, .html or .json."""
    json: bool = False
    """One JSON object instead of text."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module that registers custom parts."""

    def check(self) -> None:
        if self.output is not None and not self.output.lower().endswith(ENDINGS):
            raise UsageError(f"`--output` must end in {', '.join(ENDINGS)}, but is `{self.output}`.")

    def run(self) -> int:
        import_modules(self.imports)
        from antiphon.recipe import read_recipe

        overrides = overrides_of(self.set)
        if self.seed is not None:
            overrides["training.seed"] = str(self.seed)
        if self.dtype is not None:
            overrides["training.precision"] = self.dtype
        config = read_recipe(self.recipe, overrides, variant=self.variant)
        device = self.start(dtype=config.training.precision)
        from antiphon.workflows.finding.find_lr import find_lr, rate_lines

        result = find_lr(config, low=self.low, high=self.high, steps=self.steps, device=device, report=self._report)
        if self.output is not None:
            self._write(result)
        if self.json:
            sys.stdout.write(json.dumps(result.as_json()) + "\n")
            return 0
        lines = rate_lines(result, width=columns() or 80)
        sys.stdout.write("".join(f"{line}\n" for line in [*lines, "", result.verdict]))
        return 0

    def _report(self, step: int, rate: float, loss: float) -> None:
        if step % 10 == 0:
            self.say(f"step {step}/{self.steps}  lr {rate:.2e}  loss {loss:.3f}")

    def _write(self, result: object) -> None:
        from antiphon.workflows.finding.find_lr import RateTest

        assert isinstance(result, RateTest) and self.output is not None
        ending = self.output.lower().rpartition(".")[2]
        texts = {"svg": result.picture, "html": result._repr_html_, "json": lambda: json.dumps(result.as_json())}
        with open(self.output, "w", encoding="utf-8") as file:
            file.write(texts[ending]() + "\n")
        self.say(f"the curve is in `{self.output}`")
