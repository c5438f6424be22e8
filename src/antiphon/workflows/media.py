"""What a recipe says of images and sound: the kind of its sources, and their augmentations.

task = with_media(task, config)             # its sources are references to files
media = media_of(config, folder)            # {"train": MediaSources, "valid": MediaSources}; None for text
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from antiphon.config import ImageConfig, ModelConfig, TrainConfig, source_list
from antiphon.data.filters import maker
from antiphon.data.lines import DataPlace
from antiphon.data.media.references import Reference, located
from antiphon.data.media.rows import MediaSources
from antiphon.errors import DataError
from antiphon.inputs import InputKind, input_kind
from antiphon.inputs.augmentation import Augmentation
from antiphon.models.folders.checkpoint import Parts
from antiphon.settings import SettingError, inside, show
from antiphon.text import Task

Pairs = Sequence[tuple[str, Sequence[str]]]


def kind_of(config: TrainConfig) -> InputKind[Any]:
    """The kind of the sources of a recipe whose base, if any, is applied."""
    assert isinstance(config.model, ModelConfig)
    return input_kind(config.model.family, config.model.input_settings)


def check_trainable(parts: Parts) -> None:
    """ConfigError if a base in its languages has sources that cannot be trained on."""
    input_kind(parts.model.family, parts.model.input_settings).check_trainable()


def with_media(task: Task, config: TrainConfig) -> Task:
    """`task` for the sources of the recipe. SettingError for plain text where sources are images or sound.

    A base that is not applied yet is taken as one that reads text.
    """
    if not isinstance(config.model, ModelConfig):
        return task
    kind = kind_of(config)
    if kind.has_tokens:
        return replace(task, images_in_texts=kind.joins_text)
    for name in ("train", "valid"):
        if any(source.is_text for source in source_list(getattr(config.data, name))):
            problem = "must be pairs of an image or sound and a text, but is plain text"
            raise SettingError(("data", name), problem, remedy="Leave `model.input` out, or give pairs.")
    return replace(task, media=True)


def media_of(config: TrainConfig, folder: Path | None) -> dict[str, MediaSources] | None:
    """The sources of training and of validation; None for text. SettingError for an augmentation that does not fit.

    Kinds that join texts need `MediaSources.encoding` before rows are read.
    """
    kind, given = kind_of(config), config.data.augment
    items = given if isinstance(given, tuple) else ()
    if kind.has_tokens and not kind.joins_text:
        if items:
            problem = "changes images and sound, but sources are text"
            raise SettingError(("data", "augment"), problem, remedy="Leave it out, or set `model.input`.")
        return None
    assert isinstance(config.model, ModelConfig)
    ours = "image" if kind.joins_text or isinstance(config.model.input_settings, ImageConfig) else "audio"
    found: list[Augmentation] = []
    for number, item in enumerate(items):
        [(name, values)] = item.items() if isinstance(item, Mapping) else [(str(item), None)]
        with inside("data"), inside("augment"), inside(str(number)):
            made = maker("augmentation", str(name), values, folder, arguments=0)()
            if not isinstance(made, Augmentation):
                problem = f"must be a subclass of Augmentation, but `{name}` is {show(type(made))}"
                raise SettingError((), problem)
            if made.inputs not in ("", ours):
                raise SettingError(
                    (), f"must change sources of `model.input: {ours}`, but `{name}` changes {made.inputs}"
                )
        found.append(made)
    how, most = config.data.bad_rows, config.model.max_length
    changes = {"train": tuple(found), "valid": ()}
    return {name: MediaSources(kind, each, how, max_length=most) for name, each in changes.items()}


def readable_pairs(pairs: Pairs, media: MediaSources) -> list[tuple[str, Sequence[str]]]:
    """`pairs` with their sources where they are read again and again; with `bad_rows: skip` without bad ones."""
    found = []
    for number, (source, targets) in enumerate(pairs):
        if media.kind.joins_text and not isinstance(source, Reference):
            found.append((source, targets))
            continue
        reference = located(source)
        if media.bad_rows == "skip":
            try:
                media.row(reference, DataPlace("", number), number=number)
            except DataError:  # counted and warned of where the loss is prepared
                continue
        found.append((media.spool.keep(reference), targets))
    return found
