"""Files: LibreTranslate's route, which answers when the file is done, and ours, which show the progress."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from antiphon.documents import FORMATS, Document, Protection, read_file
from antiphon.errors import UsageError
from antiphon.language_codes import short_code
from antiphon.serving.http.admission import admit, key_of, with_key
from antiphon.serving.http.bodies import MULTIPART, Upload, make, parse_json, read_multipart
from antiphon.serving.http.calls import count_inputs, while_connected
from antiphon.serving.http.context import ServerContext, context_of, record_of
from antiphon.serving.http.errors import ApiError, JsonResponse, from_service, from_setting, invalid
from antiphon.serving.http.files import FileJob
from antiphon.serving.http.logs import log_failure
from antiphon.serving.http.openapi import NAMED, described
from antiphon.serving.http.requests import PROTECTED, read_glossary
from antiphon.serving.http.schemas import INTEGER, STRING, array, nullable, obj, of_class
from antiphon.serving.http.translating import TranslateOptions, translate_documents
from antiphon.serving.service import ServiceError
from antiphon.settings import Settings

R = TypeVar("R", bound=Settings)
router = APIRouter()
_TAG = "files"
_SAMPLE = 50  # segments that the language is detected by


@dataclass(frozen=True, kw_only=True)
class LibreFileRequest(Settings):
    """What /translate_file takes beside `file`."""

    source: str
    """Code of the source language, or auto."""
    target: str
    """Code of the target language."""
    api_key: str | None = None
    """A key, where the server needs one."""


@dataclass(frozen=True, kw_only=True)
class FileRequest(Settings):
    """What /v1/files takes beside `file`."""

    source: str | None = None
    """Code of the source language; auto: detect it."""
    target: str | None = None
    """Code of the target language."""
    model: str | None = None
    """Name of a served model; default: the first one that translates the pair."""
    glossary: str | None = None
    """Phrases of the source and how each is translated, as a JSON object."""
    protect: tuple[PROTECTED, ...] = ()
    """What is copied unchanged; the field may be repeated."""


_FILE = {"type": "string", "format": "binary", "description": f"A file: {', '.join(FORMATS)}."}
_JOB = obj(
    {
        "id": STRING,
        "state": {"enum": ["waiting", "running", "done", "failed"]},
        "done": INTEGER,
        "total": INTEGER,
        "download": nullable(STRING),
        "error": nullable(STRING),
        "warnings": array(STRING),
    }
)


def _body(kind: type[Settings]) -> dict[str, Any]:
    schema = of_class(kind)
    required = ["file", *schema.get("required", [])]
    return {MULTIPART: {**schema, "properties": {"file": _FILE, **schema["properties"]}, "required": required}}


@router.post(
    **described(
        "/translate_file",
        "Translate a file, and answer with the address of the result.",
        tag="LibreTranslate",
        answer=obj({"translatedFileUrl": STRING}),
        body=_body(LibreFileRequest),
    )
)
async def translate_file(request: Request) -> Response:
    fields, upload = await _read(request)
    key = fields.get("api_key")
    admit(request, key_of(request) or (str(key) if isinstance(key, str) and key else None))
    body = make(LibreFileRequest, fields)
    job, work = _job(request, upload, FileRequest(source=body.source, target=body.target))
    await while_connected(
        request, context_of(request).files.run(job, work), seconds=context_of(request).settings.file_seconds
    )
    return JsonResponse({"translatedFileUrl": job.as_json(str(request.base_url))["download"]})


@router.get(
    **described(
        "/download_file/{name}",
        "A translated file. Its name cannot be guessed, and no key is needed.",
        tag="LibreTranslate",
        contents={"application/octet-stream": {"type": "string", "format": "binary"}},
        errors=NAMED,
    )
)
async def download(request: Request, name: str) -> Response:
    job = context_of(request).files.result(name)
    suffix = PurePath(job.name).suffix.lower()
    quoted = quote(PurePath(job.name).name.encode("utf-8", "replace"))
    headers = {
        "Content-Type": "application/octet-stream",  # never shown as a page of this server
        "Content-Disposition": f"attachment; filename=\"translated{suffix}\"; filename*=UTF-8''{quoted}",
        "Cache-Control": "private, no-store",
    }
    return Response(job.result, headers=headers)


@router.post(
    **described(
        "/v1/files",
        "Begin to translate a file.",
        tag=_TAG,
        answer=_JOB,
        body=_body(FileRequest),
        status=202,
        errors=NAMED,
    ),
    dependencies=[Depends(with_key)],
)
async def begin(request: Request) -> Response:
    context = context_of(request)
    fields, upload = await _read(request)
    if isinstance(protect := fields.get("protect"), str):
        fields["protect"] = [str(protect)] if protect else []
    job, work = _job(request, upload, make(FileRequest, fields))
    context.activity.add_job(asyncio.create_task(_in_background(context, job, work)))
    return JsonResponse(job.as_json(str(request.base_url)), status=202)


@router.get(
    **described("/v1/files/{id}", "How far the translation of a file is.", tag=_TAG, answer=_JOB, errors=NAMED),
    dependencies=[Depends(with_key)],
)
async def progress(request: Request, id: str) -> Response:
    job = context_of(request).files.find(id, record_of(request).key)
    return JsonResponse(job.as_json(str(request.base_url)))


async def _read(request: Request) -> tuple[dict[str, Any], Upload]:
    fields, files = await read_multipart(request)
    if set(files) != {"file"}:
        wrong = next((name for name in files if name != "file"), None)
        raise invalid("file", "must be given as a file.") if wrong is None else invalid(wrong, "is not a known field.")
    return fields, files["file"]


def _job(request: Request, upload: Upload, body: FileRequest) -> tuple[FileJob, Callable[[FileJob], Awaitable[bytes]]]:
    """The job for a file, and its work."""
    if PurePath(upload.name).suffix.lower() not in FORMATS:
        raise invalid("file", f"must be one of {', '.join(FORMATS)}, but is `{upload.name[:100]}`.")
    context = context_of(request)
    if body.model is not None:
        context.status_of(body.model)
    protection = Protection(body.protect, read_glossary(parse_json(body.glossary.encode()) if body.glossary else None))
    job = FileJob(name=upload.name, owner=record_of(request).key, size=len(upload.content))
    context.files.add(job)

    async def work(job: FileJob) -> bytes:
        return await _translated(request, job, upload, body, protection)

    return job, work


async def _translated(
    request: Request, job: FileJob, upload: Upload, body: FileRequest, protection: Protection
) -> bytes:
    """The translated file; ApiError for one that cannot be read or translated."""
    context = context_of(request)

    def read(language: str | None) -> Document:
        return read_file(upload.name, upload.content, language=language, protection=protection)

    try:
        # Read twice where the language is detected: the sentences depend on it.
        document = await asyncio.to_thread(read, None)
        words = " ".join(segment.text for segment in document.segments[:_SAMPLE])
        direction = await context.direction(body.source, body.target, text=words, model=body.model)
        if direction.source is not None:
            document = await asyncio.to_thread(read, short_code(direction.source))
        count_inputs(request, [segment.text for segment in document.segments], model=direction.model)
        options = TranslateOptions(
            protection=protection,
            patient=True,
            progress=job.progress,
            timeout_seconds=context.settings.file_seconds,
        )
        (translation,) = await translate_documents(context, [document], direction, options)
    except ServiceError as error:
        raise from_service(error) from None
    except UsageError as error:
        raise from_setting(error) from None
    job.warnings += translation.warnings
    content = translation.joined.content
    return content if isinstance(content, bytes) else content.encode()


async def _in_background(context: ServerContext, job: FileJob, work: Callable[[FileJob], Awaitable[bytes]]) -> None:
    try:
        await context.files.run(job, work)
    except ApiError:
        pass  # it is in the job
    except Exception:
        log_failure(f"the file job {job.id} failed")
