"""The methods of every loaded model, whichever library computes it: text in, text out.

`antiphon.load` returns a `Translator`: a `Model`, whose network is ours, or an `HFModel`, whose network is
transformers'. Code that needs more than these methods, `Model.parts` for example, requires a `Model`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from antiphon.config import GenerationConfig
from antiphon.generation.answers import Answers
from antiphon.generation.attention.maps import AttentionMaps


class TextTokenizer(Protocol):
    """Text to ids and back."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text, including the end token if the task has one."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, without special tokens."""
        ...

    def tokens(self, text: str) -> list[str]:
        """The tokens of a text, without special tokens."""
        ...


@runtime_checkable
class Translator(Protocol):
    """A model with its tokenizers and search settings. `Model` documents each method."""

    @property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer of sources."""
        ...

    @property
    def source_tokenizer(self) -> TextTokenizer:
        """The tokenizer of sources."""
        ...

    @property
    def target_tokenizer(self) -> TextTokenizer:
        """The tokenizer of targets."""
        ...

    @property
    def task(self) -> str:
        """What the model was trained for, as a recipe names it."""
        ...

    @property
    def labels(self) -> Sequence[str]:
        """The answers of a classification, in the order of the data's labels; empty for every other task."""
        ...

    @property
    def label_texts(self) -> Mapping[str, str]:
        """The answer that stands for each label of a classification's data; empty for every other task."""
        ...

    @property
    def generation(self) -> GenerationConfig:
        """The search settings that are used where none are given."""
        ...

    def generate(self, texts: Any, *, first_row: int = 0, **settings: object) -> Answers:
        """One answer for each text, in their order."""
        ...

    def stream(self, text: Any, *, first_row: int = 0, **settings: object) -> Iterator[str]:
        """The answer to one text in pieces; joined they are its text."""
        ...

    def score(self, sources: Any, targets: str | Sequence[str], *, overflow: str | None = None) -> list[float]:
        """For each pair the sum of the log-probabilities of the target's tokens and its end, in nats."""
        ...

    def attention(
        self, source: str, target: str | None = None, *, overflow: str | None = None, prompt: str | None = None
    ) -> AttentionMaps:
        """The attention weights for one pair; ModelError for a model that has none to show."""
        ...

    def save(self, folder: str | Path, format: str = "antiphon") -> Path:
        """Write a model folder."""
        ...
