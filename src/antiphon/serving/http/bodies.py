"""Reading of request bodies: JSON, forms, uploaded files and query parameters, into the classes of `requests.py`.

    request_body = await read(request, GenerateRequest)

Whatever is wrong with a body is an ApiError that names the field.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin
from urllib.parse import parse_qsl

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from antiphon.errors import UsageError
from antiphon.serving.http.errors import ApiError, from_setting, invalid
from antiphon.settings import FlagText, Settings, build, hints

R = TypeVar("R", bound=Settings)
JSON, FORM, MULTIPART = "application/json", "application/x-www-form-urlencoded", "multipart/form-data"
_MOST_FIELDS = 1000  # of a form
_LARGE = 100_000  # bytes of a body that is read in a thread of its own
_SURROGATE = re.compile("[\ud800-\udfff]")
_MOST_NAME = 100  # characters of the name of a field
_MOST_INTEGER = 2**63 - 1
_MOST_DEPTH = 20  # levels of lists and objects; the deepest real request has 4


@dataclass(frozen=True)
class Upload:
    """A file of a multipart body."""

    name: str
    content: bytes


class _InMemoryParser(MultiPartParser):
    """Starlette's parser, without temporary files: bodies are bounded, and a container's disk may be read-only."""

    spool_max_size = 2**62


async def read_json(request: Request) -> dict[str, Any]:
    """The object of a JSON body."""
    _accept(request, (JSON,))
    return await _parse(await request.body())


async def read_fields(request: Request) -> dict[str, Any]:
    """The fields of a JSON or form body, and of the query where the body does not have them.

    A field that a form repeats is a list. Values of forms and queries are texts, which `make` converts.
    """
    found: dict[str, Any] = _texts(_query(request.url.query, "query"))
    kind = _kind(request)
    if kind == MULTIPART:
        fields, files = await read_multipart(request)
        if files:
            raise invalid(next(iter(files)), "must be a text here, but is a file.")
        return found | fields
    body = await request.body()
    if not body:
        return found
    _accept(request, (JSON, FORM, MULTIPART))
    return found | (await _parse(body) if kind == JSON else _texts(_query(body, "body")))


async def read_multipart(request: Request) -> tuple[dict[str, Any], dict[str, Upload]]:
    """The fields and the files of a multipart body; a field whose name ends in [] is without it."""
    _accept(request, (MULTIPART,))
    limit = request.app.state.context.settings.max_body_bytes
    parser = _InMemoryParser(
        request.headers, request.stream(), max_files=8, max_fields=_MOST_FIELDS, max_part_size=limit
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise ApiError(400, "invalid_form", f"a multipart body must be well-formed, but: {error.message}") from None
    except (ValueError, LookupError, AssertionError) as error:  # of python-multipart, for a header that is none
        raise ApiError(400, "invalid_form", "a multipart body must be well-formed, but is not.") from error
    pairs: list[tuple[str, str]] = []
    files: dict[str, Upload] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            files[name] = Upload(value.filename or "", await value.read())
        else:
            pairs.append((name.removesuffix("[]"), value))
    await form.close()
    return _texts(pairs), files


def make(kind: type[R], fields: Mapping[str, Any]) -> R:
    """`fields` as a request of the class `kind`."""
    plain = {
        name: _form_value(name, value, hints(kind).get(name)) if isinstance(value, FlagText) else value
        for name, value in fields.items()
    }
    try:
        return build(kind, plain)
    except UsageError as error:
        raise from_setting(error) from None


def parse_json(body: bytes) -> dict[str, Any]:
    """The object in `body`. ApiError for what JSON does not know: NaN, a key twice, lone surrogates, deep nesting."""
    try:
        value = json.loads(body.decode(), parse_constant=_no_constant, object_pairs_hook=_without_repeats)
    except UnicodeDecodeError as error:
        raise ApiError(400, "invalid_json", f"the body must be UTF-8, but byte {error.start} is not.") from None
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError as error:
        problem = f"the body must be JSON, but at character {error.pos}: {error.msg}."
        raise ApiError(400, "invalid_json", problem) from None
    except ValueError:  # more digits than Python converts
        raise ApiError(400, "invalid_json", "the body has a number of too many digits.") from None
    if not isinstance(value, dict):
        raise ApiError(422, "invalid", "the body must be a JSON object.")
    for name in value:
        if len(name) > _MOST_NAME:
            raise invalid(name[:_MOST_NAME], "and what follows is not a known field.", code="unknown_field")
    _check(value, (), 1)
    return value


def _check_integer(value: int, field: str) -> None:
    if abs(value) > _MOST_INTEGER:
        raise invalid(field, f"must be an integer of at most {_MOST_INTEGER} in size, but is larger.")


async def _parse(body: bytes) -> dict[str, Any]:
    return parse_json(body) if len(body) < _LARGE else await asyncio.to_thread(parse_json, body)


def _form_value(name: str, value: FlagText, hint: Any) -> Any:
    """A field of a form where a text, or this text, is wanted; else it is left to the conversion of flags."""
    options = [hint, *get_args(hint)]
    named = [name for option in options if get_origin(option) is Literal for name in get_args(option)]
    if str in options or str(value) in named:
        return str(value)
    if isinstance(value.meaning, int):
        _check_integer(value.meaning, name)
    return value


def _kind(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind or JSON  # a body without a type can only be read as JSON


def _accept(request: Request, kinds: Iterable[str]) -> None:
    if (kind := _kind(request)) not in kinds:
        problem = f"the Content-Type must be {' or '.join(kinds)}, but is {kind[:60]}."
        raise ApiError(415, "unsupported_media_type", problem)


def _query(text: bytes | str, where: str) -> list[tuple[str, str]]:
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        return parse_qsl(decoded, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except UnicodeDecodeError:
        raise ApiError(400, "invalid_form", f"the {where} must be UTF-8, but is not.") from None
    except ValueError:
        raise ApiError(413, "too_large", f"the {where} must have at most {_MOST_FIELDS} fields.") from None


def _texts(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The fields of a form: a text that a number is read from where one is wanted, or a list of them."""
    from antiphon.recipe import meaning

    found: dict[str, Any] = {}
    for name, text in pairs:
        value = FlagText(text, meaning(text))
        if name in found:
            found[name] = [*found[name], value] if isinstance(found[name], list) else [found[name], value]
        else:
            found[name] = value
    return found


def _no_constant(name: str) -> Any:
    raise ApiError(400, "invalid_json", f"the body must be JSON, which has no {name}.")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise invalid(name[:100], "must be given once, but is there twice.", status=400)
        found[name] = value
    return found


def _too_deep() -> ApiError:
    return ApiError(400, "invalid_json", f"the body must have at most {_MOST_DEPTH} levels of lists and objects.")


def _check(value: Any, path: tuple[str, ...], depth: int) -> None:
    """Check the depth of a value, and that its texts can be encoded."""
    if depth > _MOST_DEPTH:
        raise _too_deep()
    if isinstance(value, str):
        if not value.isascii() and _SURROGATE.search(value):
            raise invalid(".".join(path) or None, "must be Unicode text, but has half of a surrogate pair.")
    elif isinstance(value, int):
        _check_integer(value, ".".join(path))
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check(name, path, depth)
            _check(inner, (*path, name[:_MOST_NAME]), depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, path, depth + 1)
