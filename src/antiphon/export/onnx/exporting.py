"""Export to ONNX, checked against the model itself.

    report = export_onnx(load("runs/multi30k"), "out", quantize="int8")
    report.difference        # the largest between the model and the float32 files

The folder has the encoder and the decoder with its cache (files.py), the tokenizers, `generation.json`, `onnx.json`
(metadata.py), a README with the loop in Python and in JavaScript, and where a family of the hub can express the model
its `config.json` and tokenizer files, which transformers.js and optimum read.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.errors import ConfigError, ModelError, WorkError, argument
from antiphon.export.onnx.metadata import FILE, OnnxMetadata
from antiphon.export.onnx.page import SCRIPT, page
from antiphon.export.onnx.report import OnnxReport
from antiphon.export.onnx.support import check_supported, refuse_part
from antiphon.generation.languages import answer_ids
from antiphon.generation.model import Model
from antiphon.generation.translator import Translator
from antiphon.inputs.limits import source_limit
from antiphon.models.families import Inexpressible
from antiphon.models.folders.checkpoint import Parts, save_tokenizers
from antiphon.models.folders.files import write_json
from antiphon.models.folders.hub import save_pretrained_files
from antiphon.settings import plain

if TYPE_CHECKING:
    import onnx

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
    metadata = _metadata(model, decoder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as made, exportable(model.network):
        try:
            traced = trace(model.network)
            models = ModelWriter(model.network, traced).models()
        except (UnknownOperator, ValueError, RuntimeError, NotImplementedError) as error:
            raise refuse_part(model, error) from error
        place = Path(made) / "float32"
        metadata = _save(place, with_decoder(models, decoder), metadata, suffix="")
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
            metadata = _save(place, with_decoder(models, decoder), metadata, suffix="_quantized")
            found = compare(place, metadata, trial)
            report = replace(report, equal=found.equal, quantized_difference=found.difference)
        _accompany(model, place, replace(metadata, difference=report.difference), name=folder.name)
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


def _metadata(model: Model, decoder: str) -> OnnxMetadata:
    """What the folder's files cannot say themselves; the names of the files are still missing."""
    ids, config, network = model.special_tokens, model.generation, model.network
    labels = answer_ids(model.labels, model.target_tokenizer, ids)
    first = len(ids.first)
    return OnnxMetadata(
        weights="float32",
        files={},
        start_id=ids.start,
        end_id=ids.end,
        pad_id=ids.pad,
        first_ids=list(ids.first),
        suppressed_ids=ids.suppressed,
        suppressed_first_ids=sorted(ids.suppress_first),
        force_end=ids.force_end,
        max_source_tokens=source_limit(network, config),
        max_target_tokens=network.max_length,
        source_frame=[list(part) for part in model.source_tokenizer.frame],
        template=model.parts.template if config.template else "",
        tokenizers="antiphon",
        labels={label: ids[first:] for label, ids in zip(model.labels, labels, strict=True)},
        source_language=config.source_language,
        target_language=config.target_language,
    )


def _save(place: Path, models: dict[str, onnx.ModelProto], metadata: OnnxMetadata, *, suffix: str) -> OnnxMetadata:
    """Write the models, and return the metadata with their names."""
    from antiphon.export.onnx.storing import past_shapes, save_model

    place.mkdir()
    roles = {"encoder_model": "encoder", "decoder_model_merged": "decoder", "decoder_model": "first_step",
             "decoder_with_past_model": "next_step"}  # fmt: skip
    files = {roles[name]: f"{name}{suffix}.onnx" for name in models}
    for name, model in models.items():
        save_model(model, place / files[roles[name]])
    beside = {role: f"{file}_data" for role, file in files.items() if (place / f"{file}_data").exists()}
    past = next(models[name] for name in ("decoder_model_merged", "decoder_with_past_model") if name in models)
    return replace(
        metadata, files=files, external_data=beside, past_shapes=past_shapes(past),
        weights="int8" if suffix else "float32",
    )  # fmt: skip


def _accompany(model: Model, place: Path, metadata: OnnxMetadata, *, name: str) -> None:
    """Write what stands beside the models."""
    if _save_for_hub(place, model.parts):
        metadata = replace(metadata, tokenizers="huggingface")
    else:
        save_tokenizers(place, model.parts)
    write_json(place / "generation.json", plain(model.generation))
    write_json(place / FILE, metadata.content())
    shutil.copyfile(Path(__file__).with_name(SCRIPT), place / SCRIPT)
    (place / "README.md").write_text(page(metadata, name=name), encoding="utf-8")


def _save_for_hub(place: Path, parts: Parts) -> bool:
    """Write the files of transformers, which transformers.js and optimum read. False where no family can say what the
    model is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # settings that transformers has not are in generation.json
            save_pretrained_files(place, parts)
    except Inexpressible:
        return False
    return True
