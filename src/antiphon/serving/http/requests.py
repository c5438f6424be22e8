"""The fields of each request body: what they mean, their types and bounds. OpenAPI shows the same."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from antiphon.config import GenerationConfig
from antiphon.config.generation import TEXT_OF_ROWS
from antiphon.errors import UsageError
from antiphon.registry import nearest
from antiphon.serving.http.bodies import make
from antiphon.serving.http.errors import from_setting, invalid, too_large
from antiphon.serving.service import InputName
from antiphon.serving.settings import ServerSettings
from antiphon.settings import Count, CountOrZero, Range, Settings, convert, hints, inside

DetailName = Literal["alignment", "token_confidence"]
PROTECTED = Literal["placeholders", "urls", "emails", "numbers"]
# Settings of the server, not of a request.
_NOT_SEARCH = ("batch_size",)
SEARCH = tuple(name for name in hints(GenerationConfig) if name not in _NOT_SEARCH)
TAKES: dict[InputName, str] = {"text": "texts", "speech": "recordings", "image": "images"}
_DATA_URL = re.compile(r"data:(audio|image)/[a-z0-9.+-]{1,40};base64,")
_TYPES: dict[InputName, str] = {"speech": "audio", "image": "image"}
_WANTED: dict[InputName, str] = {
    "speech": "sound files as data:audio/wav;base64,... (or flac, ogg, mpeg), since the model takes recordings",
    "image": "images as data:image/png;base64,... (or jpeg, tiff, webp, gif, bmp), since the model takes images",
}


@dataclass(frozen=True, kw_only=True)
class GenerateRequest(Settings):
    """Inputs to answer; the settings of the search are fields beside these."""

    inputs: str | tuple[str, ...]
    """A text or a list of texts; for a model of speech, sound files as data:audio/wav;base64,... (flac, ...), for one
    of images, or of texts with images, data:image/png;base64,... (jpeg, ...)."""
    model: str | None = None
    """Name of a served model; default: the first one."""
    stream: bool = False
    """Send server-sent events while the answers are generated."""
    details: tuple[DetailName, ...] = ()
    """What to compute for each answer in addition."""
    first_row: Annotated[int, Range(low=0, high=2**53)] = 0
    """Row of the first input, on which sampling depends, where the inputs are a part of a longer list."""


@dataclass(frozen=True, kw_only=True)
class ScoreRequest(Settings):
    """Pairs of a source and a target."""

    sources: str | tuple[str, ...]
    """A source or a list of sources."""
    targets: str | tuple[str, ...]
    """The target of each source."""
    overflow: Literal["error", "truncate", "split", "window"] | None = None
    """How a source of more than `max_source_tokens` is treated."""
    max_source_tokens: Count | None = None
    """Maximum tokens of a source, end included."""
    prompt: str | tuple[str | None, ...] | None = None
    """The text beside an image, or before the target of a recording; one, or one for each source."""
    model: str | None = None
    """Name of a served model; default: the first one."""


@dataclass(frozen=True, kw_only=True)
class AttentionRequest(Settings):
    """A source and its target."""

    source: str
    """The source, as an input of /v1/generate."""
    target: str | None = None
    """The target; default: the model's answer."""
    overflow: Literal["error", "truncate", "split", "window"] | None = None
    """How a source of more than `max_source_tokens` is treated."""
    max_source_tokens: Count | None = None
    """Maximum tokens of a source, end included."""
    prompt: str | None = None
    """The text beside an image, or before the target of a recording."""
    model: str | None = None
    """Name of a served model; default: the first one."""


@dataclass(frozen=True, kw_only=True)
class TranslateRequest(Settings):
    """A document to translate; the settings of the search are fields beside these."""

    text: str | None = None
    """A text of any length."""
    texts: tuple[str, ...] | None = None
    """Several texts, instead of `text`."""
    format: Literal["text", "html"] = "text"
    """Whether the texts are plain, or HTML whose tags are kept."""
    source: str | None = None
    """Code of the source language; auto: detect it."""
    target: str | None = None
    """Code of the target language."""
    glossary: Any = None
    """Phrases of the source and how each is translated."""
    protect: tuple[PROTECTED, ...] = ()
    """What is copied unchanged."""
    details: tuple[DetailName, ...] = ()
    """What to compute for each segment in addition."""
    alternatives: CountOrZero = 0
    """Number of further translations of each text."""
    model: str | None = None
    """Name of a served model; default: the first one that translates the pair."""

    def check(self) -> None:
        if (self.text is None) == (self.texts is None):
            raise invalid("text", "must be given, or `texts`, and not both.")


