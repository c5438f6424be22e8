"""The shards of a job: files of globs and lists, and the name of the output of each.

files_of(["shards/*.jsonl", "@more.txt"])           # sorted within a glob, in the order given otherwise
output_names(["a/1.csv.gz", "b/1.csv.gz"])          # {"a/1.csv.gz": "a/1.csv", "b/1.csv.gz": "b/1.csv"}
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from antiphon.bulk.tables import is_table
from antiphon.errors import UsageError
from antiphon.urls import RemoteName, has_pattern, known_name, without_query

LIST_MARK = "@"  # `@FILE` is a file with the name of an input on each line


def is_many(path: str) -> bool:
    """Whether an argument names several files: a glob or a list. A file whose name has such characters is one file."""
    name = known_name(path)
    if isinstance(name, RemoteName):
        return has_pattern(name.url)
    return not os.path.exists(path) and (glob.has_magic(path) or path.startswith(LIST_MARK))


def files_of(arguments: Sequence[str], *, name: str) -> list[str]:
    """The files that the arguments called `name` stand for. UsageError for a glob without a match, or a file twice."""
    found: list[str] = []
    for argument in arguments:
        if os.path.exists(argument) or not is_many(argument):
            found.append(known_name(argument))
        elif argument.startswith(LIST_MARK):
            found += _listed(argument.removeprefix(LIST_MARK), name=name)
        else:
            matches = [path for path in _matches(argument) if "://" in path or os.path.isfile(path)]
            if not matches:
                raise UsageError(f"{name} must match at least one file, but `{argument}` matches none. Check the path.")
            found += matches
    _refuse_repeats(found, name=name)
    return found


def _matches(pattern: str) -> list[str]:
    """The files of a glob, of paths or of a URL, in the order of their names."""
    name = known_name(pattern)
    if isinstance(name, RemoteName):
        from antiphon.data.remote.filesystem import matching

        return list(matching(name))
    return sorted(glob.glob(pattern, recursive=True))


def _listed(file: str, *, name: str) -> list[str]:
    try:
        with open(file, encoding="utf-8") as stream:
            lines = [line.strip() for line in stream]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"the list of files `{file}` cannot be read ({reason}). Check {name}.") from error
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise UsageError(f"the list of files `{file}` must name at least one file, but is empty. Check {name}.")
    return files_of([line for line in found if not line.startswith(LIST_MARK)], name=f"the list `{file}`")


def _refuse_repeats(files: Sequence[str], *, name: str) -> None:
    seen: dict[str, str] = {}
    for file in files:
        whole = file.url if isinstance(file, RemoteName) else os.path.realpath(file)
        if whole in seen:
            raise UsageError(f"{name} must name each file once, but names `{file}` twice. Remove one.")
        seen[whole] = file


def output_names(files: Sequence[str], *, suffixes: Mapping[str, str] | None = None) -> dict[str, str]:
    """The output of each input, below the output folder: its path from the folder that all have in common, without
    .gz and .zst, and with the suffix in `suffixes`, if there is one. UsageError if two inputs have the same output."""
    base = os.path.commonpath([os.path.dirname(os.path.abspath(_local(file))) for file in files])
    names: dict[str, str] = {}
    for file in files:
        relative = os.path.relpath(os.path.abspath(_local(file)), base)
        plain = relative.removesuffix(".gz").removesuffix(".zst")
        wanted = (suffixes or {}).get(file)
        if wanted is not None and PurePath(plain).suffix.lower() != wanted:
            known = is_table(plain) or plain.endswith((".parquet", ".txt"))
            plain = (str(PurePath(plain).with_suffix("")) if known else plain) + wanted
        other = next((file for file, name in names.items() if name == plain), None)
        if other is not None:
            raise UsageError(
                f"each input must have an output of its own, but `{other}` and `{file}` both have `{plain}`. "
                "Rename one, or answer them apart."
            )
        names[file] = plain
    return names


def _local(file: str) -> str:
    """A URL as a path, `s3://bucket/a.csv` as `bucket/a.csv`."""
    return without_query(file).partition("://")[2] or file


def are_files(files: Sequence[str]) -> None:
    """UsageError for the first of `files` that is a folder or does not exist; URLs are not checked here."""
    for file in files:
        if "://" not in file and not os.path.isfile(file):
            problem = "is a folder" if os.path.isdir(file) else "does not exist"
            raise UsageError(f"an input must be a file, but `{file}` {problem}. Check the path, or give a glob.")
