"""The interface of a kind of input; `antiphon.inputs` says how to add one.

A row is one source as `read` returns it: a text, or the samples of a recording. What the network reads of a row is ids
(L,) or features (F, M).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Generic, NamedTuple, Self, TypeVar

from torch import Tensor

from antiphon.config import FamilyConfig, GenerationConfig, ModelConfig
from antiphon.inputs.embeddings import SourceEmbedding
from antiphon.inputs.limits import BoundedNetwork
from antiphon.nn.noise import Noise
from antiphon.text import Tokenizer

Row = TypeVar("Row")
Source = list[int] | Tensor  # what the network reads of a row: ids, or features (F, M)


class SourceParts(NamedTuple):
    """The parts of one source, and the white space that stood before each, which is none before the first."""

    parts: Sequence[Source]
    gaps: Sequence[str]


class InputKind(ABC, Generic[Row]):
    """What the sources of a model are. It is immutable, and made from the settings of a model's family."""

    has_tokens: ClassVar[bool]
    """Whether sources are tokens: `max_source_tokens` bounds them, and published folders state their usual length."""

    # What a network and its folder need.

    @classmethod
    @abstractmethod
    def of(cls, family: FamilyConfig | None) -> Self | None:
        """The kind of a model of `family`; None where its sources are of another kind."""

    @abstractmethod
    def embedding(self, model: ModelConfig, ids: Callable[[], SourceEmbedding], noise: Noise) -> SourceEmbedding:
        """The module with fresh weights that turns sources into what the encoder reads.

        `ids` makes the embedding of token ids, `noise` draws the bits of dropout.
        """

    def check_trainable(self) -> None:
        """ConfigError where a model with sources of this kind cannot be trained; it follows "`model.base`: "."""

    # What a user's inputs are.

    def with_tokenizer(
        self, tokenizer: Tokenizer, *, template: str = "", prefixes: Sequence[str] = ()
    ) -> InputKind[Row]:
        """The kind, its texts encoded by `tokenizer`; itself for a kind without texts.

        `template` is what stood around the texts of the training data, `prefixes` are what stood before them.
        """
        return self

    @abstractmethod
    def read(self, inputs: object, what: str, *, names: bool = True, template: bool = True) -> list[Row]:
        """The rows of what a user gives: one source or several.

        `what` names the inputs in errors. Without `names`, names of files of another kind are refused; with `template`,
        texts are put into the template of the training data. DataError for anything that is no source of this kind.
        """

    def check_single(self, source: object) -> None:
        """DataError where `source` is surely not one source, but several; called before `read`, which takes both."""

    @abstractmethod
    def is_empty(self, row: Row) -> bool:
        """Whether a row has nothing in it, so that its answer is empty."""

    @abstractmethod
    def parts(
        self, rows: Sequence[Row], *, network: BoundedNetwork, config: GenerationConfig, first_row: int = 0
    ) -> list[SourceParts]:
        """What is answered of each row: no part of an empty one, several of one that `config.overflow` splits.

        Errors count rows from `first_row`. DataError for a row that is too long, ConfigError for a setting of `config`
        that does not go with this kind.
        """

    @abstractmethod
    def whole(
        self, rows: Sequence[Row], *, network: BoundedNetwork, config: GenerationConfig, first_row: int = 0
    ) -> list[Source]:
        """What is read of each row where answers are given and only scored: one part, of an empty row too.

        A row is never split: one that `parts` would split is a DataError.
        """

    def check_attention(self) -> None:
        """ModelError where the attention maps of a model with such sources cannot be shown."""

    # What the decoder is asked with.

    def in_languages(
        self, family: FamilyConfig | None, *, source_language: str | None, target_language: str | None
    ) -> FamilyConfig | None:
        """The settings of the family for these languages, where the prompt names them; None where the tokenizers do.

        ConfigError for a language that the model does not know.
        """
        return None

    def prompt(self, choice: int | None = None) -> tuple[int, ...] | None:
        """The ids behind the decoder's start token that say what is asked for; None for a kind without a prompt.

        `choice` is one of `prompt_choices`; without it, what the model would have to choose is left out.
        """
        return None

    @property
    def prompt_choices(self) -> tuple[int, ...]:
        """Ids of which the prompt holds the one that the model finds most probable for a source; () for none."""
        return ()

    @property
    def prompt_length(self) -> int:
        """How many ids the prompt has, whichever is chosen."""
        return len(self.prompt(next(iter(self.prompt_choices), None)) or ())

    @property
    def never_first(self) -> tuple[int, ...]:
        """Ids that no answer begins with."""
        return ()
