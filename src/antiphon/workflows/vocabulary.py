"""Changes to the vocabulary of a base: `tokenizer: {trim: true, add: [...]}` together with `model.base`.

    parts, summary = trim_vocabulary(parts, config)     # only the tokens that the data uses; their logits are unchanged
    parts = add_words(parts, ["<de>"])

The vector of a new word is the mean of the vectors of the tokens that it consisted of, so that its logit is at most the
largest of theirs. All other vectors are unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from antiphon.config import FamilyConfig, TrainConfig
from antiphon.config.ids import MOST_IDS
from antiphon.data import DataReport, Mixture, filters_of
from antiphon.errors import ConfigError
from antiphon.models.build import build_network
from antiphon.models.folders.checkpoint import Parts, named_weights, put_weights
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.text import Task, Tokenizer
from antiphon.text.extending import extend, spelling
from antiphon.text.trimming import Trimmed, trim

_TABLES = {  # the weights with a row for each id, and the side of the ids
    "source.table.weight": "source",
    "target.table.weight": "target",
    "output.weight": "target",
    "output_bias": "target",
    "ctc.linear.weight": "target",
    "ctc.linear.bias": "target",
}
_BLANK_LAST = ("ctc.linear.weight", "ctc.linear.bias")  # their last row is no id
TextsOf = Callable[[], Iterator[str]]
_COMPARED_TEXTS = 1000  # texts whose tokens before and after trimming are compared
_CHUNK_TEXTS = 1000  # texts encoded in one call


def fresh_network(
    parts: Parts, *, source: int | None = None, target: int | None = None, seed: int = 0
) -> EncoderDecoder:
    """A network of the same shape with fresh weights, initialized by `seed`, and embedding tables of `source` and
    `target` rows.

    None: as many rows as the existing network has, which may be more than the ids of its tokenizer.
    """
    old = parts.network
    sizes = old.table_sizes
    return build_network(
        parts.model,
        parts.attention,
        source_vocab=source or sizes[0],
        target_vocab=target or sizes[1],
        shared=getattr(old.source, "table", None) is old.target.table,  # images and sound have no table
        seed=seed,
    )


@torch.no_grad()
def add_words(parts: Parts, words: Sequence[str]) -> Parts:
    """`parts` with a token for each of `words` on both sides. ConfigError as in `extend`.

    Unused rows of a table, beyond the ids of the tokenizer, are used first.
    """
    words, old = list(dict.fromkeys(words)), parts.network
    whole = parts.source_tokenizer.paired(parts.target_tokenizer) if parts.shared else parts.source_tokenizer
    source = extend(whole, words)
    target = source.as_target() if parts.shared else extend(parts.target_tokenizer, words)
    sizes = {
        "source": max(source.vocab_size, old.table_sizes[0]),
        "target": max(target.vocab_size, old.table_sizes[1]),
    }
    tokenizers = {"source": parts.source_tokenizer, "target": parts.target_tokenizer}

    def grown(table: Tensor, side: str) -> Tensor:
        made = torch.cat([table, table.new_zeros(sizes[side] - len(table), *table.shape[1:])])
        for id, word in enumerate(words, start=tokenizers[side].vocab_size):
            made[id] = table[spelling(tokenizers[side], word)].mean(dim=0)
        return made

    network = fresh_network(parts, source=sizes["source"], target=sizes["target"])
    _put(network, _changed(old, grown))
    return replace(parts, network=network, source_tokenizer=source, target_tokenizer=target)


@torch.no_grad()
def trim_vocabulary(parts: Parts, config: TrainConfig, task: Task) -> tuple[Parts, str]:
    """`parts` with only the tokens that the training and validation pairs of `config` use, and a summary in one line.

    ConfigError for a tokenizer that cannot be trimmed.
    """
    old = parts.network
    if old.source.table is old.target.table and not parts.shared:
        raise ConfigError("a base whose two tokenizers share one table of vectors cannot be trimmed. Leave it out.")
    family = parts.model.family
    special_ids = _special_ids(family)
    texts = [partial(_texts, config, task, side) for side in (0, 1)]
    sides = [(parts.source_tokenizer, False, texts[0]), (parts.target_tokenizer, True, texts[1])]
    if parts.shared:
        whole = parts.source_tokenizer.paired(parts.target_tokenizer)
        source = target = _trim(whole, sides, needed=special_ids)
    else:
        source, target = _trim(sides[0][0], sides[:1]), _trim(sides[1][0], sides[1:], needed=special_ids)
    # Special ids of the model may have rows after those of the tokenizer.
    extra = special_ids - {*target.old_ids}
    rows = {"target": [*target.old_ids, *sorted(extra)]}
    rows["source"] = rows["target"] if parts.shared else source.old_ids
    model = replace(parts.model, family=None if family is None else _moved(family, rows["target"]))
    made = replace(parts, model=model, source_tokenizer=source.tokenizer, target_tokenizer=target.tokenizer.as_target())
    network = fresh_network(made, source=len(rows["source"]), target=len(rows["target"]))
    weights = named_weights(old)
    _put(network, _changed(old, lambda table, side: table[rows[side]]))
    pairs = [(parts.source_tokenizer, source), (parts.target_tokenizer, target)]
    counts = [(made.tokenizer.vocab_size, whole.vocab_size) for whole, made in pairs[parts.shared :]]
    kept = " and ".join(f"{now:,} of {before:,}" for now, before in counts)
    saved = sum(w.numel() for w in weights.values()) - sum(w.numel() for w in named_weights(network).values())
    return replace(made, network=network), f"vocabulary trimmed: {kept} tokens kept, {saved:,} parameters fewer"


def _changed(network: EncoderDecoder, change: Callable[[Tensor, str], Tensor]) -> dict[str, Tensor]:
    """The weights of `network`, those with a row for each id changed by `change(table, side)`."""
    made = named_weights(network)
    for name, side in _TABLES.items():
        if name in made and name in _BLANK_LAST:
            made[name] = torch.cat([change(made[name][:-1], side), made[name][-1:]])
        elif name in made:
            made[name] = change(made[name], side)
    return made


def _put(network: EncoderDecoder, weights: dict[str, Tensor]) -> None:
    put_weights(network, weights, where="the changed base")
    network.eval()


def _trim(
    tokenizer: Tokenizer, sides: Sequence[tuple[Tokenizer, bool, TextsOf]], *, needed: Collection[int] = ()
) -> Trimmed:
    """`tokenizer` trimmed to the texts of `sides` (tokenizer, whether it is the target's, texts) and the ids `needed`.

    ConfigError if a text would be segmented differently; the first texts of each side are compared.
    """
    used, first = {*needed}, list[tuple[Tokenizer, bool, list[str]]]()
    for reader, is_target, texts in sides:
        stream = iter(texts())
        first.append((reader, is_target, list(islice(stream, _COMPARED_TEXTS))))
        chunk = first[-1][2]
        while chunk:
            used.update(id for ids in reader.encode_batch(chunk) for id in ids)
            chunk = list(islice(stream, _CHUNK_TEXTS))
    made = trim(tokenizer, used)
    for reader, is_target, begun in first:
        fewer = made.tokenizer.as_target() if is_target else made.tokenizer
        for text, mine, theirs in zip(begun, fewer.encode_batch(begun), reader.encode_batch(begun), strict=True):
            if [made.old_ids[id] for id in mine] != theirs:
                raise ConfigError(f"its tokenizer splits {text!r:.60} differently after trimming. Leave it out.")
    return made


def _texts(config: TrainConfig, task: Task, side: int) -> Iterator[str]:
    """The texts on a side (0: sources, 1: targets) of all training and validation pairs."""
    filters = filters_of(config)
    bad_rows, valid = config.data.bad_rows, config.data.valid
    mixtures = [Mixture(config.data.train, task, filters, bad_rows=bad_rows)]
    mixtures += [] if valid is None else [Mixture(valid, task, bad_rows=bad_rows)]
    for mixture in mixtures:
        for item in mixture.once(DataReport()):
            yield (item.source, item.target)[side]


def _special_ids(family: FamilyConfig | None) -> set[int]:
    """The special ids that every answer needs."""
    if family is None:
        return set()
    first = () if family.first_id is None else (family.first_id,)
    return {family.pad_id, family.start_id, family.end_id, *first}


def _moved(family: FamilyConfig, old_ids: Collection[int]) -> FamilyConfig:
    """The family record with new ids; `old_ids` maps new ids to old ones."""
    new = {old: id for id, old in enumerate(old_ids)}
    return replace(
        family,
        pad_id=new[family.pad_id],
        start_id=new[family.start_id],
        end_id=new[family.end_id],
        first_id=None if family.first_id is None else new[family.first_id],
        never_ids=tuple(new[id] for id in family.never_ids if id in new),
        # An id that is no longer there: one that no table has.
        unscaled_id=None if family.unscaled_id is None else new.get(family.unscaled_id, MOST_IDS - 1),
    )
