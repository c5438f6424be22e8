"""A family of checkpoints: translations of its config and names of its weights, in both directions.

    T5 = Family("t5", "T5ForConditionalGeneration", T5Keys, ours=..., theirs=..., rows=...)

`ours` converts the config of the family (a `Settings` class with the keys that are read, each with bounds) to a model
and its attention. `theirs` is the inverse; it raises Inexpressible for what the family does not support. `rows` lists
the weights: their names in the family and here, and the conversion of the values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

import torch
from torch import Tensor

from antiphon.config import AttentionConfig, FamilyConfig, ModelConfig
from antiphon.config.family import MOST_IDS, Id
from antiphon.errors import ModelError
from antiphon.models.folders.stored import WeightFiles
from antiphon.settings import Range, Settings

Size = Annotated[int, Range(low=1, high=2**18)]
Layers = Annotated[int, Range(low=0, high=256)]
Vocabulary = Annotated[int, Range(low=1, high=MOST_IDS)]

# Settings that most families do not have, with the only value that they support.
UNKNOWN_TO_MOST: dict[str, Any] = {
    "decoder_kv_heads": None, "decoder_d_model": None, "output_cap": None, "rounds_scale": False,
    "unscaled_id": None, "vision": None,
}  # fmt: skip

# Settings of few families, which check_plain compares with these values unless a family has its own.
OF_FEW: dict[str, Any] = {
    "decoder_activation": None, "ffn_bias": None, "norm_bias": True, "rotary_width": None, "input": "text",
    "decoder_norm_placement": None, "decoder_norm_eps": None, "encoder_qkv_bias": True, "memory_projection": False,
}  # fmt: skip

# Defaults of settings that a family's own settings replace.
OURS_ALONE: dict[str, Any] = {
    "final_norm": None,
    "norm_eps": None,
    "embedding_scale": None,
    "output_bias": False,
    "ctc": False,
}


class Inexpressible(ModelError):
    """A family does not support a property of a model. `what`: the message without the `remedy`, which callers add."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what} {remedy}".rstrip())
        self.what = what


