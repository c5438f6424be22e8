"""`antiphon.Client`: a model behind `antiphon serve`, with the methods of a loaded one.

    model = antiphon.load("runs/demo")                     # here
    model = antiphon.Client("http://127.0.0.1:8000")       # there; the rest of the script stays as it is
    model.generate(["in 3 hours"], beam_size=4)[0].text

It needs no PyTorch, except for `attention`.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from antiphon.config import GenerationConfig
from antiphon.errors import ConfigError, DataError, ModelError, WorkError
from antiphon.generation.answers import Answers
from antiphon.serving.call_settings import checked_settings, settings_of_rows
from antiphon.serving.client_inputs import IMAGES_IN_TEXTS, inputs_of, texts_of, with_prompts
from antiphon.serving.connection import Connection
from antiphon.serving.results import generation_of, maps_of
from antiphon.settings import build, show
from antiphon.utf8 import clean_text

if TYPE_CHECKING:
    from antiphon.generation.attention.maps import AttentionMaps

T = TypeVar("T")
# A text; for a model of speech or of images the path of a file; for one of texts with images also the path of an image,
# or {"image": path, "text": text}.
Input = str | Path | Mapping[str, Any]
Inputs = Input | Iterable[Input]

ROWS_A_REQUEST = 32  # enough for the server to fill its batches, and soon answered
CHARACTERS_A_REQUEST = 2**17  # far below the server's limit of a body


class Client:
    """A model that `antiphon serve` runs at `url`.

        with antiphon.Client("http://127.0.0.1:8000") as client:
            client.generate(["in 3 hours"], beam_size=4)

    `key` is an API key of the server. `model` is the name of one of its models; None: its default model. Inputs of more
    than a few rows are sent as several requests, of which `connections` run at the same time. A request that is refused
    because the server is busy, loading or not there is sent again when the server says (Retry-After), for at most
    `retry_seconds` after its first failure; 0: never. A request ends after `timeout_seconds`. A client may be used by
    several threads. Wrong settings and texts are the errors of `Model`; UsageError for a missing or wrong key,
    ModelError for an unknown model, WorkError if the server cannot be reached or fails.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        model: str | None = None,
        timeout_seconds: float = 300.0,
        retry_seconds: float = 30.0,
        connections: int = 4,
    ) -> None:
        if not timeout_seconds > 0:
            raise ConfigError(f"`timeout_seconds` must be above 0, but is {show(timeout_seconds)}.")
        if not retry_seconds >= 0:
            raise ConfigError(f"`retry_seconds` must be at least 0, but is {show(retry_seconds)}.")
        if connections < 1:
            raise ConfigError(f"`connections` must be at least 1, but is {show(connections)}.")
        self._connection = Connection(url, key=key, timeout_seconds=timeout_seconds, retry_seconds=retry_seconds)
        self._model, self._connections = model, connections
        self._lock = threading.Lock()
        self._info: dict[str, Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Calls that run in other threads end with an error."""
        self._connection.close()

    def __repr__(self) -> str:
        model = "" if self._model is None else f", model={self._model!r}"
        return f"Client({str(self._connection.url)!r}{model})"

    def models(self) -> list[dict[str, Any]]:
        """The models of the server as `GET /v1/models` describes them: name, state, task, labels, languages, limits."""
        return self._connection.get("/v1/models")["models"]

    @property
    def task(self) -> str:
        """The task that the model was trained for, by its name in a recipe."""
        return self._fact("task")

    @property
    def labels(self) -> list[str]:
        """The answers of a classification, in the order of the data's labels; empty for every other task."""
        return list(self._fact("labels"))

    @property
    def generation(self) -> GenerationConfig:
        """The default search settings."""
        return build(GenerationConfig, self._fact("generation"))

    def generate(self, texts: Inputs, *, first_row: int = 0, **settings: object) -> Answers:
        """One answer for each input, in their order, as `Model.generate`; `batch_size` bounds the inputs of a request.

        For a model of speech or of images the inputs are paths of files; for one of texts with images texts, a `Path`
        of an image, or {"image": path, "text": text}. If a request fails, the error is that of the first input that has
        no answer.
        """
        given, prompt = with_prompts(texts, settings.get("prompt"), "texts")
        settings |= {} if prompt is None else {"prompt": prompt}
        rows = inputs_of(given, "texts", self._takes)
        common, of_rows = settings_of_rows(checked_settings(settings), len(rows))
        most = common.pop("batch_size", None)

        def ask(start: int, end: int) -> list[dict[str, Any]]:
            own = {name: values[start:end] for name, values in of_rows.items()}
            body = self._body(inputs=rows[start:end], **common, **own, **_first_row(first_row + start))
            return self._connection.post("/v1/generate", body)["answers"]

        found = self._in_parts(ask, rows, most=most)
        for each in found:
            _warn(each, stacklevel=3)
        return Answers(map(generation_of, found))

    def stream(self, text: Input, *, first_row: int = 0, **settings: object) -> Iterator[str]:
        """The answer's text in pieces as soon as they are final, as `Model.stream`.

        Closing the iterator stops the work of the server.
        """
        if isinstance(text, Mapping):
            ((text,), settings["prompt"]) = with_prompts(text, settings.get("prompt"), "text")  # type: ignore[misc]
        if not isinstance(text, str | Path):
            raise DataError(f"`text` must be one text, but is {show(text)}. Call `generate` for several.")
        common = checked_settings(settings)
        common.pop("batch_size", None)
        inputs = inputs_of(text, "text", self._takes)
        body = self._body(inputs=inputs, stream=True, **common, **_first_row(first_row))
        return self._pieces(self._connection.events("/v1/generate", body))

    def _pieces(self, events: Iterator[dict[str, Any]]) -> Iterator[str]:
        for event in events:
            if event.get("text"):
                yield event["text"]
            elif "answer" in event:
                _warn(event["answer"], stacklevel=3)

    def score(
        self,
        sources: Inputs,
        targets: str | Sequence[str],
        *,
        overflow: str | None = None,
        max_source_tokens: int | None = None,
        prompt: str | Sequence[str | None] | None = None,
    ) -> list[float]:
        """For each pair the sum of the log-probabilities of the target's tokens and its end token, in nats; `prompt` as
        of `Model.score`."""
        sources, prompt = with_prompts(sources, prompt, "sources")  # type: ignore[assignment]
        rows, answers = inputs_of(sources, "sources", self._takes), texts_of(targets, "targets")
        if len(rows) != len(answers):
            counts = f"{len(rows)} sources and {len(answers)} targets"
            raise DataError(f"there must be one target for each source, but there are {counts}.")
        if not isinstance(prompt, str | list | tuple | None) or (
            isinstance(prompt, list | tuple) and (len(prompt) != len(rows))
        ):
            has = f"has {len(prompt)}" if isinstance(prompt, list | tuple) else f"is {show(prompt)}"
            raise ConfigError(f"`prompt` must be one text, or one for each of the {len(rows)} inputs, but {has}.")
        limits = _given(overflow=overflow, max_source_tokens=max_source_tokens)

        def ask(start: int, end: int) -> list[float]:
            own = prompt if isinstance(prompt, str | None) else list(prompt[start:end])
            body = self._body(sources=rows[start:end], targets=answers[start:end], **limits, **_given(prompt=own))
            return [float(score) for score in self._connection.post("/v1/score", body)["scores"]]

        return self._in_parts(ask, [f"{row}{answer}" for row, answer in zip(rows, answers, strict=True)])

    def attention(
        self,
        source: Input,
        target: str | None = None,
        *,
        overflow: str | None = None,
        max_source_tokens: int | None = None,
        prompt: str | None = None,
    ) -> AttentionMaps:
        """The attention weights of every layer and head for one pair; without a target, for the model's own answer.
        `prompt` as of `Model.attention`; the maps have no picture."""
        if isinstance(source, Mapping):
            (source,), found = with_prompts(source, prompt, "source")  # type: ignore[misc]
            prompt = found if isinstance(found, str) else found[0]  # type: ignore[index]
        for name, text, types in (("source", source, str | Path), ("target", target, str | None)):
            if not isinstance(text, types):
                raise DataError(f"`{name}` must be one text, but is {show(text)}.")
        limits = _given(overflow=overflow, max_source_tokens=max_source_tokens, prompt=prompt)
        texts = {"source": inputs_of(source, "source", self._takes)[0]}
        if target is not None:
            texts["target"] = clean_text(target)
        return maps_of(self._connection.post("/v1/attention", self._body(**texts, **limits)))

    def _in_parts(self, ask: Callable[[int, int], list[T]], rows: Sequence[str], *, most: int | None = None) -> list[T]:
        """The results of `ask(start, end)` for all rows, in their order; several parts at the same time."""
        if not rows:
            return []
        most = min(most or ROWS_A_REQUEST, self._most_rows()) if len(rows) > 1 else 1
        parts = list(_parts(rows, most=most))
        if len(parts) == 1:
            return ask(*parts[0])
        pool = ThreadPoolExecutor(min(self._connections, len(parts)), thread_name_prefix="antiphon-client")
        try:
            running = [pool.submit(ask, *part) for part in parts]
            return [found for each in running for found in each.result()]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # after an error the parts that run end by themselves

    def _most_rows(self) -> int:
        limits = self._facts().get("limits") or {}
        return min(ROWS_A_REQUEST, int(limits.get("max_items") or ROWS_A_REQUEST))

    def _takes(self) -> str:
        facts = self._facts()
        if facts.get("task") is None:  # a lazy model is loaded by its first call
            return ""
        return IMAGES_IN_TEXTS if facts.get("images") else facts.get("input") or "text"

    def _fact(self, name: str) -> Any:
        """A fact about the model; WorkError if the server has not loaded it yet."""
        facts = self._facts()
        if facts.get(name) is None:
            raise WorkError(f"the server knows nothing about the model yet: it is {facts.get('state')}. Try again.")
        return facts[name]

    def _facts(self) -> dict[str, Any]:
        """The description of the model, which is asked for until the server has loaded it."""
        with self._lock:
            if self._info is None or self._info.get("task") is None:
                self._info = self._find()
            return self._info

    def _find(self) -> dict[str, Any]:
        models = self.models()
        chosen = [
            each for each in models if (each.get("default") if self._model is None else each["name"] == self._model)
        ]
        if not chosen:
            names = ", ".join(each["name"] for each in models)
            raise ModelError(f"`model` must be one of those that the server has ({names}), but is {show(self._model)}.")
        return chosen[0]

    def _body(self, **fields: Any) -> dict[str, Any]:
        return {**_given(model=self._model), **fields}


def _warn(answer: Mapping[str, Any], *, stacklevel: int) -> None:
    """Warn of what the server noticed about an answer, in the code that called the client."""
    for message in answer.get("warnings") or ():
        warnings.warn(message, stacklevel=stacklevel)


def _parts(rows: Sequence[str], *, most: int) -> Iterator[tuple[int, int]]:
    """The [start, end) of each request: at most `most` rows and CHARACTERS_A_REQUEST, but at least one row."""
    start = characters = 0
    for place, row in enumerate(rows):
        characters += len(row)
        if place > start and (place - start == most or characters > CHARACTERS_A_REQUEST):
            yield start, place
            start, characters = place, len(row)
    yield start, len(rows)


def _first_row(row: int) -> dict[str, int]:
    return {"first_row": row} if row else {}


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
