"""What a family of checkpoints is: a translation of its config and a table of its weights, each read both ways.

    T5 = Family("t5", "T5ForConditionalGeneration", T5Keys, ours=..., theirs=..., rows=...)

`ours` turns the family's own config (a `Settings` class with the keys that are read, each with its bounds) into a model
and its attention; `theirs` turns them back, or says what the family cannot express. `rows` lists the weights: what they
call it, what we call it, and how one becomes the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

from torch import Tensor

from antiphon.config import AttentionConfig, FamilyConfig, ModelConfig
from antiphon.config.family import MOST_IDS, Id
from antiphon.errors import ModelError
from antiphon.models.folders.stored import WeightFiles
from antiphon.settings import Range, Settings

Size = Annotated[int, Range(low=1, high=2**18)]
Layers = Annotated[int, Range(low=0, high=256)]
Vocabulary = Annotated[int, Range(low=1, high=MOST_IDS)]

# What most families do not know: settings, and the only value that they have.
UNKNOWN_TO_MOST: dict[str, Any] = {
    "decoder_kv_heads": None, "decoder_d_model": None, "output_cap": None, "rounds_scale": False,
}  # fmt: skip

# Settings of models of our own, in which a family's record says what its checkpoints have instead: their defaults.
OURS_ALONE: dict[str, Any] = {"final_norm": None, "norm_eps": None, "embedding_scale": None, "output_bias": False}


class Inexpressible(ModelError):
    """A family cannot say this of a model. `what`: the message alone, to which each surface adds its own `remedy`."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what} {remedy}".rstrip())
        self.what = what


@dataclass(frozen=True)
class Op:
    """How a tensor of theirs becomes ours, and back; `shape` is the shape of theirs, from that of ours."""

    ours: Callable[[Tensor], Tensor]
    theirs: Callable[[Tensor], Tensor]
    shape: Callable[[tuple[int, ...]], tuple[int, ...]]


def _same(value: Any) -> Any:
    return value


SAME = Op(_same, _same, _same)
TRANSPOSED = Op(lambda x: x.T.contiguous(), lambda x: x.T.contiguous(), lambda shape: shape[::-1])
ONE_ROW = Op(lambda x: x[0], lambda x: x[None], lambda shape: (1, *shape))


@dataclass(frozen=True)
class WeightName:
    """One weight: their key, our name."""

    theirs: str
    ours: str
    op: Op = SAME


@dataclass(frozen=True)
class Tables:
    """Their keys of the three tables: of source ids, of target ids, and of the output. `shared` and `tied` say which of
    them are one table here."""

    source: str
    target: str
    output: str
    shared: bool
    tied: bool

    def rows(self) -> list[WeightName]:
        """The tables, each once."""
        rows = [WeightName(self.source, "source.table.weight")]
        rows += [] if self.shared else [WeightName(self.target, "target.table.weight")]
        return rows if self.tied else [*rows, WeightName(self.output, "output.weight")]


@dataclass(frozen=True)
class TableKeys:
    """Where a family keeps its tables: one for all, and those that stand apart where they differ.

    `unties`: transformers reads the sides' tables apart too where the output has its own. `ties`: it makes all three
    one where the output is tied.
    """

    shared: str
    source: str
    target: str
    output: str
    unties: bool = False
    ties: bool = False

    def find(self, stored: WeightFiles, *, one_table: bool = True) -> Tables:
        """Which of them a checkpoint has; names for one table are one where they hold the same bits.

        With `one_table` both sides have one table, which then has any of the names. What config.json says of ties is
        not asked: old and new libraries wrote different things under one word.
        """
        aliases = [key for key in (self.shared, self.source, self.target, self.output) if key in stored]
        usual = aliases[0] if one_table and aliases else self.shared
        source = self.source if self.source in stored else usual
        target = self.target if self.target in stored else usual
        output = self.output if self.output in stored else target
        there = all(key in stored for key in (source, target, output))
        shared = stored.equal(source, target) if there else source == target
        tied = stored.equal(output, target) if there else output == target
        return Tables(source, target, output, shared, tied)

    def place(self, *, shared: bool, tied: bool) -> Tables:
        """Where they go when a checkpoint is written."""
        source, target = (self.shared, self.shared) if shared else (self.source, self.target)
        return Tables(source, target, target if tied else self.output, shared, tied)

    def copies(self, tables: Tables) -> dict[str, str]:
        """What is written besides for transformers, each the copy of another key: a table that it would not find, or
        would take for another one."""
        if self.unties and tables.shared and not tables.tied:
            return {self.source: self.shared, self.target: self.shared}
        return {self.output: tables.target} if self.ties and tables.tied and not tables.shared else {}

    def all(self) -> set[str]:
        """All of these keys."""
        return {self.shared, self.source, self.target, self.output}


@dataclass(frozen=True)
class TranslatedCheckpoint:
    """A checkpoint in our words."""

    model: ModelConfig
    attention: AttentionConfig
    tables: Tables
    source_vocab: int
    target_vocab: int

    @property
    def family(self) -> FamilyConfig:
        """The record of what only the family needs."""
        assert self.model.family is not None
        return self.model.family


