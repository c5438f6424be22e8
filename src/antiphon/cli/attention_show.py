"""`antiphon attention show`: the attention weights of one pair, in the terminal or as a picture or page."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from antiphon.cli.command import Command, import_modules
from antiphon.cli.flags import Flag, Positional
from antiphon.cli.media import are_media, inputs_of
from antiphon.errors import UsageError

if TYPE_CHECKING:
    from antiphon.generation.attention.maps import AttentionMaps

MEAN = "mean"


@dataclass(frozen=True, kw_only=True)
class AttentionShow(Command):
    """Show the attention weights of a model in percent: target tokens are rows, source tokens columns.

    A row has the weights with which the token that labels it was predicted.
    """

    model: Annotated[str, Positional("MODEL")]
    """A run folder or a model folder."""
    source: Annotated[str, Positional("SOURCE")]
    """The source text, or the file of an image or of sound."""
    target: Annotated[str | None, Positional("TARGET")] = None
    """Its target; default: the model's answer."""
    which: Literal["cross", "encoder", "decoder"] = "cross"
    """Attention to the source, of the source to itself, or of the target to itself."""
    layer: Annotated[str, Flag("N|mean")] = MEAN
    """The layer, counted from 1, or the mean of all."""
    head: Annotated[str, Flag("N|mean")] = MEAN
    """The head, counted from 1, or the mean of all."""
    output: Annotated[str | None, Flag("FILE", default="the terminal")] = None
    """A .png or .svg picture (needs matplotlib), or an .html page with all layers and heads to choose from."""
    align: bool = False
    """Print the alignment instead: for each target token the source token it attends to most, as `0-0 1-2` (source
    place, target place), special tokens left out."""
    words: bool = False
    """Align words instead of tokens."""
    prompt: Annotated[str | None, Flag("TEXT", default="none")] = None
    """The text before the answer, a question about an image for example."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module with parts of your own that the model needs."""

    def check(self) -> None:
        for name in ("layer", "head"):
            value = getattr(self, name)
            if value != MEAN and not (value.isascii() and value.isdecimal() and int(value) > 0):
                raise UsageError(f"`--{name}` must be a number from 1 on, or {MEAN}, but is `{value}`.")
        if self.words and not self.align:
            raise UsageError("`--words` says how `--align` counts. Give both.")
        if self.align and self.which != "cross":
            raise UsageError(f"`--align` is of the cross attention, but `--which` is {self.which}.")

    def run(self) -> int:
        from antiphon.evaluation.maps.drawing import check_ending, draw

        if self.output is not None:
            check_ending(self.output)
        import_modules(self.imports)
        device = self.start()
        from antiphon.generation.load import load

        model = load(self.model, device=device, dtype=self.dtype)
        source = inputs_of(model, [self.source])[0] if are_media([self.source]) else self.source
        maps = model.attention(source, self.target, prompt=self.prompt)
        layer, head = self._place(maps, "layer"), self._place(maps, "head")
        if self.output is not None:
            draw(maps, self.output, role=self.which, layer=layer, head=head)
            self.say(f"drawn in `{self.output}`")
        if self.align:
            sys.stdout.write(maps.pharaoh(layer=layer, head=head, words=self.words) + "\n")
        elif self.output is None:
            self._print(maps, layer, head)
        return 0

    def _place(self, maps: AttentionMaps, name: Literal["layer", "head"]) -> int | None:
        """The number of a flag, from 0; UsageError if the model has fewer."""
        value = getattr(self, name)
        if value == MEAN:
            return None
        count = maps.weights(self.which).shape[0 if name == "layer" else 1]
        if int(value) > count:
            raise UsageError(
                f"`--{name}` must be at most {count}, the {name}s of the {self.which} attention, or {MEAN}, "
                f"but is {value}."
            )
        return int(value) - 1

    def _print(self, maps: AttentionMaps, layer: int | None, head: int | None) -> None:
        from rich.console import Console

        from antiphon.evaluation.maps import grid_of, lines

        console = Console(file=sys.stdout, highlight=False)
        for line in lines(grid_of(maps, self.which, layer=layer, head=head), width=max(console.width, 60)):
            console.print(line, soft_wrap=True)
