"""What is learned from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from antiphon.settings import Count, CountOrZero, FlagText, SettingError, Settings, build, inside, require, show


@dataclass(frozen=True)
class SourceConfig(Settings):
    path: str | None = None
    """A table of pairs: .tsv, .csv or .jsonl, each also .gz."""
    source: str | None = None
    """A text file with one source a line, also .gz; `target` is the other side."""
    target: str | None = None
    """A text file with one target a line, also .gz."""
    source_field: CountOrZero | str | None = None
    """The column or key with the source: a name, or a number from 0 in a table without a header."""
    target_field: CountOrZero | str | None = None
    """The column or key with the target, likewise."""

    def check(self) -> None:
        sides = (self.source is not None) + (self.target is not None)
        names = self.source_field is not None or self.target_field is not None
        example = "For example {source: train.en, target: train.de}, or {path: train.tsv}."
        require(self.path is None or not sides, "", "must have `path` or `source` and `target`, but has both", example)
        require(self.path is not None or sides == 2, "", "must have `path`, or both `source` and `target`", example)
        require(not names or self.path is not None, "", "must have `source_field` and `target_field` only with `path`")

    @property
    def files(self) -> list[str]:
        """The files of this source: one, or the two sides."""
        return [file for file in (self.path, self.source, self.target) if file is not None]


@dataclass(frozen=True)
class DataConfig(Settings):
    train: object
    """{source: FILE, target: FILE} or {path: FILE}, or a list of these; in Python also (source, target) pairs."""
    valid: object = None
    """The validation pairs, written alike; without them there is no validation."""
    max_length: Count | None = None
    """Longest side of a training pair in tokens, end included; none: the model's `max_length`."""
    overflow: Literal["error", "truncate", "skip"] = "error"
    """What happens to a longer one."""
    streaming: Literal["auto", "always", "never"] = "auto"
    """Read the training files piece by piece; auto: where they are larger than 256 MiB of text."""

    def __post_init__(self) -> None:
        for name in ("train", "valid"):
            with inside(name):
                object.__setattr__(self, name, _sources(getattr(self, name)))
        super().__post_init__()

    def check(self) -> None:
        require(self.train is not None, "train", "must be given, but is empty")
        readable = self.streaming != "always" or is_files(self.train)
        require(readable, "streaming", "must be auto or never for pairs from Python, but is always")


def is_files(data: object) -> bool:
    """Whether `data` (DataConfig.train or .valid) names files rather than holding pairs."""
    items = data if isinstance(data, tuple) and data else (data,)
    return all(isinstance(item, SourceConfig) for item in items)


def _sources(value: Any) -> object:
    """A file source, a tuple of them, or pairs; an iterator becomes a tuple, since data is read more than once."""
    value = value.meaning if isinstance(value, FlagText) else value
    if value is None or isinstance(value, SourceConfig | Mapping):
        return build(SourceConfig, value) if isinstance(value, Mapping) else value
    if isinstance(value, str) or not isinstance(value, Iterable):
        remedy = "For example {source: train.en, target: train.de}, or {path: train.tsv}."
        raise SettingError((), f"must be files or pairs, but is {show(value)}", remedy=remedy)
    if isinstance(value, list | tuple) and value and all(isinstance(item, Mapping | SourceConfig) for item in value):
        made: list[SourceConfig] = []
        for number, item in enumerate(value):
            with inside(str(number)):
                made.append(item if isinstance(item, SourceConfig) else build(SourceConfig, item))
        return tuple(made)
    return tuple(value) if isinstance(value, Iterator) else value
