"""Answers of models that do not run in the engine: classifiers, and models that transformers computes.

Inputs that wait, with equal settings, are answered together by one `generate`. Such a call cannot be interrupted: it
has at most MAX_ROWS inputs.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from antiphon.errors import UsageError
from antiphon.generation.answers import Generation
from antiphon.generation.translator import Translator
from antiphon.text.kinds import first_media_name

MAX_ROWS = 16


@dataclass(eq=False, slots=True)
class PendingInput:
    """An input that waits."""

    input: Any
    row: int
    settings: dict[str, Any]


class OneCallEngine:
    """The methods of an engine over `generate`."""

    def __init__(self, model: Translator) -> None:
        self._model = model
        self._pending: deque[PendingInput] = deque()

    @property
    def busy(self) -> bool:
        """Whether an input waits."""
        return bool(self._pending)

    def submit(self, text: Any, *, row: int, stream: bool, settings: dict[str, Any]) -> PendingInput:
        """Queue an input. Its errors are raised by `step`."""
        pending = PendingInput(text, row, settings)
        self._pending.append(pending)
        return pending

    def cancel(self, handle: PendingInput) -> None:
        """Forget an input, if it still waits."""
        if handle in self._pending:
            self._pending.remove(handle)

    def step(self) -> list[tuple[PendingInput, str | Generation | Exception]]:
        """Answer the first inputs that wait, or find their errors."""
        if not self._pending:
            return []
        batch = [self._pending.popleft()]
        while self._pending and len(batch) < MAX_ROWS and self._goes_with(batch, self._pending[0]):
            batch.append(self._pending.popleft())
        found = self._answers(batch)
        if isinstance(found, UsageError) and len(batch) > 1:
            # One of them is wrong: each alone, so that the others are answered.
            return list(itertools.chain.from_iterable(self._results([each], self._answers([each])) for each in batch))
        return self._results(batch, found)

    def _goes_with(self, batch: Sequence[PendingInput], other: PendingInput) -> bool:
        """Whether an input can be in the same call: the next row, with equal settings. Sampled ones run alone, since
        the samples of transformers depend on the batch."""
        last = batch[-1]
        settings, usual = last.settings, self._model.generation
        sampled = settings.get("temperature", usual.temperature) is not None or bool(
            settings.get("fallback_temperatures", usual.fallback_temperatures)
        )
        return other.settings == last.settings and other.row == last.row + 1 and not sampled

    def _answers(self, batch: Sequence[PendingInput]) -> list[Generation] | Exception:
        first, inputs = batch[0], [each.input for each in batch]
        if first.row == 0 and all(isinstance(one, str) for one in inputs) and first_media_name(inputs) is not None:
            inputs.append("")  # `generate` refuses names of files alone, but here a client asks for any text
        try:
            return list(self._model.generate(inputs, first_row=first.row, **first.settings))[: len(batch)]
        except Exception as error:
            return error

    def _results(
        self, batch: Sequence[PendingInput], found: list[Generation] | Exception
    ) -> list[tuple[PendingInput, str | Generation | Exception]]:
        if isinstance(found, Exception):
            return [(each, found) for each in batch]
        return list(zip(batch, found, strict=True))
