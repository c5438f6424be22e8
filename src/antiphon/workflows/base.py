"""The model that a run begins as: `model: {base: FOLDER}`, of ours or as published.

    begin = find_base(config, run_folder)          # .parts: network, shape, attention, tokenizers
    config = settled(config, begin.parts)          # the recipe with what the base says filled in

A run keeps a copy of what it began with as a model folder, `base/`. So a resumed run needs the base no more, and the
part of a network that does not learn is written once.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from antiphon.config import ROLES, BaseConfig, TokenizerConfig, TrainConfig, VocabularyConfig
from antiphon.errors import ConfigError, ModelError, argument
from antiphon.inputs import input_kind
from antiphon.models.attentions import build_rule
from antiphon.models.folders.checkpoint import (
    Parts,
    named_weights,
    put_weights,
    save_model_folder,
    write_json,
)
from antiphon.models.folders.files import read_json
from antiphon.models.folders.reading import model_folder, read_model
from antiphon.settings import SettingError, inside, saying
from antiphon.text import load_task
from antiphon.workflows.labels import with_labels
from antiphon.workflows.vocabulary import like, trimmed, with_words


@dataclass(frozen=True)
class InitialModel:
    """What a run begins with, and what became of the base's vocabulary, in sentences."""

    parts: Parts
    changes: tuple[str, ...] = ()


BASE = "base"  # in a run folder
_ORIGIN = "base.json"  # in it: where it is from


def find_base(config: TrainConfig, run: Path | None) -> InitialModel:
    """What the run begins with: its own copy in the folder `run` where it has begun, else the base of the recipe.

    SettingError for a setting that the base cannot take.
    """
    asked = config.model
    assert isinstance(asked, BaseConfig)
    if run is not None and (run / BASE / _ORIGIN).is_file():
        return InitialModel(
            _read(run / BASE, config), tuple(map(str, read_json(run / BASE / _ORIGIN).get("changes", ())))
        )
    with saying("model", "base"):
        try:
            parts = _read(model_folder(asked.base), config)
        except ModelError as error:
            raise ConfigError(str(error)) from error
        input_kind(parts.model.family).check_trainable()
    return _with_vocabulary(_changed(parts, asked), config)


def _with_vocabulary(parts: Parts, config: TrainConfig) -> InitialModel:
    """The base with the vocabulary that `tokenizer` asks for."""
    asked, changes = config.tokenizer, []
    assert isinstance(asked, VocabularyConfig)
    if asked.trim:
        place = Path(config.folder) if config.folder else None
        with saying("task"):
            task = with_labels(load_task(config.task, folder=place), config)
        with saying("tokenizer", "trim"):
            parts, said = trimmed(parts, config, task)
        changes.append(said)
    if asked.add:
        with saying("tokenizer", "add"):
            parts = with_words(parts, asked.add)
        changes.append(f"vocabulary extended: {len({*asked.add}):,} words are one token each")
    return InitialModel(parts, tuple(changes))


def settled(config: TrainConfig, begin: Parts) -> TrainConfig:
    """The recipe with the base's shape and attention in their places; SettingError where they do not go together."""
    return replace(config, model=begin.model, attention=begin.attention, tokenizer=TokenizerConfig())


def keep_base(run: Path, begin: InitialModel, config: TrainConfig, *, weights: Mapping[str, Tensor] | None) -> None:
    """Write the run's copy of what it begins with, and where it is from. `weights`: as in `save_model_folder`."""
    assert isinstance(config.model, BaseConfig)
    save_model_folder(run / BASE, begin.parts, weights=weights)
    origin: dict[str, object] = {"base": config.model.base, "sha256": fingerprint(model_folder(config.model.base))}
    origin |= {"changes": begin.changes} if begin.changes else {}
    write_json(run / BASE / _ORIGIN, origin)


def check_same_base(run: Path, name: str) -> None:
    """ConfigError where a resumed run's recipe names a base with other files than those that the run began with.

    One that is no longer there, or elsewhere, is not asked for: the run has its copy.
    """
    origin = read_json(run / BASE / _ORIGIN)
    if origin.get("base") == name or not Path(name).is_dir():
        return
    if fingerprint(model_folder(name)) != origin.get("sha256"):
        raise ConfigError(
            f"a resumed run must keep its recipe, but `model.base` was {origin.get('base')!r} and is {name!r}, another "
            f"model (`{run / BASE}`). Put it back, or choose another "
            f"{argument('output', flag='--output')}."
        )


def fingerprint(folder: Path) -> str:
    """SHA-256 over the names and contents of a model folder's files."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        with file.open("rb") as stream:
            digest.update(f"{file.name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _read(folder: Path, config: TrainConfig) -> Parts:
    """The parts of a model folder, with the recipe's attention in the roles that it names."""
    place = Path(config.folder) if config.folder else None
    own: dict[str, object] = {}
    for role in ROLES:
        if (entry := getattr(config.attention, role)) is not None:
            with saying("attention", role):
                built = [build_rule(spec, folder=place) for spec in (entry if isinstance(entry, list) else [entry])]
            own[role] = built if isinstance(entry, list) else built[0]
    backend = config.attention.backend
    if own or backend != "auto":
        own["backend"] = backend
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the attention of")  # the run says it in its first lines
        return read_model(folder, attention=own, seed=config.training.seed)


def _changed(parts: Parts, asked: BaseConfig) -> Parts:
    """The same weights in a network with other dropouts and another `max_length`."""
    if not asked.changes:
        return parts
    if parts.model.positions == "learned" and asked.max_length not in (None, parts.model.max_length):
        raise SettingError(
            ("model", "max_length"),
            f"must be that of the base ({parts.model.max_length}), whose positions are a learned table, but is "
            f"{asked.max_length}",
        )
    with inside("model"):
        model = replace(parts.model, **asked.changes)
    network = like(replace(parts, model=model))
    with torch.no_grad():
        put_weights(network, named_weights(parts.network), where=asked.base)
    return replace(parts, network=network, model=model)
