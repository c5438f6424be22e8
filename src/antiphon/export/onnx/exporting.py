"""Export to ONNX, checked against the model itself.

    report = export_onnx(load("runs/multi30k"), "out", quantize="int8")
    report.difference        # the largest between the model and the float32 files

The folder has the encoder and the decoder with its cache (files.py), the tokenizers, `generation.json`, `onnx.json`
(metadata.py), a README with the loop in Python and in JavaScript, and where a family of the hub can express the model
its `config.json` and tokenizer files, which transformers.js and optimum read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from antiphon.errors import ConfigError, ModelError, WorkError, argument
from antiphon.export.onnx.folder import metadata_of, save_beside, save_models
from antiphon.export.onnx.report import OnnxReport
from antiphon.export.onnx.support import check_supported, refuse_part
from antiphon.generation.translator import Translator

MAX_DIFFERENCE = 1e-4  # of float32 files from the model, relative to the largest value where that is above 1
DECODERS = ("merged", "separate")


def export_onnx(
    model: Translator,
    folder: str | Path,
    *,
    decoder: str = "merged",
    quantize: str | None = None,
    sources: Sequence[str] | None = None,
) -> OnnxReport:
    """Write `model` to `folder`, which must not exist.

    `decoder`: `merged`, one file for the first and all further steps, or `separate`. `quantize`: `int8`. `sources` are
    texts to check with; None: random ids of the vocabulary.

    ConfigError for another setting, ModelError for what cannot be expressed, or if a library is missing. WorkError if
    the files do not compute the same as the model. In each case nothing is left behind.
    """
    folder = Path(folder)
    _check_settings(folder, decoder, quantize)
    model = check_supported(model)
    _import_libraries()
    # Heavy libraries are imported from here on.
    from antiphon.export.onnx.checking import OnnxTrial, compare
    from antiphon.export.onnx.files import ModelWriter, with_decoder
    from antiphon.export.onnx.lowering import UnknownOperator
    from antiphon.export.onnx.quantizing import quantized
    from antiphon.export.onnx.tracing import exportable, trace

    trial = OnnxTrial.of(model, sources)
    metadata = metadata_of(model)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as made, exportable(model.network):
        try:
            traced = trace(model.network)
            models = ModelWriter(model.network, traced).models()
        except (UnknownOperator, ValueError, RuntimeError, NotImplementedError) as error:
            raise refuse_part(model, error) from error
        place = Path(made) / "float32"
        metadata = save_models(place, with_decoder(models, decoder), metadata, suffix="")
        report = compare(place, metadata, trial)
        limit = MAX_DIFFERENCE * max(1.0, report.largest)
        if not report.difference <= limit:
            raise WorkError(
                f"the ONNX files must give the model's numbers to {limit:.1e}, but one differs by "
                f"{report.difference:.3g}. Nothing was written: please report it with the model's config.json."
            )
        if quantize is not None:
            models = ModelWriter(model.network, traced, int8=True).models()
            models = {name: quantized(each) for name, each in models.items()}
            place = Path(made) / quantize
            metadata = save_models(place, with_decoder(models, decoder), metadata, suffix="_quantized")
            found = compare(place, metadata, trial)
            report = replace(report, equal=found.equal, quantized_difference=found.difference)
        save_beside(model, place, replace(metadata, difference=report.difference), name=folder.name)
        place.rename(folder)
    return report


def _check_settings(folder: Path, decoder: str, quantize: str | None) -> None:
    if decoder not in DECODERS:
        raise ConfigError(f"`decoder` must be one of {', '.join(DECODERS)}, but is {decoder!r}.")
    if quantize not in (None, "int8"):
        raise ConfigError(f"`quantize` must be int8, or left out, but is {quantize!r}.")
    if folder.exists():
        raise ModelError(f"`{folder}` must not be there yet. Choose another {argument('folder', flag='--output')}.")


def _import_libraries() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        what = argument("export_onnx", flag="`--to onnx`")
        raise ModelError(
            f"{what} needs the libraries onnx and onnxruntime, but {error.name} is not installed. "
            "Install them: pip install 'antiphon[onnx]'."
        ) from error
