"""Settings of the training and validation data."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from antiphon.settings import (
    Count,
    CountOrZero,
    FlagText,
    Positive,
    SettingError,
    Settings,
    build,
    inside,
    require,
    show,
)
from antiphon.urls import RETRIES, FileCache, RemoteName, is_url, known_name

HUB = "hub:"  # the prefix of paths that are loaded by the library `datasets`
FILE_SETTINGS = ("path", "source", "target", "text")  # of a source


@dataclass(frozen=True)
class SourceConfig(Settings):
    path: str | tuple[str, ...] | None = None
    """A table of pairs: .tsv, .csv or .jsonl, each also .gz or .zst; .parquet; hub:NAME, a data set of the hub; of
    images or sound also a folder or .tar of them. As for the three below: a path or a URL such as
    s3://bucket/train-*.jsonl.zst, also with * and ?, or a list of them."""
    source: str | tuple[str, ...] | None = None
    """A text file with one source a line, also .gz or .zst; `target` is the other side."""
    target: str | tuple[str, ...] | None = None
    """A text file with one target a line, also .gz or .zst; of several, the first belongs to the first source."""
    text: str | tuple[str, ...] | None = None
    """A file of plain text, a document or a sentence a line, also .gz or .zst; an `objective` makes pairs of it."""
    source_field: CountOrZero | str | None = None
    """The column or key with the source: a name, or a number from 0 in a table without a header; a.b is b inside a."""
    target_field: CountOrZero | str | None = None
    """The column or key with the target, as for `source_field`."""
    text_field: CountOrZero | str | None = None
    """For a table of plain text: the column or key with the text, as for `source_field`."""
    objective: object = None
    """The denoising objective for plain text: span_corruption, text_infilling, sentence_permutation, prefix_lm or a
    custom one, as a name or {name: {setting: value}}; several in a list are applied one after the other."""
    folder: str | None = None
    """For images or sound: the folder of the files that a table names; none: the table's own."""
    split: str | None = None
    """For a data set of the hub: its split, for example train."""
    name: str | None = None
    """For a data set of the hub: its configuration, for example de-en."""
    tag: str | None = None
    """A language or task tag: with `fre`, each source begins with "<fre> " (Johnson et al. 2017)."""
    prefix: str | None = None
    """A task prefix before each source, after the tag, for example "summarize: "."""
    weight: Positive | None = None
    """The relative share of this source in the examples of an epoch; set for all sources or for none."""
    license: str | None = None
    """The licence of this source for the report and the model card, for example cc-by-4.0."""

    def __post_init__(self) -> None:
        with inside("objective"):
            object.__setattr__(self, "objective", _objective(self.objective))
        super().__post_init__()
        for name in FILE_SETTINGS:
            given = getattr(self, name)
            known = known_name(given) if isinstance(given, str) else given and tuple(map(known_name, given))
            object.__setattr__(self, name, known)
        if isinstance(self.folder, str):
            object.__setattr__(self, "folder", known_name(self.folder))

    def check(self) -> None:
        for name in FILE_SETTINGS:
            require(getattr(self, name) != (), name, "must be a file or a list of them, but is an empty list")
        if self.is_text:
            self._check_text()
        self._check_pairs()
        tagged = self.tag is None or not re.search(r"[\s<>]|^$", self.tag)
        require(tagged, "tag", f"must be one word without < and >, but is {show(self.tag)}", "For example fre.")

    def _check_text(self) -> None:
        example = "For example {text: train.txt, objective: span_corruption}."
        one = (self.text is not None) + (self.text_field is not None) == 1
        require(one, "", "must have `text`, or `path` and `text_field`, for an `objective`", example)
        require(self.objective is not None, "objective", "must be given with plain text, but is empty", example)
        pairs = [self.source, self.target, self.source_field, self.target_field]
        pairs += [self.path] if self.text is not None else []
        alone = not any(value is not None for value in pairs)
        require(alone, "", "must be plain text or pairs, but has settings of both", example)

    def _check_pairs(self) -> None:
        sides = (self.source is not None) + (self.target is not None)
        names = self.source_field is not None or self.target_field is not None
        example = "For example {source: train.en, target: train.de}, or {path: train.tsv}."
        require(self.path is None or not sides, "", "must have `path` or `source` and `target`, but has both", example)
        whole = self.path is not None or self.text is not None or sides == 2
        require(whole, "", "must have `path`, or both `source` and `target`", example)
        require(not names or self.path is not None, "", "must have `source_field` and `target_field` only with `path`")
        require(
            self.hub is None or bool(self.hub and self.split),
            "split",
            "must be given with a data set of the hub, but is empty",
            'For example {path: "hub:wmt/wmt19", name: de-en, split: train}.',
        )
        parts = self.split is not None or self.name is not None
        require(self.hub is not None or not parts, "", "must have `split` and `name` only where `path` is hub:NAME")

    @property
    def hub(self) -> str | None:
        """The name or the folder after `hub:`, if this is a data set of the hub."""
        path = self.path
        return path.removeprefix(HUB) if isinstance(path, str) and path.startswith(HUB) else None

    @property
    def files(self) -> list[str]:
        """The files of this source as they are given, which may be patterns; none for a data set of the hub."""
        given = (getattr(self, name) for name in FILE_SETTINGS if self.hub is None)
        return [
            file for value in given if value is not None for file in ((value,) if isinstance(value, str) else value)
        ]

    def with_files(self, change: Callable[[str], str]) -> SourceConfig:
        """The same with each of its files and its folder changed; of a data set of the hub the folder alone."""
        given = {name: getattr(self, name) for name in FILE_SETTINGS if self.hub is None}
        made = {
            name: change(value) if isinstance(value, str) else tuple(map(change, value))
            for name, value in given.items()
            if value is not None
        }
        made |= {} if self.folder is None else {"folder": change(self.folder)}
        return replace(self, **made)

    @property
    def is_text(self) -> bool:
        """Whether it is plain text, from which an objective makes pairs."""
        return self.text is not None or self.text_field is not None or self.objective is not None

    @property
    def title(self) -> str:
        """The name of the source in messages."""
        given = self.path or self.source or self.text
        names = [*given] if isinstance(given, tuple) else [given]
        return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else "".join(map(str, names))

    @property
    def source_prefix(self) -> str:
        """The text put before each source text: the language tag, then the task prefix."""
        return (f"<{self.tag}> " if self.tag else "") + (self.prefix or "")


