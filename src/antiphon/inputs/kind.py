"""The interface of a kind of input; the docstring of `antiphon.inputs` describes how to add one.

A row is one source as `read` returns it: a text, or the samples of a recording. The network reads a row as ids (L,) or
features (F, M).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import BinaryIO, ClassVar, Generic, NamedTuple, Self, TypeVar

from torch import Tensor

from antiphon.config import FamilyConfig, GenerationConfig, InputSettings, ModelConfig
from antiphon.config.generation import TIMED_SETTINGS
from antiphon.errors import ConfigError
from antiphon.inputs.embeddings import SourceEmbedding
from antiphon.inputs.limits import BoundedNetwork
from antiphon.inputs.pictures import SourcePicture
from antiphon.inputs.recordings import Recording
from antiphon.nn.noise import Noise
from antiphon.settings import show
from antiphon.text import Tokenizer

Row = TypeVar("Row")
Source = list[int] | Tensor  # the network's input for a row: ids, or features (F, M)


class SourceParts(NamedTuple):
    """The parts of one source, and the white space before each part; "" before the first."""

    parts: Sequence[Source]
    gaps: Sequence[str]


class InputKind(ABC, Generic[Row]):
    """The kind of a model's sources. Immutable; constructed from the settings of a model's family."""

    has_tokens: ClassVar[bool]
    """Whether sources are tokens: `max_source_tokens` bounds them, and published folders have their maximum length."""
    joins_text: ClassVar[bool] = False
    """Whether sources are texts, some of which have a file beside them: the encoder reads the text, which is otherwise
    a prompt of the decoder."""

    # For building a network and reading its folder.

    @classmethod
    @abstractmethod
    def of(cls, family: FamilyConfig | None, settings: InputSettings | None) -> Self | None:
        """The kind of a model of `family`, or with the settings of `model.input`; None if its sources are of another
        kind."""

    @abstractmethod
    def embedding(self, model: ModelConfig, ids: Callable[[], SourceEmbedding], noise: Noise) -> SourceEmbedding:
        """The module, freshly initialized, that turns sources into the encoder's input.

        `ids` creates the embedding of token ids, `noise` draws the bits of dropout.
        """

    def check_trainable(self) -> None:
        """ConfigError if a model with sources of this kind cannot be trained; its text follows "`model.base`: "."""

    def check_ctc(self) -> None:
        """ConfigError if a CTC head cannot read the encoder's output for sources of this kind; its text follows
        "`model.ctc`: "."""

    # For reading data: only kinds whose sources are files.

    @property
    def unit(self) -> str:
        """What the rows F of features (F, M) are: the plural of a noun, for messages and reports."""
        return "frames"

    def measure(self, file: BinaryIO, what: str) -> int:
        """The number of rows F of the features (F, M) of a source, from the head of its file, without decoding it.

        `what` names the source in errors. DataError for a file that is no source of this kind, or is too large.
        """
        raise NotImplementedError

    def check_length(self, length: int, *, max_length: int, what: str) -> None:
        """DataError, which names `what`, if features of `length` rows are too long for a network of `max_length`."""

    def load(self, file: BinaryIO, what: str) -> Row:
        """The source in an opened file. DataError, which names `what`, if it cannot be read."""
        raise NotImplementedError

    def features(self, row: Row) -> Tensor:
        """The features (F, M), float32, of a source."""
        raise NotImplementedError

    def longer(self, length: int, factor: float) -> int:
        """The largest number of rows of the features of a source of `length`, after augmentations that make it longer
        by at most `factor`."""
        return math.ceil((length + 1) * factor) if factor > 1 else length

    # For reading data: only kinds that join a file with its text.

    def joined_length(self, text: str) -> int:
        """The number of positions of the encoder of a source with a file and `text`."""
        raise NotImplementedError

    def joined(self, features: Tensor, text: str) -> Tensor:
        """The features (F, M) of a source with a file of `features` and `text`."""
        raise NotImplementedError

    def features_of_ids(self, ids: Sequence[int]) -> Tensor:
        """The features (F, M) of a source of ids without a file."""
        raise NotImplementedError

    def with_text(self, row: Row, text: str) -> Row:
        """The row of a file that `load` has read, with `text`."""
        raise NotImplementedError

    # For reading a user's inputs.

    def with_tokenizer(
        self, tokenizer: Tokenizer, *, template: str = "", prefixes: Sequence[str] = ()
    ) -> InputKind[Row]:
        """This kind with `tokenizer` for its texts; `self` for a kind without texts.

        `template` is the template of the training data, with `{}` for the text; `prefixes` are its tags and prefixes.
        """
        return self

    @abstractmethod
    def read(self, inputs: object, what: str, *, names: bool = True, template: bool = True) -> list[Row]:
        """The rows of a user's inputs: one source or several.

        `what` names the inputs in errors. Without `names`, names of files of another kind are refused; with `template`,
        texts are inserted into the template of the training data. DataError for anything that is no source of this
        kind.
        """

    def check_single(self, source: object) -> None:
        """DataError if `source` is certainly not a single source; called before `read`, which accepts several."""

    @abstractmethod
    def is_empty(self, row: Row) -> bool:
        """Whether a row is empty, so that its answer is empty."""

    @abstractmethod
    def parts(
        self, rows: Sequence[Row], *, network: BoundedNetwork, config: GenerationConfig, first_row: int = 0
    ) -> list[SourceParts]:
        """The parts of each row to be answered: none for an empty row, several if `config.overflow` splits it.

        Errors count rows from `first_row`. DataError for a row that is too long, ConfigError for a setting of `config`
        that this kind does not support.
        """

    @abstractmethod
    def whole(
        self, rows: Sequence[Row], *, network: BoundedNetwork, config: GenerationConfig, first_row: int = 0
    ) -> list[Source]:
        """Each row as one source, for scoring given answers; an empty row too.

        A row is never split: DataError for one that `parts` would split.
        """

    def text_tokens(self, source: Source) -> int | None:
        """The number of tokens of a source that is a text read as features; None for any other."""
        return None

    def picture(self, row: Row, *, positions: int) -> SourcePicture | None:
        """What a source looks like, with the places of the encoder's `positions`, for drawings; None for texts."""
        return None

    @property
    def position_seconds(self) -> float | None:
        """The seconds of sound from one position of the encoder to the next; None for sources without times."""
        return None

    def recordings(
        self, rows: Sequence[Row], *, config: GenerationConfig, first_row: int = 0
    ) -> Sequence[Recording | None]:
        """For each row the recording that is answered in windows, with timestamps; None for one that has `parts`.

        ConfigError for a setting of `config` about timestamps that this kind does not support.
        """
        default = GenerationConfig()
        for name in TIMED_SETTINGS:
            if getattr(config, name) != getattr(default, name):
                found = show(getattr(config, name))
                raise ConfigError(f"`{name}` needs a speech model with timestamps, but is {found}. Leave it out.")
        return [None] * len(rows)

    # For the decoder's prompt.

    def in_languages(
        self, family: FamilyConfig | None, *, source_language: str | None, target_language: str | None
    ) -> FamilyConfig | None:
        """The settings of the family for these languages, if the prompt contains them; None if the tokenizers do.

        ConfigError for a language that the model does not know.
        """
        return None

    def prompt(self, choice: int | None = None) -> tuple[int, ...] | None:
        """The prompt: ids after the decoder's start token, such as language and task; None for a kind without one.

        `choice` is one of `prompt_choices`; without it, the id that the model chooses is omitted.
        """
        return None

    @property
    def prompt_choices(self) -> tuple[int, ...]:
        """Ids of which the prompt contains the most probable one for a source; () if there is no choice."""
        return ()

    @property
    def prompt_length(self) -> int:
        """The number of ids in the prompt, the same for every choice."""
        return len(self.prompt(next(iter(self.prompt_choices), None)) or ())

    @property
    def never_first(self) -> tuple[int, ...]:
        """Ids that are suppressed as the first token of an answer."""
        return ()
