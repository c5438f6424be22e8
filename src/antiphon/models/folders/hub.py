"""Reads and writes folders of the Hugging Face hub, without the transformers library.

    parts = load_pretrained(Path("t5-small"))
    save_pretrained(Path("out"), parts)
    folder = fetch("google-t5/t5-small")

A folder has config.json, whose `model_type` is the family (families/), generation_config.json, tensors in safetensors
files and a tokenizer. Only known keys of config.json are read, each with bounds; no file is run as code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors.torch import save as serialize
from torch import Tensor

from antiphon.config import FamilyConfig, ModelConfig
from antiphon.errors import ModelError, one_line
from antiphon.inputs import input_kind
from antiphon.models.build import build_network
from antiphon.models.families import FAMILIES, Family, Inexpressible, TranslatedCheckpoint, WeightName, check_type
from antiphon.models.families.family import their_weights
from antiphon.models.families.own import as_family
from antiphon.models.families.search import FORCED, IDS, search_settings, their_search, warn_ignored, warn_not_exported
from antiphon.models.folders.account import LoadReport
from antiphon.models.folders.checkpoint import Filler, Parts, check_describable, named_weights, put_weights
from antiphon.models.folders.files import read_config, read_json, replace_file, within, write_json
from antiphon.models.folders.lengths import keep_usual_length, usual_length
from antiphon.models.folders.stored import (
    SAFE_FILES,
    WEIGHTS,
    WeightFiles,
    check_shapes,
    check_there,
    fill,
    sketching,
)
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.registry import nearest
from antiphon.settings import SettingError, Settings, build, hints, override, plain
from antiphon.text import Tokenizer, load_pretrained_tokenizers, pretrained_files

CONFIG, SEARCH, PREPROCESSOR = "config.json", "generation_config.json", "preprocessor_config.json"
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")


def is_pretrained(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is that of a published checkpoint, not of a model folder of ours."""
    return "model_type" in config and "format" not in config


def load_pretrained(
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    filler: Filler | None = None,
    replaced: Mapping[str, object] | None = None,
    seed: int = 0,
) -> Parts:
    """Load a checkpoint, with the network in evaluation mode. Raises ModelError, ConfigError.

    `replaced` is another attention for some roles; its weights that are not in the folder are new.
    `filler` (`runtime.int8_loading.fill_int8`) reads the weights in place of `fill`, unless `replaced` names a role.
    """
    family, config, search, stored = _opened(folder)
    check_type(family.name, dtype)
    apart = search is not config
    ours = _translate(family, config, search, stored, folder)
    source, target = load_pretrained_tokenizers(folder, config)
    for tokenizer, size in ((source, ours.source_vocab), (target, ours.target_vocab)):
        check_vocabulary(tokenizer, size, folder)
    check_ids(ours.family, ours.target_vocab, folder)
    rows = family.rows(ours)
    check_there((row.theirs for row in rows), stored, folder)
    with sketching():
        network = _network(ours, seed=seed)
    own = {name: tuple(tensor.shape) for name, tensor in named_weights(network).items()}
    shapes = {row.theirs: row.shape(own[row.ours]) for row in rows}
    unread = {key for key in stored if key.startswith(family.unread)} if family.unread else set()
    check_shapes(shapes, stored, explained=family.tables.all() | family.ignored | unread)
    weights = {row.ours: partial(_read, stored, row) for row in rows}
    account = LoadReport(tuple(own))
    if replaced:
        ours = replace(ours, attention=override(ours.attention, replaced))
        network = _network(ours, seed=seed, allow_import=True)
        there = {name: read(torch.float32) for name, read in weights.items()}
        account = put_weights(network, there, where=str(folder), replaced=list(replaced))
        network.to(device=device, dtype=dtype)
    elif filler is not None:
        filler(network, stored, weights)
    else:
        fill(network, weights, dtype=dtype, device=device)
    where = str(folder / (SEARCH if apart else CONFIG))
    generation = search_settings(search, family=ours.family, most=ours.model.max_length, where=where)
    warn_ignored(search, read=family.searched, where=where)
    if input_kind(ours.family, ours.model.input_settings).has_tokens:
        usual = usual_length(folder, config, source, most=ours.model.max_length)
        generation = replace(generation, max_source_tokens=usual)
    return Parts(network.eval(), ours.model, ours.attention, source, target, "text", generation, account=account)


def pretrained_shape(folder: Path) -> ModelConfig:
    """The shape of a checkpoint, without its weights. Raises ModelError, ConfigError."""
    family, config, search, stored = _opened(folder)
    return _translate(family, config, search, stored, folder).model


def _opened(folder: Path) -> tuple[Family, Mapping[str, Any], Mapping[str, Any], WeightFiles]:
    """The family of a checkpoint, its config.json, the settings of its search, which may be the same mapping, and its
    weight files."""
    config = read_config(folder, CONFIG)
    family = find_family(config, folder)
    config = family.flat(config)
    search = read_config(folder, SEARCH) if (folder / SEARCH).exists() else config
    stored = WeightFiles.in_folder(folder)
    if family.prefix and not any(key.startswith(family.prefix) for key in stored):
        stored.under(family.prefix)
    return family, config, search, stored


