"""The engine for a model: the one that goes on running, or calls of `generate`, one after the other."""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import Any, Protocol

from antiphon.config import GenerationConfig
from antiphon.generation.answering import AnswerCall, AnsweringEngine, Failure, NewText
from antiphon.generation.answers import Generation
from antiphon.generation.model import Model
from antiphon.generation.translator import Translator
from antiphon.serving.process.worker.one_call import OneCallEngine
from antiphon.settings import override

_MOST_CONFIGS, _LONGEST_KEY = 128, 2000

Result = str | Generation | Exception  # a piece of text that is never taken back; the answer; or why there is none


class StepEngine(Protocol):
    """What computes answers step by step."""

    @property
    def busy(self) -> bool:
        """Whether there is anything left to compute."""
        ...

    def submit(self, text: Any, *, row: int, stream: bool, settings: dict[str, Any]) -> Hashable:
        """Take an input, which is row `row` of its call, and return a handle. Raises the errors of `generate`."""
        ...

    def cancel(self, handle: Any) -> None:
        """Forget an input, before the next step."""
        ...

    def step(self) -> list[tuple[Any, Result]]:
        """Compute a step. Returns what it brought, with the handles."""
        ...


class RunningEngine:
    """An AnsweringEngine in which each input is a call of its own, so that each can be cancelled and can fail alone."""

    def __init__(self, model: Model) -> None:
        self._model, self._engine = model, AnsweringEngine(model)
        self._configs: dict[str, GenerationConfig] = {}  # of settings that were asked for lately, as JSON

    @property
    def busy(self) -> bool:
        return self._engine.busy

    def submit(self, text: Any, *, row: int, stream: bool, settings: dict[str, Any]) -> AnswerCall:
        return self._engine.put([text], self._config(settings), stream=stream, first_row=row, names=True)

    def _config(self, settings: dict[str, Any]) -> GenerationConfig:
        """The settings of an input. Calls repeat theirs, and the check of all takes as long as a step of a small
        model."""
        key = json.dumps(settings, sort_keys=True)
        config = self._configs.get(key)
        if config is None:
            config = override(self._model.generation, settings)
            if len(self._configs) >= _MOST_CONFIGS:
                self._configs.clear()
            if len(key) <= _LONGEST_KEY:
                self._configs[key] = config
        return config

    def cancel(self, handle: AnswerCall) -> None:
        self._engine.cancel(handle)

    def step(self) -> list[tuple[AnswerCall, Result]]:
        found: list[tuple[AnswerCall, Result]] = []
        for call, event in self._engine.step():
            if isinstance(event, NewText):
                found.append((call, event.text))
            else:
                found.append((call, event.error if isinstance(event, Failure) else event.generation))
        return found


def engine_of(model: Translator) -> StepEngine:
    """The engine that answers inputs of `model`. Labels are scored in batches, which take one step."""
    return RunningEngine(model) if isinstance(model, Model) and not model.labels else OneCallEngine(model)
