"""The file systems of fsspec: connecting to one, the size and version of a file, and the files that a pattern names.

fsspec takes credentials and endpoints from the environment and from its own files (AWS_ACCESS_KEY_ID, FSSPEC_S3_ANON,
~/.config/fsspec/), never from a recipe.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from antiphon.data.remote.retrying import permanent, persist, reason, shown
from antiphon.errors import ConfigError
from antiphon.urls import RemoteName, has_pattern

# Keys of fsspec's file details that change with the content, the most reliable first.
_VERSIONS = [
    "etag",
    "ETag",
    "md5Hash",
    "Content-MD5",
    "Digest",
    "generation",
    "blob_id",
    "oid",
    "xet_hash",
    "LastModified",
    "last_modified",
    "Last-Modified",
    "mtime",
    "updated",
    "created",
]
_HIDDEN_LIBRARIES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}


class FileDetails(NamedTuple):
    """The size in bytes (None if the server does not say), a text that changes with the content ("" if there is none),
    and whether the server sends parts of the file."""

    size: int | None
    version: str
    partial: bool = True


def connect(name: RemoteName) -> tuple[Any, str]:
    """The file system of a URL and the path there. ConfigError for a missing library or an unknown protocol."""
    protocol = re.split(r"::|://", name)[0]
    try:
        from fsspec.core import url_to_fs

        return url_to_fs(name.url)
    except ImportError as error:
        library = _HIDDEN_LIBRARIES.get(protocol, getattr(error, "name", None) or "of this protocol")
        raise ConfigError(
            f"reading `{name}` needs the library {library}, which is not installed. Run pip install 'antiphon[cloud]'."
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"a URL must have a protocol of fsspec, such as s3, gs, hf or https, but `{name}` cannot be used "
            f"({reason(error)}). Check it."
        ) from shown(error)
    except Exception as error:  # a library may look for credentials now
        raise permanent(error, name) or ConfigError(f"`{name}` cannot be reached ({reason(error)}).") from shown(error)


def details(name: RemoteName) -> FileDetails:
    """The size and the version of a remote file. Raises as `persist` does."""
    return persist(lambda: ask_details(name), name=name)


def ask_details(name: RemoteName) -> FileDetails:
    """`details`, asked once, of the server, not of an earlier answer of it."""
    system, path = connect(name)
    system.invalidate_cache(path.rpartition("/")[0])
    system.invalidate_cache(path)
    found = system.info(path)
    if found.get("type") == "directory":
        raise IsADirectoryError(path)
    size = found.get("size")
    version = next((f"{key.lower()}:{found[key]}" for key in _VERSIONS if found.get(key)), "")
    return FileDetails(None if size is None else int(size), version, found.get("partial") is not False)


def matching(name: RemoteName) -> list[RemoteName]:
    """The files that a URL with *, ? or [...] names, in the order of their paths; itself if it is no pattern."""
    if not has_pattern(name.url):
        return [name]

    def ask() -> list[RemoteName]:
        system, path = connect(name)
        system.invalidate_cache()
        found = sorted(system.glob(path))
        return [name.beside(_whole(name.url, system.unstrip_protocol(each))) for each in found]

    return persist(ask, name=name)


def _whole(pattern: str, found: str) -> str:
    """The URL of a found file with the steps that follow its first one (zip://*.txt::s3://...)."""
    first, chain, rest = pattern.partition("::")
    return f"{found}{chain}{rest}" if "::" not in found and first else found
