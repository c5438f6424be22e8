"""The files of the page: its own, and those that it shares with the page of `antiphon serve`, whose look it has."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PAGE = Path(__file__).parent / "page"
SHARED_PAGE = Path(__file__).parents[1] / "serving" / "page"
SHARED = (  # colours, elements, texts in two languages, storage
    "icon.svg", "icons.svg", "styles/theme.css", "styles/base.css",
    "scripts/early.js", "scripts/dom.js", "scripts/texts.js", "scripts/storage.js",
)  # fmt: skip
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    "": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file in memory, with the tag by which a browser asks whether it has changed."""

    content: bytes
    type: str
    tag: str


@cache
def page_files() -> dict[str, PageFile]:
    """The files by address. No other path is ever read for a request."""
    own = {path.relative_to(PAGE).as_posix(): path for path in sorted(PAGE.rglob("*")) if path.suffix in TYPES}
    found = {name: _read(path) for name, path in own.items() if path.is_file()}
    found |= {name: _read(SHARED_PAGE / name) for name in SHARED}
    return {"/" if name == "index.html" else f"/{name}": file for name, file in found.items()}


def _read(path: Path) -> PageFile:
    content = path.read_bytes()
    return PageFile(content, TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:20]}"')
