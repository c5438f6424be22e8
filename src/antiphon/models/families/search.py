"""Translates the search settings of a checkpoint, in config.json or generation_config.json, to ours and back.

Their `max_length` and `min_length` count the start token, ours do not. A forced first token is part of the answer
there, and precedes it here. `early_stopping: true` is `patience` 1; with any other value the search stops when no open
hypothesis can win.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from antiphon.config import FamilyConfig, GenerationConfig
from antiphon.inputs import input_kind
from antiphon.settings import SettingError, build, show

# Ids that a search forces or forbids. If there is a generation_config.json, only that file is read.
FORCED = ("forced_bos_token_id", "forced_eos_token_id", "bad_words_ids", "suppress_tokens")
# Ids that both files may have; generation_config.json has precedence.
IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", *FORCED)
# Their names -> ours, with equal meaning.
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
_USUAL_TOP_K = 50  # the default of transformers
# Settings of transformers that are not read here, with their values without effect.
_IGNORED_DEFAULTS: dict[str, tuple[object, ...]] = {
    "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1,),
    "exponential_decay_length_penalty": (),
    "sequence_bias": ({},),
    "typical_p": (1,),
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "top_h": (),
    "penalty_alpha": (0,),
    "guidance_scale": (1,),
    "renormalize_logits": (False,),
    "constraints": ([],),
    "force_words_ids": ([],),
    "stop_strings": ([],),
    "max_time": (),
    "dola_layers": (),
    "token_healing": (False,),
    "watermarking_config": (),
    "begin_suppress_tokens": ([],),
    "forced_decoder_ids": ([],),
}
_MAX_WRITTEN_LENGTH = 1024  # maximum `max_length` if the model sets no limit; the default of transformers is 20


def search_settings(theirs: Mapping[str, Any], *, family: FamilyConfig, most: int, where: str) -> GenerationConfig:
    """Our search settings for a model of `family`, whose `max_length` is `most`.

    Raises ConfigError, which names `where`, for an invalid value. Their default is greedy search.
    """
    found: dict[str, Any] = {"beam_size": 1}
    found |= {ours: theirs[name] for name, ours in _SAME.items() if theirs.get(name) is not None}
    if theirs.get("early_stopping") is True:
        found["patience"] = 1.0
    if theirs.get("do_sample") is True:
        given = {name: theirs[name] for name in _SAMPLING if theirs.get(name) is not None}
        found |= {"temperature": 1.0, "top_k": _USUAL_TOP_K} | given
        if found["top_k"] == 0:
            found["top_k"] = None
        for name in ("beam_size", "beam_groups", "diversity_penalty"):  # sampling with beams is not supported here
            found.pop(name, None)
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
        names = {ours: name for name, ours in _SAME.items()}
        error.path = tuple(names.get(name, name) for name in error.path)
        raise error.at(where) from None


def warn_ignored(theirs: Mapping[str, Any], *, read: tuple[str, ...], where: str) -> None:
    """Warn once of settings that change answers in transformers and are not read here. `read`: those that the family
    reads."""
    found = [
        name
        for name, neutral in _IGNORED_DEFAULTS.items()
        if name not in read and theirs.get(name) is not None and theirs[name] not in neutral
    ]
    beams = theirs.get("num_beams")
    if theirs.get("do_sample") is True and isinstance(beams, int) and beams > 1:
        found.append("num_beams (beside do_sample)")
    if found:
        warnings.warn(
            f"`{where}` has settings that are not read here, so that transformers may answer otherwise: "
            f"{', '.join(found)}. Delete them there, or search by settings of docs/search.md.",
            stacklevel=3,
        )


def their_search(config: GenerationConfig, family: FamilyConfig, *, most: int) -> dict[str, Any]:
    """The inverse of `search_settings`."""
    before, _, room = _counted(family, most)
    sampled, beams = config.temperature is not None, config.beam_size > 1
    found: dict[str, Any] = {
        "decoder_start_token_id": family.start_id,
        "eos_token_id": family.end_id,
        "pad_token_id": family.pad_id,
        "forced_bos_token_id": family.first_id,
        "forced_eos_token_id": family.end_id if family.closes else None,
        "num_beams": 1 if sampled else config.beam_size,
        "length_penalty": config.length_penalty,
        "no_repeat_ngram_size": config.no_repeat_ngram or None,
        "repetition_penalty": config.repetition_penalty if config.repetition_penalty != 1 else None,
        "suppress_tokens": list(family.never_ids) or None,
        "max_length": before + (config.max_new_tokens or max(1, min(room, _MAX_WRITTEN_LENGTH))),
    }
    if config.n_best > 1:
        found["num_return_sequences"] = config.n_best
    if sampled:
        found |= {"do_sample": True} | {name: getattr(config, name) for name in _SAMPLING}
        found["top_k"] = config.top_k or 0  # the default there is 50
    if config.patience == 1 or beams:
        found["early_stopping"] = True if config.patience == 1 else "never"
    if not sampled and config.beam_groups > 1:
        found |= {"num_beam_groups": config.beam_groups, "diversity_penalty": config.diversity_penalty}
    if config.min_new_tokens:
        found["min_length"] = config.min_new_tokens + before
    return {name: value for name, value in found.items() if value is not None}


def warn_not_exported(config: GenerationConfig, *, published: bool, template: str) -> None:
    """Warn once of settings that a folder for transformers cannot have. `published`: the model is from such a folder;
    `template`: the template of its sources."""
    beams = config.temperature is None and config.beam_size > 1
    unsaid = {
        "length_penalty_kind": (beams or config.n_best > 1) and config.length_penalty_kind != "average",
        "patience": beams and config.patience not in (None, 1),
        "coverage_penalty": beams and config.coverage_penalty != 0,
        "repetition_penalty": beams and config.repetition_penalty != 1 and not published,
        "beam_groups": config.beam_groups > 1,
        "prefix": config.prefix is not None,
        "prompt": config.prompt is not None,
        "allowed": config.allowed is not None,
        "required": bool(config.required),
        "forbidden": bool(config.forbidden),
        "overflow": config.overflow != "error",
    }
    around = [f"the template {show(template)}"] if template and config.template else []
    reasons = {
        "length_penalty_kind": "the average is meant there",
        "repetition_penalty": "a beam scales log-probabilities there",
        "beam_groups": "written, but transformers 5 asks for `trust_remote_code`",
    }
    named = around + [
        f"`{name}` {show(getattr(config, name))}" + (f" ({reasons[name]})" if name in reasons else "")
        for name, said in unsaid.items()
        if said
    ]
    if named:
        warnings.warn(
            f"a folder for transformers cannot say all search settings of the model, so that answers there may be "
            f"others: {', '.join(named)}. Give them where it is used.",
            stacklevel=4,
        )


def _counted(family: FamilyConfig, most: int) -> tuple[int, int, int]:
    """How many more tokens than ours their `max_length` counts, how many their `max_new_tokens`, and our largest number
    of new tokens for a model of `most` positions."""
    kind = input_kind(family, None)  # of any input: only its prompt is asked for
    if kind.prompt() is not None:  # its tokens are not counted in either
        return 0, 0, most - 1 - kind.prompt_length
    first = family.first_id is not None
    return 1 + first, int(first), most - first  # the start token, and the first one


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
