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
    """Write a model for another program: for transformers, for the engine CTranslate2, or as ONNX files for onnxruntime
    and browsers."""

    model: Annotated[str, Positional("MODEL")]
    """A run folder, a model folder, a folder of the Hugging Face hub, or a name on the hub."""
    to: Literal["huggingface", "ctranslate2", "onnx"]
    """Whose format."""
    output: Annotated[str, Flag("DIR")]
    """The folder to create; it must not exist."""
    quantize: Literal["int8"] | None = None
    """Quantize the weights to eight bits, for ctranslate2 and onnx; default: the type of `--dtype`."""
    decoder: Literal["merged", "separate"] | None = None
    """For onnx: the first and all further steps of the decoder in one file, or in two; default: merged."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module with custom parts that the model needs."""

    def check(self) -> None:
        if self.quantize is not None and self.to == "huggingface":
            raise UsageError(
                f"`--quantize {self.quantize}` goes with `--to ctranslate2` and `--to onnx`, but not with "
                f"`--to {self.to}`."
            )
        if self.quantize is not None and self.dtype is not None:
            raise UsageError("`--quantize` and `--dtype` both say how weights are written. Give one of them.")
        if self.decoder is not None and self.to != "onnx":
            raise UsageError(f"`--decoder {self.decoder}` goes with `--to onnx`, but not with `--to {self.to}`.")
        if self.to == "onnx" and self.dtype not in (None, "float32"):
            raise UsageError(
                f"`--dtype` must be float32 with `--to onnx`, but is {self.dtype}. Give `--quantize int8`."
            )

    def run(self) -> int:
        import_modules(self.imports)
        self.start()
        if Path(self.output).exists():
            raise ModelError(f"`{self.output}` must not be there yet. Choose another --output.")
        {"huggingface": self._huggingface, "ctranslate2": self._ctranslate2, "onnx": self._onnx}[self.to]()
        return 0

    def _huggingface(self) -> None:
        from antiphon.generation.load import load
        from antiphon.models.families import Inexpressible

        try:
            load(self.model, device="cpu", dtype=self.dtype).save(self.output, format="huggingface")
        except Inexpressible as error:
            raise Inexpressible(error.what, "`--to ctranslate2` and `--to onnx` know more shapes.") from error
        self.say(f"antiphon: the model is in {self.output}")

    def _ctranslate2(self) -> None:
        from antiphon.export import export_ctranslate2
        from antiphon.generation.load import load

        kind = self.quantize or self.dtype or "float32"
        report = export_ctranslate2(load(self.model, device="cpu"), self.output, kind=kind)
        self.say(f"antiphon: the model is in {self.output}")
        self.say(
            f"  a token's log-probability differs by {report.difference:.1e} nats from the model's own "
            f"(the mean of the worst of {report.answers} answers, {report.tokens} tokens)"
        )

    def _onnx(self) -> None:
        from antiphon.export.onnx import export_onnx
        from antiphon.export.onnx.real_inputs import run_sources
        from antiphon.generation.load import load

        model = load(self.model, device="cpu")
        sources = run_sources(self.model)
        decoder = self.decoder or "merged"
        report = export_onnx(model, self.output, decoder=decoder, quantize=self.quantize, sources=sources)
        self.say(f"antiphon: the model is in {self.output}")
        for line in report.lines():
            self.say(f"  {line}")
