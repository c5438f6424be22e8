"""Settings of the tokenizers: one for both sides, or one for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from antiphon.settings import (
    Count,
    FlagText,
    Positive,
    Rate,
    SettingError,
    Settings,
    build,
    hints,
    inside,
    require,
    show,
)

TOKENIZER_KINDS = ("bpe", "unigram", "bytes", "characters", "words")


@dataclass(frozen=True)
class SideConfig(Settings):
    """One tokenizer."""

    kind: str = "bpe"
    """bpe, unigram, bytes, characters or words (between spaces), trained on the data; or the path of a tokenizer."""
    vocab_size: Count = 8000
    """Ids in the vocabulary, special ones included; for bytes and characters the size follows from the data."""
    normalize: Literal["nfc", "nfd", "nfkc", "nfkd"] | None = None
    """Unicode normal form of all texts; nfd separates accents from letters, and splits Hangul."""
    lowercase: bool = False
    """Convert all texts to lower case, answers too."""
    symbols: str | None = None
    """A regular expression: each of its matches in the training texts becomes one token, for example morphological
    features; the `tag` of a source always is one."""
    dropout: Rate = 0.0
    """BPE-dropout: the probability that a merge is skipped when a training text is encoded; redrawn in each epoch."""
    sampling: Positive | None = None
    """For unigram: sample the segmentation of training texts by its probability to this power; redrawn in each epoch;
    0.1 to 0.5 is usual."""

    def check(self) -> None:
        require(not self.dropout or self.kind == "bpe", "dropout", "needs `kind: bpe`", "For unigram set `sampling`.")
        fits = self.sampling is None or self.kind == "unigram"
        require(fits, "sampling", "needs `kind: unigram`", "For bpe set `dropout`.")


@dataclass(frozen=True)
class TokenizerConfig(SideConfig):
    sample_pairs: Count = 1_000_000
    """Of more than 256 MiB of training text: the pairs, drawn by the seed, on which a tokenizer is trained."""
    shared: bool = True
    """One tokenizer for source and target; false trains one for each."""
    source: object = None
    """Settings of a separate source tokenizer; the others are as above."""
    target: object = None
    """Settings of a separate target tokenizer; the others are as above."""

    def __post_init__(self) -> None:
        common = {field.name: getattr(self, field.name) for field in fields(SideConfig)}
        apart = self.source is not None or self.target is not None
        for name in ("source", "target"):
            with inside(name):
                object.__setattr__(self, name, _side(getattr(self, name), common) if apart else None)
        if apart:
            object.__setattr__(self, "shared", False)
        super().__post_init__()

    def check(self) -> None:
        if self.source is None:
            super().check()

    def of(self, side: str) -> SideConfig:
        """The settings of the `source`'s or the `target`'s tokenizer."""
        own = getattr(self, side)
        return self if own is None else own


@dataclass(frozen=True)
class VocabularyConfig(Settings):
    """`tokenizer` together with `model.base`: changes to the base's tokenizers. Trimming comes before adding."""

    trim: bool = False
    """Keep only the tokens that occur in the recipe's data, the tokens that these are made of, and special ones."""
    add: tuple[str, ...] = ()
    """Words that become one token each in the base's tokenizers, such as <de>; their embeddings are initialized with
    the mean of those of their former tokens."""


def changed_vocabulary(mapping: Mapping[str, object]) -> VocabularyConfig:
    """Read `tokenizer` together with a base; SettingError for a setting that only a new tokenizer can have."""
    for name in mapping:
        problem = f"must be left out beside `model.base`, which has tokenizers, but is {show(mapping[name])}"
        require(name not in hints(TokenizerConfig), name, problem, "Beside a base there are `trim` and `add`.")
    return build(VocabularyConfig, mapping)


def _side(value: object, common: Mapping[str, object]) -> SideConfig:
    value = value.meaning if isinstance(value, FlagText) else value
    if isinstance(value, SideConfig):
        return value
    if value is not None and not isinstance(value, Mapping):
        raise SettingError(
            (), f"must be a mapping of settings, but is {show(value)}", remedy="For example {kind: characters}."
        )
    # Dropout and sampling apply to one kind each: a side with another kind does not inherit them.
    own = dict(value or {})
    inherited = (
        common if own.get("kind", common["kind"]) == common["kind"] else {**common, "dropout": 0.0, "sampling": None}
    )
    return build(SideConfig, {**inherited, **own})
