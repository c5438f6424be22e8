"""`antiphon export`: writes a model for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from antiphon.cli.command import Command, import_modules
from antiphon.cli.flags import Flag, Positional
from antiphon.errors import ModelError, UsageError


@dataclass(frozen=True, kw_only=True)
class Export(Command):
    """Write a model for another program: for transformers, or for the engine CTranslate2."""

    model: Annotated[str, Positional("MODEL")]
    """A run folder, a model folder, a folder of the Hugging Face hub, or a name on the hub."""
    to: Literal["huggingface", "ctranslate2"]
    """Whose format."""
    output: Annotated[str, Flag("DIR")]
    """The folder to create; it must not exist."""
    quantize: Literal["int8"] | None = None
    """Quantize the weights to eight bits, for ctranslate2; default: the type of `--dtype`."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module with custom parts that the model needs."""

    def check(self) -> None:
        if self.quantize is not None and self.to != "ctranslate2":
            raise UsageError(
                f"`--quantize {self.quantize}` goes with `--to ctranslate2`, but not with `--to {self.to}`."
            )
        if self.quantize is not None and self.dtype is not None:
            raise UsageError("`--quantize` and `--dtype` both say how weights are written. Give one of them.")

    def run(self) -> int:
        import_modules(self.imports)
        self.start()
        from antiphon.generation.load import load
        from antiphon.models.families import Inexpressible

        if Path(self.output).exists():
            raise ModelError(f"`{self.output}` must not be there yet. Choose another --output.")
        if self.to == "huggingface":
            try:
                load(self.model, device="cpu", dtype=self.dtype).save(self.output, format="huggingface")
            except Inexpressible as error:
                raise Inexpressible(error.what, "`--to ctranslate2` knows more shapes.") from error
            self.say(f"antiphon: the model is in {self.output}")
            return 0
        from antiphon.export import export_ctranslate2

        kind = self.quantize or self.dtype or "float32"
        report = export_ctranslate2(load(self.model, device="cpu"), self.output, kind=kind)
        self.say(f"antiphon: the model is in {self.output}")
        self.say(
            f"  a token's log-probability differs by {report.difference:.1e} nats from the model's own "
            f"(the mean of the worst of {report.answers} answers, {report.tokens} tokens)"
        )
        return 0
