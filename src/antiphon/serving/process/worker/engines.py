"""The engine for a model."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

from antiphon.generation.answers import Generation
from antiphon.generation.translator import Translator
from antiphon.serving.process.worker.one_call import OneCallEngine

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


def engine_of(model: Translator) -> StepEngine:
    """The engine that answers inputs of `model`."""
    return OneCallEngine(model)
