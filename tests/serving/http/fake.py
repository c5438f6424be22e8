"""A service of models for the tests of the HTTP interface: answers at once, or when a test lets it.

The model `dates` translates en to de by upper case; `echo` names no languages; `ears` takes recordings,
`eyes` images.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from antiphon.serving.service import (
    Answered,
    BadInput,
    CallTimeout,
    Event,
    GenerateCall,
    ModelInfo,
    ModelStatus,
    Overloaded,
    TextPiece,
    Unavailable,
    UnknownModel,
    UnreadableInput,
)

SECRET = "secret detail of the crash"  # what no response and no log may have
LIMITS = {"max_source_tokens": 256, "max_new_tokens": 512}
DATES = ModelInfo(
    task="translation",
    input="text",
    generation={"beam_size": 4},
    limits=LIMITS,
    card={"parameters": 1_100_000, "metrics": {"bleu": 92.3}},
)
SPEECH = ModelInfo(task="text", input="speech", limits=LIMITS)
IMAGES = ModelInfo(task="caption", input="image", limits=LIMITS)


def answer_of(text: str, call: GenerateCall) -> dict[str, Any]:
    """What the service answers: upper case, a token a word, words aligned one by one."""
    made = text.upper()
    words = made.split()
    found: dict[str, Any] = {"text": made, "tokens": words, "score": -0.5, "confidence": 0.9, "finished": True}
    count = int(call.settings.get("n_best", 1))
    found["alternatives"] = [{**found, "text": f"{made} {number}"} for number in range(2, count + 1)]
    if "alignment" in call.details:
        found["alignment"], at = [], 0
        for word in words:
            at = made.index(word, at)
            span = [at, at + len(word)]
            found["alignment"].append({"source": span, "target": span, "weight": 1.0})
            at += len(word)
    if "token_confidence" in call.details:
        found["token_confidence"] = [0.9] * len(words)
    if "seconds" in call.details:
        found["seconds"] = 1.0
    return found


class FakeService:
    """A `ModelService`. `pause` makes calls wait; `running`, `cancelled` and `calls` are for assertions. The next
    `overloads` calls after `overload_after` ones are refused; `unspellable`: those with required phrases are. The
    models of `on_demand` are loaded by calls.

    A text of "refuse", "overload", "die", "late" or "crash" raises what a real service raises, and "crash" what it does
    not.
    """

    def __init__(self) -> None:
        self._models = {
            "dates": ModelStatus(name="dates", state="ready", info=DATES),
            "echo": ModelStatus(name="echo", state="ready", info=replace(DATES, task="text", card={})),
            "ears": ModelStatus(name="ears", state="ready", info=SPEECH),
            "eyes": ModelStatus(name="eyes", state="ready", info=IMAGES),
            "later": ModelStatus(name="later", state="unloaded"),
        }
        self._loop: asyncio.AbstractEventLoop | None = None
        self._held: asyncio.Event | None = None
        self.calls: list[GenerateCall] = []
        self.running = self.cancelled = 0
        self.drained = self.stopped = self.unspellable = False
        self.overloads = self.overload_after = 0
        self.on_demand: set[str | None] = set()

    def statuses(self) -> list[ModelStatus]:
        return list(self._models.values())

    async def generate(self, call: GenerateCall) -> AsyncIterator[Event]:
        self._ready(call.model)
        self._refuse(call)
        self.calls.append(call)
        self.running += 1
        try:
            if self._held is not None:
                await self._held.wait()
            for index, text in enumerate(call.inputs):
                self._check(call.model, text)
                if text == b"broken":
                    raise UnreadableInput("recording 1 of `inputs` cannot be read.", field="inputs")
                if isinstance(text, bytes):
                    text = f"{'saw' if call.model == 'eyes' else 'heard'} {len(text)} bytes"
                self._raise(text)
                answer = answer_of(text, call)
                if call.stream:
                    for piece in answer["text"].split(" "):
                        await asyncio.sleep(0.001)
                        yield TextPiece(index, piece + " ")
                yield Answered(index, answer, ("the text was cut.",) if text == "warn" else ())
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    def _refuse(self, call: GenerateCall) -> None:
        if self.unspellable and "required" in call.settings:
            raise BadInput("`required` must be phrases that the vocabulary can spell.", field="required")
        if self.overloads and self.overload_after <= 0:
            self.overloads -= 1
            raise Overloaded("too many calls wait.", retry_after_seconds=0.05)
        self.overload_after -= 1

    def pause(self) -> None:
        """Make calls wait until `resume`; both may be called from another thread."""
        self._held = asyncio.Event()

    def resume(self) -> None:
        """Answer the calls that wait."""
        held, self._held = self._held, None
        if held is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(held.set)

    def _check(self, model: str | None, given: object) -> None:
        """Refuse a text where the model takes files, and a file where it takes texts alone."""
        info = self._models[model or "dates"].info
        if info is not None and not info.images and (info.input == "text") != isinstance(given, str):
            raise BadInput(f"`inputs` must be of the kind {info.input}.", field="inputs")

    @staticmethod
    def _raise(text: str) -> None:
        if text == "refuse":
            raise BadInput("`max_source_tokens` must be at least 300, but is 256.", field="inputs")
        if text == "overload":
            raise Overloaded("too many calls wait.", retry_after_seconds=2.5)
        if text == "die":
            raise Unavailable("the model is restarting.")
        if text == "late":
            raise CallTimeout("the answer was not ready within 120 seconds.")
        if text == "crash":
            raise RuntimeError(SECRET)

    async def score(
        self,
        sources: Sequence[str | bytes],
        targets: Sequence[str],
        *,
        model: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> list[float]:
        self._ready(model)
        for source in sources:
            self._check(model, source)
            self._raise(str(source))
        return [-float(len(target)) for target in targets]

    async def attention(
        self,
        source: str | bytes,
        target: str | None = None,
        *,
        model: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        self._ready(model)
        if self._held is not None:
            await self._held.wait()
        self._check(model, source)
        names = (source.split() if isinstance(source, str) else [f"{len(source)} bytes"]) or [""]
        weights = [[[[1.0] * len(names)] * len(names)]]
        special = [False] * len(names)
        return {
            "source_tokens": names, "target_tokens": names, "source_special": special, "target_special": special,
            "start": "<s>", "cross": weights, "encoder": None, "decoder": weights,
        }  # fmt: skip

    def _ready(self, name: str | None) -> None:
        if name in self.on_demand:
            self._set(name, "ready")
        found = self._models.get(name or "dates")
        if found is None:
            raise UnknownModel(f"there is no model {name}.", field="model")
        if found.state != "ready":
            raise Unavailable(f"the model `{name}` is {found.state}.", retry_after_seconds=3)

    def metrics(self) -> dict[str, Any]:
        return {
            "cache": {"entries": 3, "hits": 2},
            "models": {"dates": {"steps": 7, "memory_bytes": 1000, "queued": 0}},
        }

    async def load(self, name: str) -> ModelStatus:
        return self._set(name, "ready")

    async def unload(self, name: str) -> ModelStatus:
        return self._set(name, "unloaded")

    def _set(self, name: str, state: Any) -> ModelStatus:
        self._models[name] = replace(self._models[name], state=state, info=self._models[name].info or DATES)
        return self._models[name]

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    async def drain(self, timeout_seconds: float) -> None:
        self.drained = True

    async def stop(self) -> None:
        self.stopped = True
