"""What stands in an exported folder: the models, and beside them metadata, tokenizers, settings and a README."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.export.onnx.metadata import FILE, OnnxMetadata, TokenIds
from antiphon.export.onnx.page import SCRIPT, page
from antiphon.generation.languages import answer_ids
from antiphon.generation.model import Model
from antiphon.inputs.limits import source_limit
from antiphon.models.families import Inexpressible
from antiphon.models.folders.checkpoint import Parts, save_tokenizers
from antiphon.models.folders.files import write_json
from antiphon.models.folders.hub import save_pretrained_files
from antiphon.settings import plain

if TYPE_CHECKING:
    import onnx


def metadata_of(model: Model) -> OnnxMetadata:
    """What the folder's files cannot say themselves; the names of the files are still missing."""
    ids, config, network = model.special_tokens, model.generation, model.network
    labels = answer_ids(model.labels, model.target_tokenizer, ids)
    first = len(ids.first)
    return OnnxMetadata(
        weights="float32",
        files={},
        ids=TokenIds(
            start=ids.start,
            end=ids.end,
            pad=ids.pad,
            first=list(ids.first),
            suppressed=ids.suppressed,
            suppressed_first=sorted(ids.suppress_first),
            force_end=ids.force_end,
        ),
        max_source_tokens=source_limit(network, config),
        max_target_tokens=network.max_length,
        source_frame=[list(part) for part in model.source_tokenizer.frame],
        template=model.parts.template if config.template else "",
        tokenizers="antiphon",
        labels={label: ids[first:] for label, ids in zip(model.labels, labels, strict=True)},
        source_language=config.source_language,
        target_language=config.target_language,
    )


def save_models(
    place: Path, models: dict[str, onnx.ModelProto], metadata: OnnxMetadata, *, suffix: str
) -> OnnxMetadata:
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


def save_beside(model: Model, place: Path, metadata: OnnxMetadata, *, name: str) -> None:
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