@dataclass(frozen=True)
class Op:
    """Conversion of a tensor from the family to our layout, and back; `shape`: the family's shape, given ours."""

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
    """The names of one weight: the family's key and ours.

    `part` (i, n): it is part i of n equal parts of the rows of the family's tensor, whose other parts are weights too.
    """

    theirs: str
    ours: str
    op: Op = SAME
    part: tuple[int, int] = (0, 1)

    def read(self, tensor: Tensor) -> Tensor:
        """Our weight, from the family's tensor."""
        return self.op.ours(tensor.chunk(self.part[1])[self.part[0]])

    def shape(self, ours: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the family's tensor, given that of our weight."""
        first, *others = self.op.shape(ours)
        return (first * self.part[1], *others)


def their_weights(rows: Iterable[WeightName], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a family, from our weights; parts of one tensor are joined."""
    parts: dict[str, list[tuple[int, Tensor]]] = {}
    for row in rows:
        parts.setdefault(row.theirs, []).append((row.part[0], row.op.theirs(ours[row.ours])))
    whole = {name: [tensor for _, tensor in sorted(found, key=lambda part: part[0])] for name, found in parts.items()}
    return {name: found[0] if len(found) == 1 else torch.cat(found) for name, found in whole.items()}


@dataclass(frozen=True)
class Tables:
    """The family's keys of the three tables: source embedding, target embedding, output. `shared`: source and target
    have one table; `tied`: target and output have one."""

    source: str
    target: str
    output: str
    shared: bool
    tied: bool

    def rows(self) -> list[WeightName]:
        """The weights of the tables, each once."""
        rows = [WeightName(self.source, "source.table.weight")]
        rows += [] if self.shared else [WeightName(self.target, "target.table.weight")]
        return rows if self.tied else [*rows, WeightName(self.output, "output.weight")]


@dataclass(frozen=True)
class TableKeys:
    """The keys of a family's tables: one for a common table, and one for each separate table.

    `unties`: with a separate output table, transformers also reads separate tables of source and target. `ties`: with a
    tied output, it uses one table for all three.
    """

    shared: str
    source: str
    target: str
    output: str
    unties: bool = False
    ties: bool = False

    def find(self, stored: WeightFiles, *, one_table: bool = True) -> Tables:
        """The tables of a checkpoint. Keys with bit-equal values are one table.

        With `one_table` source and target have one table, under any of the keys. The ties in config.json are ignored,
        since old and new libraries wrote different values under one name.
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
        """The keys of the tables in a checkpoint to be written."""
        source, target = (self.shared, self.shared) if shared else (self.source, self.target)
        return Tables(source, target, target if tied else self.output, shared, tied)

    def copies(self, tables: Tables) -> dict[str, str]:
        """Further keys to write for transformers, each with the key that it copies: tables that it would not find, or
        would replace by another one."""
        if self.unties and tables.shared and not tables.tied:
            return {self.source: self.shared, self.target: self.shared}
        return {self.output: tables.target} if self.ties and tables.tied and not tables.shared else {}

    def all(self) -> set[str]:
        """All of these keys."""
        return {self.shared, self.source, self.target, self.output}


@dataclass(frozen=True)
class TranslatedCheckpoint:
    """A checkpoint translated to our config."""

    model: ModelConfig
    attention: AttentionConfig
    tables: Tables
    source_vocab: int
    target_vocab: int

    @property
    def family(self) -> FamilyConfig:
        """The settings that only the family has."""
        assert self.model.family is not None
        return self.model.family


@dataclass(frozen=True)
class Keys(Settings):
    """The keys of config.json that every family reads; subclasses add their own. Other keys are not read.

    Includes ids of the search, which generation_config.json may have too.
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
        """Whether source and target have one embedding table, so that each of its keys means the same."""
        return True

    def special_ids(self) -> dict[str, Any]:
        """The special ids of `FamilyConfig`; ModelError if there is more than one end."""
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
    """The single id of a key that may be an id or a list of one; ModelError for several ids."""
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
    """A family of checkpoints. `ignored`: keys of weight files that are not needed, such as constants; `unread`:
    beginnings of such keys. `modules`: beginnings of keys that the modules of transformers have under another name than
    its files, with that name. `prefix` may be missing from all keys. `float16`: whether that type is safe. `sections`:
    the sections of config.json that have a `model_type` of their own, each with those that are built; the last one has
    the ids and the vocabulary.

    The keys in `searched` are in generation_config.json, if it exists, those in `preprocessed` in
    preprocessor_config.json, which has the values of `preprocessor` too."""

    name: str
    architecture: str
    keys: type[Any]
    ours: Callable[[Any, WeightFiles, Tables], TranslatedCheckpoint]
    theirs: Callable[[TranslatedCheckpoint], Settings]
    rows: Callable[[TranslatedCheckpoint], list[WeightName]]
    tables: TableKeys
    ignored: frozenset[str] = frozenset()
    unread: tuple[str, ...] = ()
    modules: tuple[tuple[str, str], ...] = ()
    prefix: str = ""
    float16: bool = True
    searched: tuple[str, ...] = ()
    preprocessed: tuple[str, ...] = ()
    preprocessor: Mapping[str, Any] = field(default_factory=dict)
    sections: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def describes(self, config: Mapping[str, Any]) -> bool:
        """Whether the sections of a config.json are those of the family."""
        parts = {name: config.get(name) for name in self.sections}
        return all(
            isinstance(part, Mapping) and part.get("model_type") in self.sections[name] for name, part in parts.items()
        )

    def flat(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """A config.json with the keys of its last section beside its own."""
        section = config.get(list(self.sections)[-1]) if self.sections else None
        return {**section, **config} if isinstance(section, Mapping) else config

    def in_modules(self, key: str) -> str:
        """The name in the modules of transformers of a weight that its files call `key`."""
        pair = next(((old, new) for old, new in self.modules if key.startswith(old)), ("", ""))
        return pair[1] + key.removeprefix(pair[0])


def per_layer(theirs: str, ours: str, count: int, pairs: Iterable[tuple[str, str]]) -> list[WeightName]:
    """The weights of `count` layers; "{}" in both prefixes is the number of the layer."""
    return [WeightName(theirs.format(i) + a, ours.format(i) + b) for i in range(count) for a, b in pairs]


def refuse_unless(holds: bool, family: str, what: str) -> None:
    """Raise Inexpressible unless `holds`: the family requires `what`."""
    if not holds:
        raise Inexpressible(f"a model to be written as {family} must have {what}, but has not.")


def check_plain(ours: TranslatedCheckpoint, family: str, defaults: Mapping[str, Any]) -> None:
    """Inexpressible if a setting differs from the only value that the family supports."""
    for name, value in {**OF_FEW, **defaults}.items():
        of_model = name not in OURS_ALONE and name in {field.name for field in fields(ModelConfig)}
        section: Any = ours.model if of_model else ours.family
        found = getattr(section, name)
        refuse_unless(found == value, family, f"`{name}` {value!r} (it is {found!r})")
    for name, value in OURS_ALONE.items():
        found = getattr(ours.model, name)
        refuse_unless(found == value, family, f"`model.{name}` {value!r} (it is {found!r})")
