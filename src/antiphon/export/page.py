"""The README of a model exported for CTranslate2: code that generates with the search settings of the model.

`translate_batch` has other defaults (beam size 2, at most 256 tokens, sources cut at 1,024), so every setting is
written out. Settings without an equivalent in CTranslate2 are listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from antiphon.generation.model import Model
from antiphon.generation.requests import prefix_ids
from antiphon.settings import show

_PAGE = """# {name}, for CTranslate2

Written by Antiphon ({kind}). A token's log-probability differs by {difference:.1e} nats from the model's own (the
mean of the worst of {answers} answers that were compared). The code searches by the model's own settings.

```python
import json, ctranslate2
from antiphon.text import Tokenizer

translator = ctranslate2.Translator(".")
source, target = Tokenizer.load("source_tokenizer"), Tokenizer.load("target_tokenizer").as_target()
ids = json.load(open("ids.json"))
words = {{side: json.load(open(name)) for side, name in ids["vocabularies"].items()}}
numbers = {{token: id for id, token in enumerate(words["target"])}}

def answer(text):
{frame}    row = [words["source"][i] for i in source.encode(text)]
    begin = {begin}
    (found,) = translator.translate_batch(
        [row],
        target_prefix=[begin],
        suppress_sequences=[[token] for token in ids["never"]],
        max_input_length=0,
        max_decoding_length=len(begin) + {limit},
{settings}
    )
    return [target.decode([numbers[token] for token in tokens]) for tokens in found.hypotheses]

for text in ["{example}"]:
    print(answer(text)[0])
```
{unsaid}"""

# Settings with differences between the two; see docs/search.md.
_UNLIKE = {
    "length_penalty_kind": "the average is meant there",
    "patience": "a beam ends there when `beam_size` of its hypotheses have ended, here when none can win any more",
    "repetition_penalty": "a beam of this checkpoint scales log-probabilities here, and logits there",
    "prefix": "its tokens count there in the length penalty",
    "no_repeat_ngram": "probabilities are made anew there without forbidden tokens",
    "min_new_tokens": "likewise",
}


def page(
    model: Model, words: Sequence[str], *, name: str, kind: str, difference: float, answers: int, example: str
) -> str:
    """The text of README.md for a model that was written as `kind`; `words` are the names of its target ids."""
    config, special_tokens, tokens = model.generation, model.special_tokens, _prefix(model)
    room = max(1, model.network.max_length - len(tokens) - len(special_tokens.first))
    # Our limits include the end; those of CTranslate2 include the forced prefix.
    limit = str(min(config.max_new_tokens, room)) if config.max_new_tokens else f"min(2 * len(row) + 32, {room})"
    begin = f'ids["first"] + {[words[id] for id in tokens]!r}' if tokens else 'ids["first"]'
    return _PAGE.format(
        name=name,
        kind=kind,
        difference=difference,
        answers=answers,
        frame=_frame(model),
        begin=begin,
        limit=limit,
        settings="\n".join(f"        {key}={value!r}," for key, value in _settings(model).items()),
        unsaid=_unsaid(model),
        example=example,
    )


def _settings(model: Model) -> dict[str, Any]:
    """The search settings as arguments of CTranslate2, including those that equal its defaults."""
    config = model.generation
    found: dict[str, Any] = {
        "num_hypotheses": config.n_best,
        "min_decoding_length": config.min_new_tokens,
        "repetition_penalty": config.repetition_penalty,
        "no_repeat_ngram_size": config.no_repeat_ngram,
    }
    if config.temperature is None:
        return {
            "beam_size": config.beam_size,
            "patience": 1.0 if config.patience is None else config.patience,
            "length_penalty": config.length_penalty,
            **found,
        }
    sampled = {"sampling_temperature": config.temperature, "sampling_topk": config.top_k or 0}
    return {"beam_size": 1, **sampled, "sampling_topp": config.top_p or 1.0, **found}


def _unsaid(model: Model) -> str:
    """A paragraph about the settings with which answers may differ; empty if there are none."""
    config, beam = model.generation, model.generation.temperature is None and model.generation.beam_size > 1
    named = {
        "length_penalty_kind": beam and config.length_penalty_kind != "average",
        "patience": beam and config.patience is None,
        "coverage_penalty": beam and config.coverage_penalty != 0,
        "beam_groups": config.beam_groups > 1,
        "repetition_penalty": beam and config.repetition_penalty != 1 and model.special_tokens.published,
        "no_repeat_ngram": beam and config.no_repeat_ngram > 0,
        "min_new_tokens": beam and config.min_new_tokens > 0,
        "min_p": config.min_p is not None,
        "prefix": beam and bool(config.prefix),
        "prompt": bool(config.prompt),
        "allowed": config.allowed is not None,
        "required": bool(config.required),
        "forbidden": bool(config.forbidden),
        "overflow": config.overflow != "error",
    }
    lines = [
        f"- `{name}` {show(getattr(config, name))}" + (f": {_UNLIKE[name]}" if name in _UNLIKE else "")
        for name, unsaid in named.items()
        if unsaid
    ]
    said = "\nThese of the model's settings have no equal in CTranslate2, so that answers may be others:\n\n"
    return said + "\n".join(lines) + "\n" if lines else ""


def _frame(model: Model) -> str:
    """The line that puts a text into the template of the training data; empty where there is none."""
    before, _, after = model.parts.template.partition("{}") if model.generation.template else ("", "", "")
    if not before and not after:
        return ""
    has = f"text.startswith({before!r}) and text.endswith({after!r})"
    return f"    text = text if {has} else {before!r} + text + {after!r}\n"


def _prefix(model: Model) -> tuple[int, ...]:
    """The ids of the prefix of every answer, after the forced first ids; empty if `prefix` has one for each row."""
    prefix = model.generation.prefix
    return prefix_ids(model, prefix, 1)[0] if isinstance(prefix, str) else ()