@dataclass(frozen=True)
class CacheConfig(Settings):
    """A folder with local copies of remote files."""

    folder: str
    """The folder, which several runs may share."""
    max_bytes: Count
    """The most bytes that the copies have together; for more, the one that was not used for longest is deleted."""


@dataclass(frozen=True)
class DataConfig(Settings):
    train: object
    """{source: FILE, target: FILE} or {path: FILE}, or a list of these; in Python also (source, target) pairs."""
    valid: object = None
    """The validation pairs, in the same form; without them there is no validation."""
    test: object = None
    """The test set of `antiphon evaluate RUN`, in the same form."""
    labels: object = ()
    """For classification: the labels as a list, or {label in the data: name in answers}; none: those of `train`."""
    max_length: Count | None = None
    """Longest side of a training pair in tokens, end included; none: the model's `max_length`."""
    overflow: Literal["error", "truncate", "skip", "window"] = "error"
    """How longer ones are treated; window: a longer source is read in windows of `max_length`. Also the default of
    generation."""
    bad_rows: Literal["error", "skip"] = "error"
    """How rows that cannot be read (too many columns, not JSON, not UTF-8, a file that is no image) are treated; skip:
    they are left out and counted, with warnings for the first ten. Images and sound are decoded once to know."""
    streaming: Literal["auto", "always", "never"] = "auto"
    """Stream the training files instead of loading them; auto: if they have more than 256 MiB of text."""
    workers: CountOrZero = 0
    """Processes that read, filter and tokenize streamed training files beside the training, or load and change images
    or sound; the batches are the same for any number. On Linux."""
    open_shards: Count = 8
    """Shards of a source that are read at the same time, a row of each in turn, in an order drawn for each epoch."""
    cache: CacheConfig | None = None
    """Keep local copies of remote files: {folder: FOLDER, max_bytes: BYTES}; none: they are read again each time."""
    retries: CountOrZero = RETRIES
    """Further tries after a connection to a remote file broke, with waits that double up to 30 seconds."""
    temperature: Positive | None = None
    """Mix several sources in proportion to pairs**(1/T) (Arivazhagan et al. 2019)."""
    filters: object = None
    """Filters of training pairs, in order, for example [{length: {max: 100}}, {ratio: 3}, duplicates]."""
    augment: object = None
    """Random changes of the images or sound of training, in order, for example [{speed: {low: 0.9, high: 1.1}}]."""
    license: str | None = None
    """The licence of the data for the report and the model card, where a source has none of its own."""

    def __post_init__(self) -> None:
        for name in ("train", "valid", "test"):
            with inside(name):
                object.__setattr__(self, name, _sources(getattr(self, name)))
        with inside("filters"):
            object.__setattr__(self, "filters", _filters(self.filters))
        with inside("augment"):
            object.__setattr__(self, "augment", _augment(self.augment))
        with inside("labels"):
            object.__setattr__(self, "labels", _labels(self.labels))
        super().__post_init__()
        cache = None if self.cache is None else FileCache(self.cache.folder, self.cache.max_bytes)
        for name in ("train", "valid", "test"):
            object.__setattr__(self, name, _read_with(getattr(self, name), cache, self.retries))

    def check(self) -> None:
        require(self.train is not None, "train", "must be given, but is empty")
        readable = self.streaming != "always" or is_files(self.train)
        require(readable, "streaming", "must be auto or never for pairs from Python, but is always")
        weights = [source.weight is not None for source in source_list(self.train)]
        remedy = "Give each source of `data.train` a `weight`, or none."
        require(all(weights) or not any(weights), "train", f"must have a weight {_count(weights)}", remedy)
        both = any(weights) and self.temperature is not None
        require(not both, "temperature", "must not stand beside weights, but does", "Drop it, or the weights.")
        mixed = self.temperature is None or bool(weights)
        require(mixed, "temperature", "must only be given where `data.train` is files, but they are pairs from Python")
        for name in ("valid", "test"):
            data = getattr(self, name)
            for number, source in enumerate(source_list(data)):
                where = f"{name}.{number}" if isinstance(data, tuple) else name
                problem = "must not be given, since each pair counts once"
                require(source.weight is None, f"{where}.weight", problem, "Drop it.")
                pairs = name == "valid" or not source.is_text
                require(pairs, where, "must be pairs, since answers are compared with targets, but is plain text")

    @property
    def shares(self) -> Shares:
        """The shares of the sources of `train` in an epoch."""
        weights = [source.weight for source in source_list(self.train) if source.weight is not None]
        return Shares(tuple(weights) or None, self.temperature)


