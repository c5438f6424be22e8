"""`antiphon train`: trains a model by a recipe."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from antiphon.cli.command import Command, columns, import_modules, over
from antiphon.cli.flags import Flag, Group, Positional
from antiphon.config import (
    AttentionConfig,
    DataConfig,
    GenerationConfig,
    ModelConfig,
    TokenizerConfig,
    TrainConfig,
    TrainingConfig,
    ValidationConfig,
)
from antiphon.distributed.failure import is_main, is_rank
from antiphon.errors import UsageError
from antiphon.settings import Count, CountOrZero

Overrides = dict[str, Any]


@dataclass(frozen=True)
class ModelFlags(ModelConfig):
    """The flags of `model`."""

    base: str | None = None
    """The run, model or Hugging Face folder, or hub model, to start from; with it, only dropouts and max_length may be
    set."""


@dataclass(frozen=True)
class TokenizerFlags(TokenizerConfig):
    """The flags of `tokenizer`."""

    trim: bool = False
    """With model.base: keep only the tokens that occur in the data."""
    add: tuple[str, ...] = ()
    """With model.base: words that become one token each."""


@dataclass(frozen=True, kw_only=True)
class Train(Command):
    """Train a model by a recipe.

    Every setting of the recipe has a flag that overrides it, such as --training.lr 3e-4. The run folder gets the
    resolved recipe (config.yaml), the log (metrics.jsonl), snapshots, and model/, ready for `antiphon generate`.
    """

    recipe: Annotated[str, Positional("RECIPE.yaml")]
    """The recipe; files in it are relative to its folder."""
    output: Annotated[str | None, Flag("FOLDER", default="the recipe's")] = None
    """The run folder; it must not exist, unless --resume or --overwrite is given."""
    resume: bool = False
    """Continue from the newest valid snapshot in the run folder, or start if there is none."""
    overwrite: bool = False
    """Replace the run in the folder by a new one, after its data, tokenizers and network have been built."""
    variant: Annotated[str | None, Flag("NAME", default="all, one after the other")] = None
    """One of the recipe's `variants`."""
    task: Annotated[str | None, Flag("NAME", default="the recipe's")] = None
    """How a record becomes source and target: translation, text, or module:Name."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module that registers custom parts."""
    processes: Annotated[Count | None, Flag(default="1, or those of torchrun")] = None
    """Train with so many processes on this machine, each with a GPU or with its share of the cores."""
    max_restarts: CountOrZero = 3
    """With --processes: how often all processes start again, from the newest snapshot, after one of them was lost."""
    watch: bool = False
    """Show the run on a local page while it trains, as `antiphon watch` does; the page ends with the training."""
    data: Annotated[
        Overrides,
        Group(DataConfig, "data", "Laid over `data`; a mapping is written as in the recipe.", "data", raw=True),
    ] = field(default_factory=dict)
    tokenizer: Annotated[Overrides, over(TokenizerFlags, "tokenizer")] = field(default_factory=dict)
    model: Annotated[Overrides, over(ModelFlags, "model", without=("family",))] = field(default_factory=dict)
    attention: Annotated[Overrides, over(AttentionConfig, "attention")] = field(default_factory=dict)
    training: Annotated[Overrides, over(TrainingConfig, "training")] = field(default_factory=dict)
    validation: Annotated[Overrides, over(ValidationConfig, "validation")] = field(default_factory=dict)
    generation: Annotated[Overrides, over(GenerationConfig, "generation")] = field(default_factory=dict)

    @property
    def overrides(self) -> dict[str, str]:
        """The overrides by dotted setting. A flag of a section takes precedence over --seed and --dtype."""
        short = {"training.seed": self.seed, "training.precision": self.dtype, "task": self.task, "output": self.output}
        made = {name: str(value) for name, value in short.items() if value is not None}
        for section in (
            self.data,
            self.tokenizer,
            self.model,
            self.attention,
            self.training,
            self.validation,
            self.generation,
        ):
            made |= section
        return made

    def run(self) -> int:
        from antiphon.recipe import variant_names

        if is_rank():
            return self.run_rank()
        import_modules(self.imports)
        if self.variant is None and variant_names(self.recipe):
            return self.sweep()
        config = self.config()
        if self.processes is not None and self.processes > 1:
            return self.launch(self.processes, config.output)
        return self.train(config)

    def run_rank(self) -> int:
        """Train as one of the ranks of a launcher. An error in the recipe is reported once."""
        from antiphon.devices import choose_device
        from antiphon.distributed.agreement import together
        from antiphon.distributed.world import process_group, rank_device
        from antiphon.recipe import variant_names

        with process_group(rank_device(choose_device(self.device))) as world:
            with together(world):
                import_modules(self.imports)
                if self.variant is None and (names := variant_names(self.recipe)):
                    raise UsageError(
                        f"`{self.recipe}` must have no variants where a launcher starts several ranks, but has "
                        f"{', '.join(names)}. Choose one by --variant, or start them all with --processes."
                    )
                config = self.config()
            return self.train(config)

    def config(self) -> TrainConfig:
        """The recipe with the overrides of the command line."""
        from antiphon.recipe import read_recipe

        return read_recipe(self.recipe, self.overrides, variant=self.variant)

    def train(self, config: TrainConfig) -> int:
        """Train in this process."""
        with self.page([config.output]) as shown:
            device = self.start(dtype=config.training.precision)
            shown()
            from antiphon.workflows import train

            train(config, resume=self.resume, device=device, overwrite=self.overwrite, quiet=self.quiet)
        return 0

    def launch(self, processes: int, output: str) -> int:
        """Train with several processes."""
        from antiphon.distributed.launch import launch

        words = ["train", self.recipe, *self.flags(), *([] if self.variant is None else ["--variant", self.variant])]
        with self.page([output]) as shown:
            shown()
            return launch(processes, words, max_restarts=self.max_restarts, threads=self.threads, say=self.say)

    def flags(self) -> list[str]:
        """The flags that another process of this training needs."""
        flags = [part for name, value in self.overrides.items() for part in (f"--{name.replace('_', '-')}", value)]
        flags += [part for name in self.imports for part in ("--import", name)]
        flags += ["--device", self.device, *([] if self.threads is None else ["--threads", str(self.threads)])]
        return flags + [f"--{name}" for name in ("resume", "overwrite", "quiet", "debug") if getattr(self, name)]

    @contextmanager
    def page(self, outputs: Sequence[str]) -> Iterator[Callable[[], None]]:
        """The page of `--watch` for these run folders. It yields a function that prints the address: the page starts
        while PyTorch is imported."""
        if not self.watch or not is_main():
            yield lambda: None
            return
        from antiphon.watching.beside import WatchProcess

        names = " ".join(map(shlex.quote, outputs))
        with WatchProcess([Path(each) for each in outputs]) as page:
            try:
                yield lambda: self.say(f"antiphon: {page.state}")
            finally:
                self.say(f"antiphon: the page ends with the training; `antiphon watch {names}` shows it again")

    def sweep(self) -> int:
        """Train all variants, each in a separate process, and print their results."""
        from antiphon.recipe import read_recipe, variant_names
        from antiphon.sweeps.table import as_table
        from antiphon.sweeps.variants import train_variants

        flags = self.flags()
        if self.processes is not None:
            flags += ["--processes", str(self.processes), "--max-restarts", str(self.max_restarts)]
        variants = [read_recipe(self.recipe, self.overrides, variant=name) for name in variant_names(self.recipe)]
        with self.page([variant.output for variant in variants]) as shown:
            shown()
            rows = train_variants(self.recipe, flags, overrides=self.overrides, say=self.say)
        sys.stdout.write(as_table(rows, width=columns()))
        return 0