def source_limits(request: ScoreRequest | AttentionRequest) -> dict[str, Any]:
    """The settings of a request about its sources that are given."""
    given = {"overflow": request.overflow, "max_source_tokens": request.max_source_tokens, "prompt": request.prompt}
    return {name: value for name, value in given.items() if value is not None}


def split_search(fields: dict[str, Any], kind: type[Settings]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a body that belong to the class `kind`, and the settings of the search; others are refused."""
    known = hints(kind)
    for name in fields:
        if name not in known and name not in SEARCH:
            near = nearest(name, [*known, *SEARCH]) or "."
            raise invalid(name[:100], f"is not a known field{near}", code="unknown_field")
    search = {name: value for name, value in fields.items() if name in SEARCH and name not in known}
    return {name: value for name, value in fields.items() if name not in search}, search


def read_search(fields: dict[str, Any], limits: ServerSettings) -> dict[str, Any]:
    """Settings of the search, converted to their types and within the limits of the server."""
    read = {}
    for name, value in fields.items():
        try:
            with inside(name):
                read[name] = convert(value, hints(GenerationConfig)[name])
        except UsageError as error:
            raise from_setting(error) from None
    bounds = dict.fromkeys(("beam_size", "n_best", "beam_groups"), limits.max_beam_size)
    bounds |= dict.fromkeys(("max_new_tokens", "min_new_tokens"), limits.max_new_tokens)
    for name, most in bounds.items():
        if (value := read.get(name)) is not None and value > most:
            raise invalid(name, f"must be at most {most}, but is {value}.", code="too_large")
    for name in ("allowed", "required", "forbidden", *TEXT_OF_ROWS):
        check_texts(name, _flat(read.get(name)), limits)
    return read


def check_texts(field: str, texts: list[str], limits: ServerSettings, *, most: int | None = None) -> None:
    """Check the number of texts, if `most` is given, and the length of each."""
    if most is not None:
        check_count(field, len(texts), limits, most=most)
    longest = max(map(len, texts), default=0)
    if longest > limits.max_characters:
        raise too_large(field, "characters", longest, limits.max_characters)


def check_count(field: str, count: int, limits: ServerSettings, *, most: int | None = None) -> None:
    """Check the number of inputs, which is at most `max_items` unless `most` is given."""
    most = limits.max_items if most is None else most
    if count > most:
        raise too_large(field, "texts", count, most)


def check_alternatives(count: int, limits: ServerSettings) -> None:
    """Check the number of further translations; with the first one they are the hypotheses of a beam."""
    if count >= limits.max_beam_size:
        raise invalid("alternatives", f"must be at most {limits.max_beam_size - 1}, but is {count}.", code="too_large")


def read_generate(fields: dict[str, Any], limits: ServerSettings) -> tuple[GenerateRequest, list[str], dict[str, Any]]:
    """The request, its inputs as a list, whose lengths are not checked, and the settings of its search."""
    own, search = split_search(fields, GenerateRequest)
    request = make(GenerateRequest, own)
    inputs = listed(request.inputs)
    check_count("inputs", len(inputs), limits)
    return request, inputs, read_search(search, limits)


def read_glossary(value: Any) -> dict[str, str]:
    """The phrases of a glossary. ApiError for what is no mapping of texts to texts."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(target, str) for target in value.values()):
        raise invalid("glossary", "must be an object whose values are texts.")
    if any(not source.strip() for source in value):
        raise invalid("glossary", "must have no empty phrase, but has one.")
    return value


def listed(value: str | tuple[str, ...]) -> list[str]:
    """One text or several as a list."""
    return [value] if isinstance(value, str) else list(value)


def _flat(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else [text for inner in value for text in _flat(inner)]


def media_of(kind: InputName, texts: Sequence[str], field: str) -> list[bytes]:
    """The contents of the files in data URLs. ApiError for any other text: a path, an address, another type."""
    found = []
    for text in texts:
        head = _DATA_URL.match(text)
        if head is None or head[1] != _TYPES[kind]:
            raise invalid(field, f"must be {_WANTED[kind]}.")
        try:
            found.append(base64.b64decode(text[head.end() :], validate=True))
        except (binascii.Error, ValueError):
            raise invalid(field, "must be base64 after the comma, but one is not.") from None
    return found


def kind_by_urls(texts: Sequence[str]) -> InputName:
    """What inputs are, where the model that they are for is not known yet."""
    for kind, name in _TYPES.items():
        if texts and all(text.startswith(f"data:{name}/") for text in texts):
            return kind
    return "text"