@dataclass(frozen=True)
class Shares:
    """The shares of sources in an epoch: by weights, by pairs**(1/temperature), or each pair once."""

    weights: tuple[float, ...] | None = None
    temperature: float | None = None


def is_files(data: object) -> bool:
    """Whether `data` (DataConfig.train or .valid) names files rather than holding pairs."""
    items = data if isinstance(data, tuple) and data else (data,)
    return all(isinstance(item, SourceConfig) for item in items)


def source_list(data: object) -> tuple[SourceConfig, ...]:
    """The file sources of `data`, one or several; none for pairs from Python."""
    if isinstance(data, SourceConfig):
        return (data,)
    return data if is_files(data) and isinstance(data, tuple) else ()


def _count(weights: list[bool]) -> str:
    return f"at all sources or none, but {sum(weights)} of {len(weights)} have one"


def _filters(value: Any) -> tuple[object, ...] | None:
    """Parse filters: each a name, or a mapping from one name to its settings."""
    value = value.meaning if isinstance(value, FlagText) else value
    example = "For example [{length: {max: 100}}, duplicates]."
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise SettingError((), f"must be a list of filters, but is {show(value)}", remedy=example)
    return _named(value, example)


def _augment(value: Any) -> tuple[object, ...] | None:
    """Parse augmentations: each a name, or a mapping from one name to its settings."""
    value = value.meaning if isinstance(value, FlagText) else value
    example = "For example [{speed: {low: 0.9, high: 1.1}}, spec_augment]."
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise SettingError((), f"must be a list of augmentations, but is {show(value)}", remedy=example)
    return _named(value, example)


def _objective(value: Any) -> tuple[object, ...] | None:
    """Parse the objectives of plain text, one or a list."""
    value = value.meaning if isinstance(value, FlagText) else value
    example = "For example span_corruption, or [sentence_permutation, {text_infilling: {density: 0.3}}]."
    if value is None:
        return None
    items = tuple(value) if isinstance(value, list | tuple) else (value,)
    require(bool(items), "", "must be an objective, but is an empty list", example)
    return _named(items, example)


