"""The complete recipe: its sections, and checks between them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from antiphon.config.data import DataConfig, SourceConfig, is_files, source_list
from antiphon.config.generation import TEXT_OF_ROWS, GenerationConfig
from antiphon.config.model import ROLES, AttentionConfig, BaseConfig, ModelConfig, beside_base
from antiphon.config.tokenizer import TOKENIZER_KINDS, TokenizerConfig, VocabularyConfig, changed_vocabulary
from antiphon.config.training import TrainingConfig, ValidationConfig
from antiphon.registry import nearest
from antiphon.settings import SettingError, Settings, inside, require
from antiphon.urls import is_url

_AS_BASE: dict[str, Any] = dict.fromkeys(ROLES)  # attention


@dataclass(frozen=True)
class TrainConfig(Settings):
    data: DataConfig
    """The training and validation data."""
    task: str = "translation"
    """How a record becomes source and target: translation, text, or module:Name."""
    tokenizer: TokenizerConfig | VocabularyConfig = field(default_factory=TokenizerConfig)
    """The tokenizers."""
    model: ModelConfig | BaseConfig = field(default_factory=ModelConfig)
    """The shape of the network, or a pretrained base to start from."""
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    """The kinds of attention."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Optimizer, schedule, batches and limits of training."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """Validation during training."""
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    """The search settings saved with the model."""
    output: str = "runs/model"
    """The run folder, created by training."""
    license: str | None = None
    """The licence of the trained model for its card, by the hub's name, for example apache-2.0."""
    folder: str | None = None
    """The recipe's folder, where module:Name is looked up first."""

    def __post_init__(self) -> None:
        if isinstance(self.model, Mapping) and "base" in self.model:
            with inside("model"):
                object.__setattr__(self, "model", beside_base(self.model))
        if isinstance(self.model, BaseConfig):
            self._keep_of_base()
        elif isinstance(self.tokenizer, Mapping):
            for name in ("trim", "add"):
                problem = "goes with `model.base`, whose tokenizers it changes, but there is no base"
                require(name not in self.tokenizer, f"tokenizer.{name}", problem, "Name one, or leave it out.")
        super().__post_init__()

    def _keep_of_base(self) -> None:
        """With a base, unset attention is None in AttentionConfig: that of the base."""
        tokenizer, attention = self.tokenizer, self.attention
        if isinstance(tokenizer, Mapping):
            with inside("tokenizer"):
                object.__setattr__(self, "tokenizer", changed_vocabulary(tokenizer))
        elif tokenizer == TokenizerConfig():
            object.__setattr__(self, "tokenizer", VocabularyConfig())
        if isinstance(attention, Mapping):
            object.__setattr__(self, "attention", {**_AS_BASE, **attention})
        elif attention == AttentionConfig():
            object.__setattr__(self, "attention", AttentionConfig(**_AS_BASE))

    def check(self) -> None:
        fits = isinstance(self.tokenizer, VocabularyConfig) == isinstance(self.model, BaseConfig)
        require(fits, "tokenizer", "must be `add` and `trim` beside `model.base`, and only there")
        most = self.model.max_length or math.inf
        asked = {
            "data.max_length": self.data.max_length,
            "generation.max_new_tokens": self.generation.max_new_tokens,
            "generation.max_source_tokens": self.generation.max_source_tokens,
        }
        for name, value in asked.items():
            require((value or 0) <= most, name, f"must be at most `model.max_length` ({most}), but is {value}")
        ends = ("max_steps", "max_epochs", "max_minutes", "patience")
        ending = any(getattr(self.training, name) is not None for name in ends)
        require(ending, "training", f"must say when to end: {', '.join(ends)}", "For example max_steps: 8000.")
        wanting = {
            "training.patience": self.training.patience,
            "training.average_best": self.training.average_best > 1,
            "validation.metrics": self.validation.metrics,
        }
        for name, value in wanting.items():
            held = self.data.valid is not None or not value
            require(held, name, "needs validation pairs, but `data.valid` is not given")
        texts = [source.is_text for source in source_list(self.data.valid)]
        judged = not self.validation.metrics or not texts or not all(texts)
        problem = "must be left out, since `data.valid` is plain text, which has no answers"
        require(judged, "validation.metrics", problem, "The loss is measured anyway.")
        for name in (*TEXT_OF_ROWS, "allowed", "required", "forbidden"):
            value = getattr(self.generation, name)
            lists = name not in TEXT_OF_ROWS
            single = not isinstance(value, tuple) or (lists and all(isinstance(item, str) for item in value))
            problem = "must be one for all rows in a recipe, but is one for each row"
            require(single, f"generation.{name}", problem, "Give it to `generate` in Python.")
        rule = self.model.positions if isinstance(self.model, ModelConfig) else None
        for role in ("encoder", "decoder"):
            twice = rule in ("relative", "alibi") and _mentions(getattr(self.attention, role), rule)
            require(not twice, f"attention.{role}", f"names `{rule}`, as does `model.positions`", "Drop one of them.")


def _mentions(spec: object, name: str) -> bool:
    """Whether the spec of an attention contains the rule `name`."""
    if isinstance(spec, Mapping):
        return any(key == name or _mentions(value, name) for key, value in spec.items())
    return spec == name or (isinstance(spec, list | tuple) and any(_mentions(item, name) for item in spec))


def absolute(config: TrainConfig, folder: Path) -> TrainConfig:
    """The same, its paths absolute; SettingError for a tokenizer that is neither known nor a file."""

    def sources(data: object) -> object:
        if isinstance(data, SourceConfig):
            return data.with_files(lambda file: join(folder, file))
        return tuple(sources(item) for item in data) if is_files(data) and isinstance(data, tuple) else data

    sides = {name: sources(getattr(config.data, name)) for name in ("train", "valid", "test")}
    cache = config.data.cache
    cache = None if cache is None else replace(cache, folder=join(folder, cache.folder))
    data = replace(config.data, **sides, cache=cache)
    return replace(
        config,
        data=data,
        tokenizer=_with_tokenizers(config.tokenizer, folder)
        if isinstance(config.tokenizer, TokenizerConfig)
        else config.tokenizer,
        model=replace(config.model, base=_base_folder(config.model.base, folder))
        if isinstance(config.model, BaseConfig)
        else config.model,
        training=_with_teachers(config.training, folder),
        folder=join(folder, config.folder or "."),
    )


def _with_teachers(training: TrainingConfig, folder: Path) -> TrainingConfig:
    """The same with the absolute paths of what it distils from."""
    distillation = training.distillation
    if distillation is None:
        return training
    found = tuple(join(folder, teacher) for teacher in distillation.teachers)
    teacher = found[0] if isinstance(distillation.teacher, str) else found
    return replace(training, distillation=replace(distillation, teacher=teacher))


def _base_folder(name: str, folder: Path) -> str:
    """The base's folder, in the recipe's folder or else in the current one; its name where it is in neither."""
    there = [path for path in (join(folder, name), join(Path.cwd(), name)) if Path(path).is_dir()]
    return there[0] if there else name


def _with_tokenizers(tokenizer: TokenizerConfig, folder: Path) -> TokenizerConfig:
    """The same with absolute paths; SettingError for a kind that is neither known nor a file."""

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
    """`file`, which may be relative to `folder`, as an absolute path; a URL unchanged."""
    if is_url(file):
        return file
    return os.path.normpath(os.path.join(folder, os.path.expanduser(file)))
