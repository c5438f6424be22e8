"""The pretrained model that a run starts from: `model: {base: FOLDER}`, one of ours or a published one.

    initial = find_base(config, run_folder)        # .parts: network, shape, attention, tokenizers
    config = apply_base(config, initial.parts)     # the recipe with the shape and attention of the base filled in

A run saves a copy of its initial model as a model folder, `base/`. So a resumed run does not need the base, and frozen
parts of the network are written only once.
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
from antiphon.models.stack import count_parameters
from antiphon.settings import SettingError, inside, saying
from antiphon.text import load_task
from antiphon.workflows.labels import with_labels
from antiphon.workflows.vocabulary import add_words, fresh_network, trim_vocabulary


@dataclass(frozen=True)
class InitialModel:
    """The initial model of a run, and messages about what it changes in the base: its vocabulary, or a CTC head that
    the base has not. `new_layers`: the names of the layers that are not the base's."""

    parts: Parts
    changes: tuple[str, ...] = ()
    new_layers: tuple[str, ...] = ()


BASE = "base"  # the model folder of the copy, in a run folder
_ORIGIN = "base.json"  # in the copy: the path and hash of the original, and how the copy differs
_HEAD = "ctc.linear"


def find_base(config: TrainConfig, run: Path | None) -> InitialModel:
    """The initial model: the copy in the folder `run` if the run exists, else the base of the recipe.

    SettingError for a setting that does not fit the base.
    """
    asked = config.model
    assert isinstance(asked, BaseConfig)
    if run is not None and (run / BASE / _ORIGIN).is_file():
        origin = read_json(run / BASE / _ORIGIN)
        changes, new = (tuple(map(str, origin.get(name, ()))) for name in ("changes", "new_layers"))
        return InitialModel(_read(run / BASE, config), changes, new)
    with saying("model", "base"):
        try:
            parts = _read(model_folder(asked.base), config)
        except ModelError as error:
            raise ConfigError(str(error)) from error
    headed = parts.network.ctc is not None
    return _with_vocabulary(_changed(parts, asked, seed=config.training.seed), config, headed=headed)


def _with_vocabulary(parts: Parts, config: TrainConfig, *, headed: bool) -> InitialModel:
    """The base with its vocabulary trimmed and extended as `tokenizer` says. `headed`: it had a CTC head before."""
    asked, changes = config.tokenizer, []
    assert isinstance(asked, VocabularyConfig)
    if asked.trim:
        place = Path(config.folder) if config.folder else None
        kind = input_kind(parts.model.family, parts.model.input_settings)
        if not kind.has_tokens:
            problem = "needs a base that reads text, but this one reads images or sound"
            raise SettingError(("tokenizer", "trim"), problem, remedy="Leave it out.")
        if kind.joins_text:
            problem = "needs a base without ids of images, but this one reads images in texts"
            raise SettingError(("tokenizer", "trim"), problem, remedy="Leave it out.")
        with saying("task"):
            task = with_labels(load_task(config.task, folder=place), config)
        with saying("tokenizer", "trim"):
            parts, summary = trim_vocabulary(parts, config, task)
        changes.append(summary)
    if asked.add:
        with saying("tokenizer", "add"):
            parts = add_words(parts, asked.add)
        changes.append(f"vocabulary extended: {len({*asked.add}):,} words are one token each")
    if parts.network.ctc is None or headed:
        return InitialModel(parts, tuple(changes))
    changes.append(f"the base has no CTC head: a new one of {count_parameters(parts.network.ctc):,} parameters")
    return InitialModel(parts, tuple(changes), (_HEAD,))


def apply_base(config: TrainConfig, begin: Parts) -> TrainConfig:
    """The recipe with the shape and attention of the base filled in; SettingError if the two do not match."""
    return replace(config, model=begin.model, attention=begin.attention, tokenizer=TokenizerConfig())


def save_base(run: Path, begin: InitialModel, config: TrainConfig, *, weights: Mapping[str, Tensor] | None) -> None:
    """Write the copy of the initial model and its origin. `weights`: as in `save_model_folder`."""
    assert isinstance(config.model, BaseConfig)
    save_model_folder(run / BASE, begin.parts, weights=weights)
    origin: dict[str, object] = {"base": config.model.base, "sha256": fingerprint(model_folder(config.model.base))}
    origin |= {"changes": begin.changes} if begin.changes else {}
    origin |= {"new_layers": begin.new_layers} if begin.new_layers else {}
    write_json(run / BASE / _ORIGIN, origin)


def check_same_base(run: Path, name: str) -> None:
    """Raise ConfigError if the base in a resumed run's recipe has other files than the one that the run started from.

    A base that no longer exists is not an error: the run has its copy.
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
        warnings.filterwarnings("ignore", message="the attention of")  # the run reports it in its first lines
        return read_model(folder, attention=own, seed=config.training.seed)


def _changed(parts: Parts, asked: BaseConfig, *, seed: int) -> Parts:
    """The same weights in a network with different dropout and `max_length`, and with a CTC head, whose weights are
    those of a new network of this `seed` if the base has none."""
    if not asked.changes:
        return parts
    if parts.model.positions == "learned" and asked.max_length not in (None, parts.model.max_length):
        raise SettingError(
            ("model", "max_length"),
            f"must be that of the base ({parts.model.max_length}), whose positions are a learned table, but is "
            f"{asked.max_length}",
        )
    if asked.ctc and parts.network.ctc is None:
        with saying("model", "ctc"):
            input_kind(parts.model.family, parts.model.input_settings).check_ctc()
    with inside("model"):
        model = replace(parts.model, **asked.changes)
    network = fresh_network(replace(parts, model=model), seed=seed)
    head = {name: weight for name, weight in named_weights(network).items() if name.startswith(f"{_HEAD}.")}
    with torch.no_grad():
        put_weights(network, head | named_weights(parts.network), where=asked.base)
    network.eval()  # as a base that is read
    return replace(parts, network=network, model=model)
