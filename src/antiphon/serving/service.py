"""What the HTTP interface asks of the models: the interface between `serving/http` and `serving/process`.

    async for event in service.generate(GenerateCall(inputs=["in 3 hours"], settings={"beam_size": 1})):
        match event:
            case TextPiece(index=index, text=text): ...      # only with `stream`: text that is never taken back
            case Answered(index=index, answer=answer): ...   # one for each input, in any order

Everything here is plain data, so that it can pass between processes as JSON.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Detail = Literal["alignment", "token_confidence", "seconds"]
InputName = Literal["text", "speech", "image"]
ModelState = Literal["unloaded", "loading", "ready", "restarting", "failed"]


@dataclass(frozen=True, kw_only=True)
class GenerateCall:
    """A request for answers.

    `inputs` are texts, or for a model of speech or of images the bytes of files. `settings` are those of
    `Model.generate`.
    `model` None is the default model. `stream` asks for `TextPiece` events too. `details` are computed for each answer.
    After `timeout_seconds`, the waiting time included, the call ends with `CallTimeout`. `cached` False: the answers
    are computed although they are in the cache. `first_row` is the row of the first input, on which sampling depends,
    where the inputs are a part of a longer list.
    """

    inputs: Sequence[str | bytes]
    settings: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    stream: bool = False
    details: Sequence[Detail] = ()
    timeout_seconds: float | None = None
    cached: bool = True
    first_row: int = 0


@dataclass(frozen=True, slots=True)
class TextPiece:
    """A piece of the answer to input `index`; joined, the pieces are its text."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to input `index`, as an object of `antiphon generate --json`.

    With the detail `alignment` it has a key `alignment`: a list of objects with `source` and `target`, which are
    [start, end) in characters of the input and of the answer, and `weight` between 0 and 1. With the detail
    `token_confidence` it has a key `token_confidence`: the probability of each of `tokens`; with `seconds` a key
    `seconds`: the length of a recording. `warnings` are messages for the user, for example that a text was cut.
    """

    index: int
    answer: dict[str, Any]
    warnings: tuple[str, ...] = ()


Event = TextPiece | Answered


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """Facts about a loaded model.

    `input` is `speech` for a model that takes recordings, `image` for one that takes images; `images`: it takes texts,
    and images beside them; `timestamps`: its answers may have them. `languages` has the codes of the languages of
    sources and answers, empty where the model does not name them; `pairs` are the (source, target) pairs that it
    translates, empty if every pair of `languages`. `generation` are the default search settings. `limits` has
    `max_source_tokens` and `max_new_tokens`. `card` are facts for a page: the sizes of the network, attention, data,
    metrics.
    """

    task: str
    input: InputName
    images: bool = False
    timestamps: bool = False
    labels: tuple[str, ...] = ()
    source_languages: tuple[str, ...] = ()
    target_languages: tuple[str, ...] = ()
    generation: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelStatus:
    """A served model. `info` is None until it was loaded once; `error` says why it failed."""

    name: str
    state: ModelState
    info: ModelInfo | None = None
    error: str | None = None
    restarts: int = 0
    queued: int = 0
    running: int = 0


class ServiceError(Exception):
    """A call that was not answered. `code` is for programs, `field` the field of the request that is wrong."""

    code = "internal"
    status = 500

    def __init__(self, message: str, *, field: str | None = None, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.message, self.field, self.retry_after_seconds = message, field, retry_after_seconds


class BadInput(ServiceError):
    """A setting or a text that is wrong (ConfigError and DataError of the model)."""

    code, status = "invalid", 422


class UnreadableInput(BadInput):
    """The bytes of an input are no recording, or no image, that can be read."""

    code, status = "unreadable", 400


class UnknownModel(ServiceError):
    """No model of that name is served."""

    code, status = "unknown_model", 404


class Overloaded(ServiceError):
    """Too many calls wait. `retry_after_seconds` is an estimate of when a place is free."""

    code, status = "overloaded", 429


class Unavailable(ServiceError):
    """The model is loading, restarting, or the server is shutting down."""

    code, status = "unavailable", 503


class CallTimeout(ServiceError):
    """The answer was not ready in time."""

    code, status = "timeout", 504


class ModelService(Protocol):
    """Models by name, each in a process of its own. Closing the iterator of `generate` cancels its call."""

    def statuses(self) -> list[ModelStatus]:
        """All models; the first one is the default."""
        ...

    def generate(self, call: GenerateCall) -> AsyncIterator[Event]:
        """The events of a call. Raises a ServiceError, at the first event or later."""
        ...

    async def score(
        self,
        sources: Sequence[str | bytes],
        targets: Sequence[str],
        *,
        model: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> list[float]:
        """`Model.score`; `settings` may have its `overflow` and `max_source_tokens`."""
        ...

    async def attention(
        self,
        source: str | bytes,
        target: str | None = None,
        *,
        model: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """`Model.attention` as an object: `source_tokens`, `target_tokens`, `source_special`, `target_special`,
        `start`, and the maps `cross`, `encoder` and `decoder`, which are nested lists (layer, head, query, key), null
        for a mixer or a head without weights. `settings` may have `overflow` and `max_source_tokens`."""
        ...

    def metrics(self) -> dict[str, Any]:
        """Figures as plain numbers: of the cache under `cache`, of each model by its name under `models`."""
        ...

    async def load(self, name: str) -> ModelStatus:
        """Load a model that is configured but not loaded; waits until it is ready."""
        ...

    async def unload(self, name: str) -> ModelStatus:
        """End the process of a model after its running calls."""
        ...

    async def start(self) -> None:
        """Start the processes of the models that are loaded from the beginning; returns before they are ready."""
        ...

    async def drain(self, timeout_seconds: float) -> None:
        """Refuse new calls (`Unavailable`) and wait for the running ones."""
        ...

    async def stop(self) -> None:
        """End all processes."""
        ...
