"""The shards of a source: the files that its paths, URLs and patterns name, each as a source of one file.

>>> shards(SourceConfig(source="train-*.en", target="train-*.de"))
[SourceConfig(source="train-0.en", target="train-0.de", ...), ...]

The files of a pattern are in the order of their names, those of a list in its order. A file whose own name has * or [
in it is taken as it is.
"""

from __future__ import annotations

import glob
import os
from dataclasses import replace

from antiphon.config import SourceConfig, source_list
from antiphon.config.data import FILE_SETTINGS
from antiphon.errors import DataError
from antiphon.urls import RemoteName, known_name


def shards(source: SourceConfig) -> list[SourceConfig]:
    """The shards of `source`; itself if it is a data set of the hub. DataError if a pattern names nothing, or if source
    and target have different numbers of files."""
    if source.hub is not None:
        return [source]
    found = {name: expand_all(value) for name in FILE_SETTINGS if (value := getattr(source, name)) is not None}
    counts = {name: len(files) for name, files in found.items()}
    if len(set(counts.values())) > 1:
        (left, one), (right, other) = counts.items()
        raise DataError(
            f"`{left}` and `{right}` must name as many files each, but name {one} and {other} "
            f"(`{source.title}`). Check the patterns."
        )
    names = list(found)
    return [replace(source, **dict(zip(names, each, strict=True))) for each in zip(*found.values(), strict=True)]


def shard_files(data: object) -> list[str]:
    """All files of the sources of `data`, without those of the hub."""
    return [file for source in source_list(data) for shard in shards(source) for file in shard.files]


def expand_all(given: str | tuple[str, ...]) -> list[str]:
    """The files that a path, a URL, a pattern, or a list of these names."""
    return expand(given) if isinstance(given, str) else [file for each in given for file in expand(each)]


def expand(pattern: str) -> list[str]:
    """The files that one path, URL or pattern names. DataError if it is a pattern that names none."""
    name = known_name(pattern)
    if isinstance(name, RemoteName):
        from antiphon.data.remote.filesystem import matching

        found: list[str] = list(matching(name))
    elif not glob.has_magic(name) or os.path.lexists(name):
        return [name]
    else:
        found = sorted(glob.glob(name, recursive=True))
    if not found:
        raise DataError(f"a pattern must name at least one file, but `{name}` names none. Check the path.")
    return found
