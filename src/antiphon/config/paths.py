"""Resolves the paths in a recipe, which are relative to its folder, to absolute ones."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from antiphon.config.data import SourceConfig, is_files
from antiphon.config.model import BaseConfig
from antiphon.config.tokenizer import TOKENIZER_KINDS, TokenizerConfig
from antiphon.config.training import TrainingConfig
from antiphon.config.whole import TrainConfig
from antiphon.registry import nearest
from antiphon.settings import SettingError


def absolute(config: TrainConfig, folder: Path) -> TrainConfig:
    """`config` with absolute paths; SettingError for a tokenizer that is neither a known kind nor a file."""

    def sources(data: object) -> object:
        if isinstance(data, SourceConfig):
            files = {name: getattr(data, name) for name in ("path", "source", "target", "text") if data.hub is None}
            return replace(data, **{name: join(folder, file) for name, file in files.items() if file is not None})
        return tuple(sources(item) for item in data) if is_files(data) and isinstance(data, tuple) else data

    sides = {name: sources(getattr(config.data, name)) for name in ("train", "valid", "test")}
    data = replace(config.data, **sides)
    return replace(
        config,
        data=data,
        tokenizer=_with_tokenizers(config.tokenizer, folder)
        if isinstance(config.tokenizer, TokenizerConfig)
        else config.tokenizer,
        model=replace(config.model, base=_where(config.model.base, folder))
        if isinstance(config.model, BaseConfig)
        else config.model,
        training=_with_teachers(config.training, folder),
        folder=join(folder, config.folder or "."),
    )


def _with_teachers(training: TrainingConfig, folder: Path) -> TrainingConfig:
    """`training` with absolute paths of the teachers."""
    distillation = training.distillation
    if distillation is None:
        return training
    found = tuple(join(folder, teacher) for teacher in distillation.teachers)
    teacher = found[0] if isinstance(distillation.teacher, str) else found
    return replace(training, distillation=replace(distillation, teacher=teacher))


def _where(name: str, folder: Path) -> str:
    """The base's folder, in the recipe's folder or else in the current one; its name if it is in neither."""
    there = [path for path in (join(folder, name), join(Path.cwd(), name)) if Path(path).is_dir()]
    return there[0] if there else name


def _with_tokenizers(tokenizer: TokenizerConfig, folder: Path) -> TokenizerConfig:
    """`tokenizer` with absolute paths; SettingError for a kind that is neither known nor a file."""

    def kind(name: str, *path: str) -> str:
        if name in TOKENIZER_KINDS:
            return name
        file = join(folder, name)
        if not Path(file).exists():
            problem = f"must be {', '.join(TOKENIZER_KINDS)} or the path of a tokenizer, but there is no `{file}`"
            raise SettingError(("tokenizer", *path, "kind"), problem, hint=nearest(name, TOKENIZER_KINDS))
        return file

    if tokenizer.source is None:
        return replace(tokenizer, kind=kind(tokenizer.kind))
    sides = {side: tokenizer.of(side) for side in ("source", "target")}
    return replace(tokenizer, **{side: replace(own, kind=kind(own.kind, side)) for side, own in sides.items()})


def join(folder: Path, file: str) -> str:
    """`file`, which may be relative to `folder`, as an absolute path."""
    return os.path.normpath(os.path.join(folder, os.path.expanduser(file)))
