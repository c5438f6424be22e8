"""The small files of a folder: reading and atomic writing of JSON, and a check that names stay inside the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from antiphon.durable import replace_file
from antiphon.errors import ModelError

# Larger files are broken or malicious. The first limit is for configs, the second for an index or a vocabulary.
MAX_CONFIG_BYTES, MAX_JSON_BYTES = 2**18, 2**25


def within(folder: Path, name: str) -> Path:
    """The file `name` of `folder`; ModelError if it is a link to another folder.

    The snapshots in the hub's cache contain links to its folder of blobs, which are allowed.
    """
    file, home = folder / name, folder.resolve()
    places = [home, home.parents[1] / "blobs"] if home.parent.name == "snapshots" else [home]
    target = file.resolve()
    if not any(target.is_relative_to(place) for place in places):
        raise ModelError(f"`{file}` must be a file of its folder, but is a link to `{target}`. Copy the file there.")
    if not target.is_file():
        raise ModelError(f"`{folder}` must hold the file {name}, but does not. Restore the folder.")
    return file


def write_json(file: Path, content: object) -> None:
    """Write indented JSON atomically."""
    replace_file(file, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """The object in the small JSON file `name` of `folder`; ModelError as in `within` and `read_json`."""
    return read_json(within(folder, name), most=MAX_CONFIG_BYTES)


def read_json(file: Path, *, most: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """The object in a JSON file of at most `most` bytes; ModelError if it is missing or invalid."""
    try:
        size = file.stat().st_size
        if size > most:
            raise ModelError(f"`{file}` must have at most {most} bytes, but has {size}. Restore the file.")
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise ModelError(f"`{file.parent}` must be a model folder, but has no {file.name}.") from None
    except ModelError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"`{file}` must be JSON, but cannot be read ({error}).") from error
    if not isinstance(content, dict):
        raise ModelError(f"`{file}` must hold a JSON object, but holds {type(content).__name__}.")
    return content