@dataclass(frozen=True)
class Keys(Settings):
    """The keys of a config.json that every family reads; a subclass has its own besides. What is no field is not read.

    Ids of the search stand here, though generation_config.json may say them too.
    """

    pad_token_id: Id | None = None
    bos_token_id: Id | None = None
    eos_token_id: Id | tuple[Id, ...] | None = None
    decoder_start_token_id: Id | None = None
    forced_bos_token_id: Id | None = None
    forced_eos_token_id: Id | tuple[Id, ...] | None = None
    bad_words_ids: tuple[tuple[Id, ...], ...] | None = None
    suppress_tokens: tuple[Id, ...] | None = None

    @property
    def one_table(self) -> bool:
        """Whether source and target have one table of vectors, so that each of its names means the same."""
        return True

    def special_ids(self) -> dict[str, Any]:
        """The ids of `FamilyConfig`; ModelError where there is more than one end."""
        ends = [_single("eos_token_id", self.eos_token_id), _single("forced_eos_token_id", self.forced_eos_token_id)]
        end = next((id for id in ends if id is not None), None)
        if end is None or self.pad_token_id is None:
            raise ModelError("`eos_token_id` and `pad_token_id` must be given in config.json, but are not both there.")
        if ends[1] not in (None, end):
            raise ModelError(f"`forced_eos_token_id` must be `eos_token_id` ({end}), but is {ends[1]}.")
        start = self.decoder_start_token_id
        return {
            "pad_id": self.pad_token_id,
            "start_id": self.pad_token_id if start is None else start,
            "end_id": end,
            "first_id": self.forced_bos_token_id,
            "closes": ends[1] is not None,
            "never_ids": self._never(),
        }

    def _never(self) -> tuple[int, ...]:
        words = self.bad_words_ids or ()
        if longer := [word for word in words if len(word) != 1]:
            raise ModelError(
                f"`bad_words_ids` must be single ids, but one has {len(longer[0])}. Take it out of "
                "generation_config.json (without that file, of config.json), and set `forbidden` to its text."
            )
        return tuple(sorted({id for word in words for id in word} | {*(self.suppress_tokens or ())}))


def _single(name: str, ids: int | tuple[int, ...] | None) -> int | None:
    """The one id of several spellings of one; ModelError where there are more."""
    found = ids if isinstance(ids, tuple) else (ids,)
    if len(set(found)) != 1:
        raise ModelError(f"`{name}` must be one id, but is {len(found)} ids, which no search here has.")
    return found[0]


def their_special_ids(family: FamilyConfig) -> dict[str, Any]:
    """The inverse of `Keys.special_ids`."""
    return {
        "pad_token_id": family.pad_id,
        "eos_token_id": family.end_id,
        "decoder_start_token_id": family.start_id,
        "forced_bos_token_id": family.first_id,
        "forced_eos_token_id": family.end_id if family.closes else None,
        "suppress_tokens": family.never_ids or None,
    }


@dataclass(frozen=True)
class Family:
    """One kind of checkpoint. `ignored` are the keys that files hold without need: constants, and what is not of the
    encoder-decoder. `prefix` may be absent from all their keys. `float16` says whether that type is safe.

    Of the keys `searched` stand in generation_config.json, where there is one, and `preprocessed` in
    preprocessor_config.json, which holds what `preprocessor` says too."""

    name: str
    architecture: str
    keys: type[Any]
    ours: Callable[[Any, WeightFiles, Tables], TranslatedCheckpoint]
    theirs: Callable[[TranslatedCheckpoint], Settings]
    rows: Callable[[TranslatedCheckpoint], list[WeightName]]
    tables: TableKeys
    ignored: frozenset[str] = frozenset()
    prefix: str = ""
    float16: bool = True
    searched: tuple[str, ...] = ()
    preprocessed: tuple[str, ...] = ()
    preprocessor: Mapping[str, Any] = field(default_factory=dict)


def per_layer(theirs: str, ours: str, count: int, pairs: Iterable[tuple[str, str]]) -> list[WeightName]:
    """Rows of `count` layers: "{}" in both prefixes is the layer's number."""
    return [WeightName(theirs.format(i) + a, ours.format(i) + b) for i in range(count) for a, b in pairs]


def refuse_unless(holds: bool, family: str, what: str) -> None:
    """Raises Inexpressible: the family cannot express `what`."""
    if not holds:
        raise Inexpressible(f"a model to be written as {family} must have {what}, but has not.")


def check_plain(ours: TranslatedCheckpoint, family: str, defaults: Mapping[str, Any]) -> None:
    """Inexpressible where a setting has another value than the only one that the family knows."""
    for name, value in defaults.items():
        of_model = name not in OURS_ALONE and name in {field.name for field in fields(ModelConfig)}
        section: Any = ours.model if of_model else ours.family
        found = getattr(section, name)
        refuse_unless(found == value, family, f"`{name}` {value!r} (it is {found!r})")
    for name, value in OURS_ALONE.items():
        found = getattr(ours.model, name)
        refuse_unless(found == value, family, f"`model.{name}` {value!r} (it is {found!r})")
