"""What a checkpoint says of its search, in config.json or generation_config.json, and what we say to it.

`max_length` and `min_length` count the start token, ours do not; a forced first token is a token of the answer to them,
and stands before it here. `early_stopping` has no meaning here, where the search stops when nothing can win any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antiphon.config import FamilyConfig, GenerationConfig
from antiphon.settings import SettingError, build

# Ids that both files may hold: generation_config.json is asked first.
IDS = (
    "pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "forced_bos_token_id",
    "forced_eos_token_id", "bad_words_ids", "suppress_tokens",
)  # fmt: skip
# Theirs -> ours, where the meaning is the same.
_SAME = {
    "num_beams": "beam_size",
    "length_penalty": "length_penalty",
    "no_repeat_ngram_size": "no_repeat_ngram",
    "repetition_penalty": "repetition_penalty",
    "num_beam_groups": "beam_groups",
    "diversity_penalty": "diversity_penalty",
    "num_return_sequences": "n_best",
}
_SAMPLING = ("temperature", "top_k", "top_p", "min_p")


def search_settings(theirs: Mapping[str, Any], *, family: FamilyConfig, most: int, where: str) -> GenerationConfig:
    """Our search settings for a model of `family`, whose `max_length` is `most`.

    ConfigError, which names `where`, for a value that no search can have. Greedy is what they search by if nothing is
    said.
    """
    found: dict[str, Any] = {"beam_size": 1}
    found |= {ours: theirs[name] for name, ours in _SAME.items() if theirs.get(name) is not None}
    if theirs.get("do_sample") is True:
        found["temperature"] = theirs.get("temperature", 1.0)
        found |= {name: theirs[name] for name in _SAMPLING[1:] if theirs.get(name)}
        del found["beam_size"]
    before, first, room = _counted(family, most)
    for name, ours in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
        if _whole(theirs.get(name)):
            found[ours] = max(theirs[name] - before, 0)
    for name in ("max_new_tokens", "min_new_tokens"):
        if _whole(theirs.get(name)):
            found[name] = max(theirs[name] - first, 0)
    if not found.get("max_new_tokens"):
        found.pop("max_new_tokens", None)
    else:
        found["max_new_tokens"] = min(found["max_new_tokens"], room)
        found["min_new_tokens"] = min(found.get("min_new_tokens", 0), found["max_new_tokens"])
    try:
        return build(GenerationConfig, found)
    except SettingError as error:
        raise error.at(where) from None


def their_search(config: GenerationConfig, family: FamilyConfig) -> dict[str, Any]:
    """The inverse, as generation_config.json has it. What they have no word for is left out."""
    before, _, _ = _counted(family, 0)
    found: dict[str, Any] = {
        "decoder_start_token_id": family.start_id,
        "eos_token_id": family.end_id,
        "pad_token_id": family.pad_id,
        "forced_bos_token_id": family.first_id,
        "forced_eos_token_id": family.end_id if family.closes else None,
        "num_beams": config.beam_size if config.temperature is None else 1,
        "length_penalty": config.length_penalty,
        "no_repeat_ngram_size": config.no_repeat_ngram or None,
        "repetition_penalty": config.repetition_penalty if config.repetition_penalty != 1 else None,
        "suppress_tokens": list(family.never_ids) or None,
    }
    if config.n_best > 1:
        found["num_return_sequences"] = config.n_best
    if config.temperature is not None:
        found |= {"do_sample": True} | {name: getattr(config, name) for name in _SAMPLING}
    if config.max_new_tokens is not None:
        found["max_length"] = config.max_new_tokens + before
    if config.min_new_tokens:
        found["min_length"] = config.min_new_tokens + before
    return {name: value for name, value in found.items() if value is not None}


def _counted(family: FamilyConfig, most: int) -> tuple[int, int, int]:
    """The tokens besides ours that their `max_length` counts and that their `max_new_tokens` counts, and the largest
    number of ours where a model has `most` places."""
    if family.speech is not None:  # a prompt of several tokens is counted in neither
        return 0, 0, most - 1 - family.speech.prompt_length
    first = family.first_id is not None
    return 1 + first, int(first), most - first  # the start token, and the first one


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