def is_foreign(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint has an encoder and a decoder, of a family that is not ours, and no code of its own."""
    name = config.get("model_type")
    known = not isinstance(name, str) or (name in FAMILIES and FAMILIES[name].describes(config))
    return not known and config.get("is_encoder_decoder") is True and "auto_map" not in config


def find_family(config: Mapping[str, Any], folder: Path) -> Family:
    """The family of a config.json; ModelError, with the nearest known names, for one that is not known."""
    name = config.get("model_type")
    if "auto_map" in config:
        raise ModelError(
            f"`{folder / CONFIG}` must describe one of the families {', '.join(FAMILIES)}, but has `auto_map`: code of "
            "its own, which is not run."
        )
    if not isinstance(name, str) or name not in FAMILIES:
        other = " With the extra [hf] (pip install 'antiphon[hf]') transformers computes it."
        seq2seq = other if config.get("is_encoder_decoder") is True else ""
        hint = nearest(str(name), FAMILIES) or "."
        raise ModelError(
            f"`model_type` in `{folder / CONFIG}` must be one of {', '.join(FAMILIES)}, but is "
            f"{name!r:.60}{hint}{seq2seq}"
        )
    if not FAMILIES[name].describes(config):
        known = " and ".join(f"`{part}` ({', '.join(kinds)})" for part, kinds in FAMILIES[name].sections.items())
        raise ModelError(
            f"`{folder / CONFIG}` must be a {name} of {known}, but has other parts. With the extra [hf] (pip install "
            "'antiphon[hf]') transformers computes it."
        )
    return FAMILIES[name]


def check_vocabulary(tokenizer: Tokenizer, size: int, folder: Path) -> None:
    """ModelError if a tokenizer has more ids than the table of `size` vectors."""
    if tokenizer.vocab_size > size:
        raise ModelError(
            f"the tokenizer of `{folder}` must have at most {size} ids, the rows of the model's table, but has "
            f"{tokenizer.vocab_size}. Use the tokenizer that belongs to the model."
        )


def check_ids(family: FamilyConfig, size: int, folder: Path) -> None:
    """ModelError if the id of a start, first, end or padding token is not below `size`, the vocabulary of answers."""
    named = {
        "decoder_start_token_id": family.start_id,
        "forced_bos_token_id": family.first_id,
        "eos_token_id": family.end_id,
        "pad_token_id": family.pad_id,
    }
    for name, id in named.items():
        if id is not None and id >= size:
            raise ModelError(
                f"`{name}` of `{folder}` must be below {size}, the rows of the model's table, but is {id}. Correct it "
                f"in {SEARCH} and {CONFIG}."
            )


def _translate(
    family: Family, config: Mapping[str, Any], search: Mapping[str, Any], stored: WeightFiles, folder: Path
) -> TranslatedCheckpoint:
    """Translate config.json, with the keys that the family reads from other files."""
    # If generation_config.json exists, a search reads only that file: settings that it lacks are off.
    apart = {*family.searched, *family.preprocessed, *(FORCED if search is not config else ())}
    known = {name: value for name, value in _known(family.keys, config).items() if name not in apart}
    files = dict.fromkeys(known, CONFIG)
    searched = {name: search[name] for name in (*IDS, *family.searched) if search.get(name) is not None}
    features, source = _preprocessor(folder) if family.preprocessed else ({}, PREPROCESSOR)
    features = {name: features[name] for name in family.preprocessed if name in features}
    files |= dict.fromkeys(searched, CONFIG if search is config else SEARCH) | dict.fromkeys(features, source)
    known = {name: value for name, value in (known | searched | features).items() if value is not None}
    try:
        keys = build(family.keys, known)
        return family.ours(keys, stored, family.tables.find(stored, one_table=keys.one_table))
    except SettingError as error:
        raise error.at(str(folder / files.get(error.path[0] if error.path else "", CONFIG))) from None


def _preprocessor(folder: Path) -> tuple[Mapping[str, Any], str]:
    """The settings of preprocessing of sound or images and the name of their file; empty if there is none."""
    processor = "processor_config.json"
    for name, section in ((PREPROCESSOR, ""), (processor, "feature_extractor"), (processor, "image_processor")):
        if (folder / name).exists():
            content = read_json(within(folder, name))
            found = content.get(section) if section else content
            if isinstance(found, dict):
                return found, name
    return {}, PREPROCESSOR


def _known(keys: type[Settings], config: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `config` that `keys` read, also within its sections."""
    found = {}
    for name, hint in hints(keys).items():
        kinds = [kind for kind in (get_args(hint) or (hint,)) if isinstance(kind, type) and issubclass(kind, Settings)]
        if name in config:
            value = config[name]
            found[name] = _known(kinds[0], value) if kinds and isinstance(value, Mapping) else value
    return found


def _network(ours: TranslatedCheckpoint, *, seed: int, allow_import: bool = False) -> EncoderDecoder:
    return build_network(
        ours.model,
        ours.attention,
        source_vocab=ours.source_vocab,
        target_vocab=ours.target_vocab,
        shared=ours.tables.shared,
        seed=seed,
        allow_import=allow_import,
    )


def _read(stored: WeightFiles, row: WeightName, dtype: torch.dtype) -> Tensor:
    return row.read(stored.read(row.theirs, dtype=dtype))


def save_pretrained(folder: str | Path, parts: Parts) -> Path:
    """Write `parts` as a folder of their family that transformers reads; Inexpressible where there is none."""
    folder = Path(folder)
    check_describable(parts)
    family, ours, parts = save_pretrained_files(folder, parts)
    weights = named_weights(parts.network)
    made = {name: tensor.contiguous().cpu() for name, tensor in their_weights(family.rows(ours), weights).items()}
    made |= {key: made[other].clone() for key, other in family.tables.copies(ours.tables).items()}
    replace_file(folder / WEIGHTS, serialize(made, metadata={"format": "pt"}))
    return folder


def save_pretrained_files(folder: Path, parts: Parts) -> tuple[Family, TranslatedCheckpoint, Parts]:
    """Write all files of `save_pretrained` but the weights: configs and tokenizers. Returns the family, and the parts
    in its terms."""
    published = parts.model.family is not None
    parts = parts if published else as_family(parts)
    family, ours, keys = express(parts)
    warn_not_exported(parts.generation, published=published, template=parts.template)
    said = {name: _without_empty(value) for name, value in plain(keys).items() if value is not None}
    apart = {*family.searched, *family.preprocessed}
    config = {name: value for name, value in said.items() if name not in apart}
    config |= {"model_type": family.name, "architectures": [family.architecture], "is_encoder_decoder": True}
    if family.tables.output in family.tables.copies(ours.tables):
        config["tie_word_embeddings"] = False
    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizers(folder, parts)
    searched = {name: said[name] for name in family.searched if name in said}
    write_json(folder / SEARCH, their_search(parts.generation, ours.family, most=ours.model.max_length) | searched)
    if family.preprocessed:
        features = {name: said[name] for name in family.preprocessed if name in said}
        write_json(folder / PREPROCESSOR, features | dict(family.preprocessor))
    write_json(folder / CONFIG, config)
    if input_kind(ours.family, ours.model.input_settings).has_tokens:
        most, limit = ours.model.max_length, parts.generation.max_source_tokens
        keep_usual_length(folder, config, parts.source_tokenizer, limit, most=most)
    return family, ours, parts


def _without_empty(value: Any) -> Any:
    """A section of config.json without the empty keys of `rope_parameters`, of which transformers warns."""
    if not isinstance(value, dict):
        return value
    return {
        name: _filled(inner) if name == "rope_parameters" else _without_empty(inner) for name, inner in value.items()
    }


def _filled(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _filled(inner) for name, inner in value.items() if inner is not None}


def express(parts: Parts) -> tuple[Family, TranslatedCheckpoint, Any]:
    """The family that can say what `parts` are, with their words for it; ModelError with what none of them can."""
    record = parts.model.family
    if record is None or record.name not in FAMILIES:
        raise Inexpressible(
            f"a model's family must be one of {', '.join(FAMILIES)}, but is {record and record.name!r:.60}."
        )
    family = FAMILIES[record.name]
    tables = family.tables.place(shared=record.shared_tables, tied=parts.model.tie_embeddings)
    ours = TranslatedCheckpoint(parts.model, parts.attention, tables, *parts.network.table_sizes)
    return family, ours, family.theirs(ours)


def save_tokenizers(folder: Path, parts: Parts) -> None:
    """Save the tokenizers' files for transformers; Inexpressible if it could not read them."""
    try:
        files = pretrained_files(parts.source_tokenizer, parts.target_tokenizer)
    except ModelError as error:
        raise Inexpressible(str(error)) from error
    for name, content in files.items():
        replace_file(folder / name, content)


def fetch(name: str) -> Path:
    """The folder of a model on the hub, from the cache or the network; only files that are not code are fetched."""
    if not _HUB_ID.fullmatch(name):
        raise ModelError(f"`{name:.80}` must be a folder, or the name of a model on the hub (owner/name).")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(SAFE_FILES)))
    except (OSError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        if isinstance(error, OSError) and not isinstance(error, HfHubHTTPError):  # no network, or offline mode
            raise ModelError(
                f"there is no folder `{name}` here, and the hub could not be asked for a model of that name. "
                "Check the path, or the network."
            ) from error
        reason = one_line(error)
        raise ModelError(
            f"there is no folder `{name}`, and the hub's model of that name cannot be fetched ({reason:.200}). "
            "Check the name and the network, or give a folder."
        ) from error
