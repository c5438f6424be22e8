"""JSON schemas for OpenAPI: of the classes of `requests.py`, from their fields, and of the responses."""

from __future__ import annotations

import types
from dataclasses import MISSING, fields
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from antiphon.config import GenerationConfig
from antiphon.serving.http.requests import SEARCH
from antiphon.serving.service import InputName
from antiphon.settings import Range, Settings, field_docs, hints, plain

Schema = dict[str, Any]
_KINDS: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Any: {},
}


def of_class(
    kind: type[Settings],
    *,
    search: bool = False,
    extra: dict[str, Schema] | None = None,
    without: tuple[str, ...] = (),
) -> Schema:
    """The schema of a request; `search`: with the settings of the search, `without` some of them. `extra` replaces
    schemas of fields."""
    properties, required = {}, []
    for entry in fields(kind):
        properties[entry.name] = _field(kind, entry.name, entry.default)
        if entry.default is MISSING and entry.default_factory is MISSING:
            required.append(entry.name)
    if search:
        properties |= {
            name: of_hint(hints(GenerationConfig)[name]) | {"description": field_docs(GenerationConfig)[name]}
            for name in SEARCH
            if name not in properties and name not in without
        }
    for name, schema in (extra or {}).items():
        properties[name] = {"description": properties[name].get("description", ""), **schema}
    made: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**made, "required": required} if required else made


def _field(kind: type[Settings], name: str, default: Any) -> Schema:
    schema = of_hint(hints(kind)[name]) | {"description": field_docs(kind)[name]}
    return schema if default in (MISSING, None) else schema | {"default": plain(default)}


def of_hint(hint: Any) -> Schema:
    """The schema of a type as `antiphon.settings.convert` reads it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return of_hint(arguments[0]) | (_bounds(arguments[1]) if isinstance(arguments[1], Range) else {})
    if origin in (Union, types.UnionType):
        options = [{"type": "null"} if part is type(None) else of_hint(part) for part in arguments]
        return {"anyOf": options}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        return {"type": "array", "items": of_hint(arguments[0])}
    return dict(_KINDS[hint])


def _bounds(bound: Range) -> Schema:
    low = "exclusiveMinimum" if bound.open_low else "minimum"
    high = "exclusiveMaximum" if bound.open_high else "maximum"
    found = {low: bound.low, high: bound.high}
    return {name: value for name, value in found.items() if value is not None}


def obj(properties: dict[str, Schema], *, optional: tuple[str, ...] = ()) -> Schema:
    """An object of a response, whose properties are there but for the `optional` ones."""
    return {"type": "object", "properties": properties, "required": [n for n in properties if n not in optional]}


def array(items: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": items}


def nullable(schema: Schema) -> Schema:
    """A value that may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


STRING, NUMBER, INTEGER, BOOLEAN = (_KINDS[kind] for kind in (str, float, int, bool))
EVENTS = "text/event-stream"
# Of each event of a stream, as OpenAPI before 3.2 has it.
EVENT = {"type": "object", "properties": {"event": STRING, "data": STRING}, "required": ["data"]}
SPAN = {"type": "array", "items": INTEGER, "minItems": 2, "maxItems": 2}
_HYPOTHESIS = {
    "text": STRING,
    "tokens": array(STRING),
    "score": nullable(NUMBER),
    "confidence": nullable(NUMBER),
    "finished": BOOLEAN,
}
ALIGNMENT = array(obj({"source": SPAN, "target": SPAN, "weight": NUMBER}))
ANSWER = obj(
    {
        **_HYPOTHESIS,
        "alternatives": array({"type": "object"}),
        "probabilities": nullable({"type": "object", "additionalProperties": NUMBER}),
        "alignment": ALIGNMENT,
        "token_confidence": array(nullable(NUMBER)),
        "warnings": array(STRING),
    },
    optional=("probabilities", "alignment", "token_confidence", "warnings"),
)
MODEL = obj(
    {
        "name": STRING,
        "state": {"enum": ["unloaded", "loading", "ready", "restarting", "failed"]},
        "default": BOOLEAN,
        "task": nullable(STRING),
        "input": nullable({"enum": list(get_args(InputName))}),
        "images": BOOLEAN,
        "labels": array(STRING),
        "source_languages": array(STRING),
        "target_languages": array(STRING),
        "limits": {"type": "object"},
        "generation": {"type": "object"},
        "error": nullable(STRING),
        "card": {"type": "object"},
    },
    optional=("card",),
)
ERRORS: dict[str, Schema] = {
    "own": obj({"error": obj({"code": STRING, "field": nullable(STRING), "message": STRING})}),
    "libretranslate": obj({"error": STRING}),
    "deepl": obj({"message": STRING}),
    "openai": obj(
        {"error": obj({"message": STRING, "type": STRING, "param": nullable(STRING), "code": nullable(STRING)})}
    ),
}
