"""The API of DeepL (developers.deepl.com/api-reference): translation of texts, languages, usage.

What the models cannot do, such as `formality`, is refused by its name. Errors are `{"message": ...}`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from antiphon.serving.http.admission import with_key
from antiphon.serving.http.bodies import FORM, JSON, make, read_fields
from antiphon.serving.http.calls import count_answer, count_inputs, while_connected
from antiphon.serving.http.context import context_of, record_of
from antiphon.serving.http.errors import JsonResponse, invalid
from antiphon.serving.http.language_names import name_of
from antiphon.serving.http.languages import AUTO
from antiphon.serving.http.openapi import described
from antiphon.serving.http.requests import check_texts, listed
from antiphon.serving.http.schemas import BOOLEAN, INTEGER, STRING, array, obj, of_class
from antiphon.serving.http.translating import TranslateOptions, sample, translate_each
from antiphon.settings import Settings

router = APIRouter(dependencies=[Depends(with_key)])
_TAG = "DeepL"
_FIELDS = ("source_lang", "target_lang")
_NO_LIMIT = 1_000_000_000_000  # what DeepL gives for an account without a limit
# DeepL has no target EN or PT: their client refuses these.
_VARIANTS = {"EN": ("EN-GB", "EN-US"), "PT": ("PT-BR", "PT-PT")}
_REGIONS = {"EN-GB": "British", "EN-US": "American", "PT-BR": "Brazilian", "PT-PT": "European"}
Flag01 = bool | Literal["0", "1"]  # forms send 0 and 1


@dataclass(frozen=True, kw_only=True)
class DeepLRequest(Settings):
    """What /v2/translate takes. Fields of DeepL that are not here are refused by name."""

    text: str | tuple[str, ...]
    """Texts; forms repeat the field."""
    target_lang: str
    """Code of the target language."""
    source_lang: str | None = None
    """Code of the source language; default: detect it."""
    tag_handling: Literal["html"] | None = None
    """html: keep the tags of HTML."""
    split_sentences: Literal["1", "nonewlines"] | None = None
    """Texts are always split into sentences; a line end ends one, unless tags are handled."""
    formality: Literal["default", "prefer_more", "prefer_less"] | None = None
    """The models have no formality; a preference is ignored."""
    preserve_formatting: Flag01 | None = None
    """The format is always preserved."""
    show_billed_characters: Flag01 | None = None
    """Whether to give the number of characters."""


@dataclass(frozen=True, kw_only=True)
class LanguagesRequest(Settings):
    """What /v2/languages takes."""

    type: Literal["source", "target"] = "source"
    """Which languages to list."""


_UNSUPPORTED = (
    "context", "glossary_id", "glossary_ids", "style_id", "translation_memory_id", "translation_memory_threshold",
    "custom_instructions", "tag_handling_version", "outline_detection", "non_splitting_tags", "splitting_tags",
    "ignore_tags", "model_type", "enable_beta_languages",
)  # fmt: skip
_RESULT = obj(
    {"detected_source_language": STRING, "text": STRING, "billed_characters": INTEGER}, optional=("billed_characters",)
)


@router.post(
    **described(
        "/v2/translate",
        "Translate texts.",
        tag=_TAG,
        answer=obj({"translations": array(_RESULT)}),
        body=dict.fromkeys((JSON, FORM), of_class(DeepLRequest)),
        example={"text": ["in 3 hours"], "source_lang": "EN", "target_lang": "DE"},
        answer_example={"translations": [{"detected_source_language": "EN", "text": "in 3 Stunden"}]},
    )
)
async def translate_texts(request: Request) -> Response:
    context = context_of(request)
    fields = await read_fields(request)
    fields.pop("auth_key", None)  # of old clients; the key is read from the header
    for name in fields:
        if name in _UNSUPPORTED:
            raise invalid(name, "is not supported by the models of this server. Leave it out.")
    body = make(DeepLRequest, fields)
    if body.split_sentences == "nonewlines" and body.tag_handling is None:
        raise invalid("split_sentences", "must be 1, since a line end ends a sentence of a plain text.")
    texts = listed(body.text)
    if not texts:
        raise invalid("text", "must have at least one text, but is empty.")
    check_texts("text", texts, context.settings, most=context.settings.max_items)
    html = body.tag_handling == "html"
    directions = [
        await context.direction(body.source_lang, body.target_lang, text=sample(text, html=html), fields=_FIELDS)
        for text in texts
    ]
    options = TranslateOptions(
        format="html" if html else "text", timeout_seconds=context.settings.request_timeout_seconds
    )
    for text, direction in zip(texts, directions, strict=True):
        count_inputs(request, [text], model=direction.model)
    found = await while_connected(request, translate_each(context, texts, directions, options))
    billed = body.show_billed_characters in (True, "1")
    results = []
    for text, direction, translation in zip(texts, directions, found, strict=True):
        count_answer(request, translation.text)
        code = (direction.source or body.source_lang or "").upper()
        made: dict[str, Any] = {"detected_source_language": code, "text": translation.text}
        results.append({**made, "billed_characters": len(text)} if billed else made)
    return JsonResponse({"translations": results})


_LANGUAGES = array(
    obj({"language": STRING, "name": STRING, "supports_formality": BOOLEAN}, optional=("supports_formality",))
)
_TYPE = {"enum": ["source", "target"], "default": "source"}


@router.get(
    **described("/v2/languages", "The languages of the models.", tag=_TAG, answer=_LANGUAGES, query={"type": _TYPE})
)
async def languages(request: Request) -> Response:
    kind = make(LanguagesRequest, await read_fields(request)).type  # their client sends a body with GET
    context = context_of(request)
    found = context.languages.listed(context.service.statuses())
    codes = list(found) if kind == "source" else sorted({code for targets in found.values() for code in targets})
    return JsonResponse([entry for code in codes if code != AUTO for entry in _entries(code.upper(), kind)])


def _entries(code: str, kind: str) -> list[dict[str, Any]]:
    if kind == "source":
        return [{"language": code, "name": name_of(code)}]
    variants = _VARIANTS.get(code, (code,))
    names = {each: f"{name_of(each)} ({_REGIONS[each]})" if each in _REGIONS else name_of(each) for each in variants}
    return [{"language": each, "name": name, "supports_formality": False} for each, name in names.items()]


@router.get(
    **described(
        "/v2/usage",
        "The characters that were translated with the key since the server started.",
        tag=_TAG,
        answer=obj({"character_count": INTEGER, "character_limit": INTEGER}),
    )
)
async def usage(request: Request) -> Response:
    used = context_of(request).keys.characters_of(record_of(request).key)
    return JsonResponse({"character_count": used, "character_limit": _NO_LIMIT})
