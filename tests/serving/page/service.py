"""A service of models for the tests of the page: answers word by word from a small dictionary.

`dates` translates en to de, `many` several languages, `labels` classifies, `ears` takes recordings, `eyes` and `kinds`
images, `echo` repeats its input, `later` is loaded by its first call, `stopped` only by the route for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from antiphon.serving.service import (
    Answered,
    BadInput,
    Event,
    GenerateCall,
    ModelInfo,
    ModelStatus,
    Overloaded,
    ServiceError,
    TextPiece,
    Unavailable,
)

WORDS = {"hours": "Stunden", "months": "Monaten", "ago": "her", "Monday": "Montag"}
OTHERS = ("Tagen", "Wochen", "Jahren")  # in place of any word
DATES = ModelInfo(
    task="translation",
    input="text",
    generation={"beam_size": 4, "length_penalty": 1.0},
    limits={"max_source_tokens": 128, "max_new_tokens": 127},
    card={"parameters": 1_129_600, "data": {"train": "16800 pairs"}, "metrics": {"exact_match": 98.75}},
)
INFOS = {
    "dates": DATES,
    "many": replace(DATES, source_languages=("en", "de", "fr"), target_languages=("de", "en")),
    "labels": replace(DATES, task="classification", labels=("good", "bad")),
    "ears": replace(DATES, task="text", input="speech"),
    "eyes": replace(DATES, task="caption", input="image"),
    "kinds": replace(DATES, task="classification", input="image", labels=("good", "bad")),
    "echo": replace(DATES, task="text", card={}),
    "later": DATES,
    "stopped": DATES,
}


def _spans(text: str) -> list[list[int]]:
    spans, at = [], 0
    for word in text.split():
        at = text.index(word, at)
        spans.append([at, at + len(word)])
        at += len(word)
    return spans


def answer_of(text: str, call: GenerateCall, prefix: str | None) -> dict[str, Any]:
    """The answer of the dictionary, which continues `prefix`; the second token of each answer is uncertain."""
    given = (prefix or "").split()
    if call.model == "echo":
        words = text.split(" ")
    else:
        words = [*given, *(WORDS.get(word, word) for word in text.split()[len(given) :])]
    made = _hypothesis(words, call, score=-0.25)
    if "alignment" in call.details:
        pairs = zip(_spans(text), _spans(made["text"]), strict=False)
        made["alignment"] = [{"source": source, "target": target, "weight": 0.75} for source, target in pairs]
    if "token_confidence" in call.details:
        made["token_confidence"] = [0.5 if place == 1 else 0.99 for place in range(len(made["tokens"]))]
    count = int(call.settings.get("n_best") or 1)
    changed = [[*words[: len(given)], other, *words[len(given) + 1 :]] for other in OTHERS]
    made["alternatives"] = [_hypothesis(each, call, score=-1.0 - n) for n, each in enumerate(changed[: count - 1])]
    if call.model in ("labels", "kinds"):
        made |= {"text": "good", "tokens": ["good"], "probabilities": {"good": 0.8, "bad": 0.2}}
    return made


def _hypothesis(words: list[str], call: GenerateCall, *, score: float) -> dict[str, Any]:
    words = words[: call.settings.get("max_new_tokens")]
    tokens = [f"▁{word}" for word in words]
    facts = {"score": score, "confidence": 0.9, "finished": True, "alternatives": []}
    return {"text": " ".join(words), "tokens": tokens, **facts}


class PageService:
    """A `ModelService`. `calls` and `cancelled` are for assertions.

    A text with "slow" waits before each piece. "refuse" is refused, "broken" fails. The first call with "busy" is
    refused, since too many wait.
    """

    def __init__(self) -> None:
        self._models = {name: ModelStatus(name=name, state="ready", info=info) for name, info in INFOS.items()}
        for name in ("later", "stopped"):
            self._models[name] = ModelStatus(name=name, state="unloaded")
        self.calls: list[GenerateCall] = []
        self.cancelled = 0
        self.busy = 1

    def statuses(self) -> list[ModelStatus]:
        return list(self._models.values())

    async def generate(self, call: GenerateCall) -> AsyncIterator[Event]:
        self.calls.append(call)
        name = call.model or "dates"
        if self._models[name].state == "unloaded":
            if name == "stopped":
                raise Unavailable("the model stopped is not loaded. Load it.", retry_after_seconds=1)
            await self.load(name)
        prefixes = call.settings.get("prefix")
        try:
            for index, given in enumerate(call.inputs):
                text = f"heard {len(given)} bytes" if isinstance(given, bytes) else given
                self._refuse(text)
                prefix = prefixes[index] if isinstance(prefixes, list | tuple) else prefixes
                answer = answer_of(text, replace(call, model=name), prefix)
                if call.stream:
                    for place, word in enumerate(answer["text"].split(" ")):
                        await asyncio.sleep(0.3 if "slow" in text else 0)
                        yield TextPiece(index, word if place == 0 else f" {word}")
                yield Answered(index, answer)
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise

    def _refuse(self, text: str) -> None:
        if "refuse" in text:
            raise BadInput("the source has 300 tokens, but at most 128 can be read.", field="inputs")
        if "broken" in text:
            raise ServiceError("the computation failed.")
        if "busy" in text and self.busy:
            self.busy -= 1
            raise Overloaded("too many calls wait.", retry_after_seconds=1)

    async def score(self, sources: Sequence[str | bytes], targets: Sequence[str], **_: Any) -> list[float]:
        return [-float(len(target)) for target in targets]

    async def attention(self, source: str, target: str | None = None, **_: Any) -> dict[str, Any]:
        read = [*(f"▁{word}" for word in source.split()), "</s>"]
        made = [*(f"▁{word}" for word in (target or source).split()), "</s>"]

        def maps(rows: int, columns: int) -> list[Any]:
            one = [[0.8 if row == column else 0.2 / columns for column in range(columns)] for row in range(rows)]
            return [[one, one] for _ in range(2)]

        sizes = {"cross": (len(made), len(read)), "encoder": (len(read),) * 2, "decoder": (len(made),) * 2}
        found = {role: maps(*size) for role, size in sizes.items()}
        return {"source_tokens": read, "target_tokens": made, **found}

    async def load(self, name: str) -> ModelStatus:
        self._models[name] = ModelStatus(name=name, state="ready", info=INFOS[name])
        return self._models[name]

    async def unload(self, name: str) -> ModelStatus:
        self._models[name] = ModelStatus(name=name, state="unloaded", info=INFOS[name])
        return self._models[name]

    async def start(self) -> None:
        pass

    async def drain(self, timeout_seconds: float) -> None:
        pass

    async def stop(self) -> None:
        pass
