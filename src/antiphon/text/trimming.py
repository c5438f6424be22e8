"""Trimming a tokenizer to the tokens that some texts use, the tokens these are made of, and special tokens.

    trimmed = trim(tokenizer, used={5, 17, 300})
    trimmed.tokenizer.vocab_size, trimmed.old_ids   # the old id of each new one

A text whose tokens are all kept is segmented as before. By kind:

- BPE: for each kept token all merges that produce it are kept, and so their parts, down to letters. Every merge that
  the full tokenizer applies to such a text is still there, in the same order, and there are no new ones.
- Unigram: the most likely segmentation of the text still exists, and no other one became more likely. The least likely
  token stays, since the score of unknown letters is derived from it.
- WordLevel: words are looked up.
- Marian and M2M-100: sentencepiece segments as before, and the ids of its pieces are looked up.

Other texts are encoded with smaller tokens: the letters of kept tokens, and bytes if the tokenizer has them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from antiphon.errors import ConfigError
from antiphon.text.bytes import BYTE_OF_LETTER
from antiphon.text.id_tables import id_table_vocabulary, trim_id_table
from antiphon.text.json_form import from_json_form, ids_of, remap_ids, to_json_form
from antiphon.text.tokenizer import Tokenizer

KINDS = ("BPE", "Unigram", "WordLevel")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class Trimmed:
    """A trimmed tokenizer; `old_ids` maps its ids to those of the original."""

    tokenizer: Tokenizer
    old_ids: list[int]


def trim(tokenizer: Tokenizer, used: Collection[int]) -> Trimmed:
    """Trim `tokenizer` to the tokens `used`, those that they need, and all special and added ones, in their old order.

    ConfigError for a tokenizer of a kind that cannot be trimmed.
    """
    if id_table_vocabulary(tokenizer) is not None:
        return Trimmed(*trim_id_table(tokenizer, used))
    content, record = to_json_form(tokenizer)
    model, was = content["model"], tokenizer.vocabulary.specials
    if model["type"] not in KINDS:
        raise ConfigError(
            f"only a tokenizer of the kinds {', '.join(KINDS)} can be trimmed, but the base's is {model['type']}. "
            "Leave it out."
        )
    added = {token["content"]: token["id"] for token in content["added_tokens"]}
    ids = _ids(model)
    names = {id: name for name, id in ids.items()}
    own = set() if record is None else ids_of(record)
    wanted = {*used, *_framing_ids(content["post_processor"])} | was.control | own
    kept = {names[id] for id in wanted if id in names} | (ids.keys() & added.keys())
    kept |= _spelling(content, ids.keys(), kept)
    kept |= _needed(model, kept)
    order = sorted(kept, key=ids.__getitem__)
    order += sorted(added.keys() - kept, key=added.__getitem__)
    new = {name: id for id, name in enumerate(order)}
    places = {({**ids, **added})[name]: id for name, id in new.items()}
    for id in sorted(own - places.keys()):  # ids that only the record has, after those of the file
        places[id] = len(places)
    _shrink(model, new, kept)
    content["added_tokens"] = sorted(
        ({**token, "id": new[token["content"]]} for token in content["added_tokens"]), key=lambda token: token["id"]
    )
    _move_framing(content["post_processor"], places)
    content["padding"] = content["truncation"] = None  # settings of batching, which may name ids
    record = None if record is None else remap_ids(record, places.__getitem__, size=len(places))
    made = from_json_form(content, record, like=tokenizer)
    now = made.vocabulary.specials
    back = {id: old for old, id in places.items()} | {
        now.pad: was.pad,
        now.end: was.end,
    }  # ids that may be outside the file
    return Trimmed(made, [back[id] for id in range(made.vocab_size)])


def _ids(model: dict[str, Any]) -> dict[str, int]:
    """The ids of a model's tokens; in Unigram, their indices."""
    if model["type"] == "Unigram":
        return {name: id for id, (name, _) in enumerate(model["vocab"])}
    return dict(model["vocab"])


def _spelling(content: dict[str, Any], known: Collection[str], kept: Collection[str]) -> set[str]:
    """The tokens that encode other texts: the letters of `kept`, and bytes if the tokenizer has them."""
    found = {letter for name in kept for letter in name if letter in known}
    if any(_has_byte_level(content[part]) for part in ("normalizer", "pre_tokenizer")):
        found |= BYTE_OF_LETTER.keys() & known
    if content["model"].get("byte_fallback"):
        found |= {name for name in known if _BYTE.fullmatch(name)}
    return found


def _has_byte_level(part: Any) -> bool:
    if isinstance(part, dict):
        return part.get("type") == "ByteLevel" or any(map(_has_byte_level, part.values()))
    return isinstance(part, list) and any(map(_has_byte_level, part))


def _needed(model: dict[str, Any], kept: Collection[str]) -> set[str]:
    """The further tokens that a model needs so that texts of `kept` tokens are segmented as before."""
    if model["type"] == "Unigram":
        least = min(model["vocab"], key=lambda entry: entry[1])[0]
        unknown = model["unk_id"]
        return {least} | ({model["vocab"][unknown][0]} if unknown is not None else set())
    found = {model["unk_token"]} & model["vocab"].keys()
    if model["type"] == "BPE":
        parts: dict[str, list[str]] = {}
        for merge in model["merges"]:
            parts.setdefault(_merged(model, merge), []).extend(merge)
        left = [*kept]
        while left:
            new = {part for part in parts.get(left.pop(), []) if part not in found}
            found |= new
            left += new
    return found


def _merged(model: dict[str, Any], merge: list[str]) -> str:
    """The result of a merge. The second part may have a prefix that marks a continued word ("##")."""
    return merge[0] + merge[1].removeprefix(model["continuing_subword_prefix"] or "")


def _shrink(model: dict[str, Any], new: dict[str, int], kept: Collection[str]) -> None:
    """Reduce the model to the `kept` tokens, with their `new` ids."""
    if model["type"] == "Unigram":
        unknown = model["unk_id"]
        model["unk_id"] = None if unknown is None else new[model["vocab"][unknown][0]]
        model["vocab"] = [entry for entry in model["vocab"] if entry[0] in kept]
        return
    model["vocab"] = {name: new[name] for name in model["vocab"] if name in kept}
    if model["type"] == "BPE":
        model["merges"] = [merge for merge in model["merges"] if _merged(model, merge) in kept]


def _processors(processor: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The parts of a post-processor sequence; or the single one itself."""
    if processor is not None:
        yield from processor.get("processors", [processor])


def _framing_ids(processor: dict[str, Any] | None) -> Iterator[int]:
    """The ids that a tokenizer puts around a text."""
    for part in _processors(processor):
        for entry in part.get("special_tokens", {}).values():
            yield from entry["ids"]
        yield from (part[name][1] for name in ("sep", "cls") if name in part)


def _move_framing(processor: dict[str, Any] | None, moved: dict[int, int]) -> None:
    for part in _processors(processor):
        for entry in part.get("special_tokens", {}).values():
            entry["ids"] = [moved[id] for id in entry["ids"]]
        for name in ("sep", "cls"):
            if name in part:
                part[name] = [part[name][0], moved[part[name][1]]]
