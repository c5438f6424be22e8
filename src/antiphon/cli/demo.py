"""`antiphon demo`: training, evaluation and generation in two minutes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from antiphon.cli.command import Command
from antiphon.cli.flags import Flag
from antiphon.errors import UsageError
from antiphon.settings import Count, Positive


@dataclass(frozen=True, kw_only=True)
class Demo(Command):
    """Train on the built-in phrases (dates, times, units, money), evaluate on held-out ones, then answer the lines you
    type.

    This is no open-domain translation: the model knows the phrases of Unicode's CLDR and nothing else. The end of input
    (Ctrl-D) exits.
    """

    images: bool = False
    """Recognize handwritten digits (scikit-learn's, 8 x 8 pixels) instead of translating; a minute of training."""
    target: Annotated[str, Flag("LOCALE")] = "de"
    """The language to translate English into: a locale such as de, fr, ja, pt_BR."""
    steps: Annotated[Count | None, Flag(default="about 2 minutes on 2 cores")] = None
    """Optimizer steps."""
    minutes: Annotated[Positive | None, Flag("CAP", default="none")] = None
    """Stop after this many minutes, whatever the steps."""
    optimizer: Annotated[str, Flag("NAME")] = "adamw"
    """The optimizer: adamw, adafactor, muon, lion, schedule_free, sgd, or module:Class."""
    lr: Annotated[Positive | None, Flag("X", default="the one found for the optimizer")] = None
    """Peak learning rate."""
    output: Annotated[str | None, Flag("FOLDER", default="runs/demo, or runs/demo-images")] = None
    """The run folder; an existing demo is continued, or used to answer."""

    def check(self) -> None:
        if self.device not in ("auto", "cpu") or self.dtype is not None or self.seed is not None:
            raise UsageError(
                "the demo is the same everywhere (the processor, float32, one seed), so that figures can be compared. "
                "Leave out --device, --dtype and --seed, or train with a recipe."
            )

        if self.images and (self.target != "de" or self.optimizer != "adamw" or self.lr is not None):
            raise UsageError(
                "the demo of images has no --target, --optimizer and --lr, but one is given. Leave it out, or train "
                "with a recipe."
            )

    def run(self) -> int:
        replace(self, device="cpu").start()
        from antiphon.workflows import demo, demo_images

        if self.images:
            output = self.output or "runs/demo-images"
            return demo_images(steps=self.steps, minutes=self.minutes, output=output, quiet=self.quiet)

        return demo(
            target=self.target,
            steps=self.steps,
            minutes=self.minutes,
            output=self.output or "runs/demo",
            optimizer=self.optimizer,
            lr=self.lr,
            quiet=self.quiet,
        )