def _named(value: Sequence[object], example: str) -> tuple[object, ...]:
    """Parse parts: each a name, or a mapping from one name to its settings."""
    for number, item in enumerate(value):
        if not (isinstance(item, str) or (isinstance(item, Mapping) and len(item) == 1)):
            problem = f"must be a name, or one name with its settings, but is {show(item)}"
            raise SettingError((str(number),), problem, remedy=example)
    return tuple(value)


def _labels(value: Any) -> Mapping[str, str]:
    """Parse labels to a mapping from label in the data to name in answers."""
    value = value.meaning if isinstance(value, FlagText) else value
    example = "For example [negative, positive], or {0: negative, 1: positive}."
    if not (value is None or isinstance(value, list | tuple | Mapping)):
        raise SettingError((), f"must be a list of labels or a mapping, but is {show(value)}", remedy=example)
    pairs = list(value.items()) if isinstance(value, Mapping) else [(item, item) for item in value or ()]
    for label, name in pairs:
        simple = all(isinstance(side, str | int) and not isinstance(side, bool) and str(side) for side in (label, name))
        problem = f"must be labels, each a text or a number, but one is {show(label if simple else name)}"
        require(simple, "", problem, example)
    return {str(label): str(name) for label, name in pairs}


def _read_with(data: object, cache: FileCache | None, retries: int) -> object:
    """`data` whose remote files are read with a cache and a number of retries."""

    def named(file: str) -> str:
        return RemoteName(file, cache=cache, retries=retries) if isinstance(file, RemoteName) else file

    if isinstance(data, SourceConfig):
        return data.with_files(named)
    return tuple(each.with_files(named) for each in source_list(data)) if is_files(data) and data else data


def _sources(value: Any) -> object:
    """A file source, a tuple of them, or pairs; an iterator becomes a tuple, since data is read more than once."""
    value = value.meaning if isinstance(value, FlagText) else value
    if value is None or isinstance(value, SourceConfig | Mapping):
        return build(SourceConfig, value) if isinstance(value, Mapping) else value
    if isinstance(value, str) or not isinstance(value, Iterable):
        remedy = "For example {source: train.en, target: train.de}, or {path: train.tsv}."
        raise SettingError((), f"must be files or pairs, but is {show(value)}", remedy=remedy)
    if isinstance(value, list | tuple) and value and _are_pairs(value):
        return tuple(value)
    if isinstance(value, list | tuple) and value and all(isinstance(item, Mapping | SourceConfig) for item in value):
        made: list[SourceConfig] = []
        for number, item in enumerate(value):
            with inside(str(number)):
                made.append(item if isinstance(item, SourceConfig) else build(SourceConfig, item))
        return tuple(made)
    return tuple(value) if isinstance(value, Iterator) else value


def _are_pairs(items: Sequence[object]) -> bool:
    """Whether mappings with only `source` and `target` hold texts rather than file names: one of the values cannot be a
    file name, or in one of the mappings neither looks like one."""
    for item in items:
        if not (isinstance(item, Mapping) and set(item) == {"source", "target"}):
            return False
    sides = [list(item.values()) for item in items if isinstance(item, Mapping)]
    return any(not any(map(_could_be_file, values)) or any(map(_is_no_file, values)) for values in sides)


def _is_no_file(value: object) -> bool:
    """Whether a value has several words, or none, and does not look like a file name."""
    return not _could_be_file(value) and not (isinstance(value, str) and len(value.split()) == 1)


def _could_be_file(value: object) -> bool:
    """Whether a value is a URL, has a suffix (.en, .txt.gz) or a folder, or is an existing file; or is a list of such.
    A dot or number at the end is not a suffix: a text may end so."""
    if isinstance(value, FlagText | os.PathLike):
        return True
    if isinstance(value, list | tuple):
        return bool(value) and all(map(_could_be_file, value))
    if not isinstance(value, str):
        return False
    if is_url(value) and " " not in value:
        return True
    return bool(re.search(r"\.[A-Za-z]\w{0,7}(\.gz|\.zst)?$|^[./~]*/\S+$", value)) or os.path.isfile(value)
