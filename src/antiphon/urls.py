"""URLs of data files: how they are recognized, and how they are shown, without the credentials that they may hold.

>>> name = RemoteName("https://user:secret@host/train.jsonl?token=abc&part=3")
>>> print(name)
https://***@host/train.jsonl?token=***&part=3

Recipes, logs, errors, snapshots and reports have the shown form alone, since it is the text of the name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import url2pathname

RETRIES = 8  # further tries after a connection broke: 45 to 92 seconds of waiting in all
HIDDEN = "***"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(://|::)")
_USER = re.compile(r"(?<=://)[^/@\s?#]*(?=@)")
_SECRETS = (
    "sig|sign|signature|token|secret|password|passwd|pwd|auth|authorization|credential|credentials|session|jwt|code|"
    "policy|sas|apikey|accesskey|awsaccesskeyid|googleaccessid|keypairid|key"
)
_QUERY = re.compile(rf"(?i)([?&;](?:[\w.-]*[_-])?(?:{_SECRETS}|x-(?:amz|goog)-[\w-]+)=)[^&;#\s'\"`)]*")


@dataclass(frozen=True)
class FileCache:
    """A folder for local copies of remote files, of at most `max_bytes` bytes together."""

    folder: str
    max_bytes: int


class RemoteName(str):
    """The URL of a data file as it is shown. `url` is the whole one; `cache` and `retries` say how it is read."""

    url: str
    cache: FileCache | None
    retries: int

    def __new__(cls, url: str, *, cache: FileCache | None = None, retries: int = RETRIES) -> RemoteName:
        whole = url.url if isinstance(url, RemoteName) else url
        made = super().__new__(cls, hide(whole))
        made.url, made.cache, made.retries = whole, cache, retries
        return made

    def __str__(self) -> str:
        return self  # str() keeps the whole URL; formatting, joining and writing have the shown one

    @property
    def shown(self) -> str:
        """The text of this name alone, without the rest of the URL."""
        return str.__str__(self)

    def beside(self, url: str) -> RemoteName:
        """Another URL, which is read in the same way."""
        return RemoteName(url, cache=self.cache, retries=self.retries)


def is_url(name: object) -> bool:
    """Whether a file name is a URL of fsspec, such as s3://bucket/train.jsonl, also one of several steps (::)."""
    return isinstance(name, str) and _URL.match(name) is not None


def known_name(name: str) -> str:
    """A file name as the readers take it: a RemoteName for a URL, the path for one that begins with file://."""
    if not is_url(name) or isinstance(name, RemoteName):
        return name
    if name.lower().startswith("file://"):
        return url2pathname(urlsplit(name).path) if name[7:8] == "/" else name[7:]
    return RemoteName(name)


def without_query(name: str) -> str:
    """`name` so that its end is the suffix of the file: an http URL without query and fragment, and of a URL of several
    steps (zip://a.tsv::s3://bucket/b.zip) the first one that has a path."""
    if not is_url(name):
        return name
    step = next((part for part in name.split("::") if "://" in part), name)
    return re.split(r"[?#]", step, maxsplit=1)[0] if step.lower().startswith(("http://", "https://")) else step


def has_pattern(url: str) -> bool:
    """Whether a URL names several files, by *, ? or [...]. The ? of an http URL begins its query."""
    path = re.sub(r"://[^/@]*@", "://", url)
    if path.lower().startswith(("http://", "https://")):
        return re.search(r"[*\[]", re.split("[?#]", path, maxsplit=1)[0]) is not None
    return re.search(r"[*?\[]", path) is not None


def hide(text: str) -> str:
    """`text` with asterisks for users and passwords in URLs, and for query values whose names mean credentials."""
    return _QUERY.sub(rf"\g<1>{HIDDEN}", _USER.sub(HIDDEN, text))
