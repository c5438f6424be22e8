"""The languages of a multilingual model (mBART, mBART-50, M2M-100, NLLB), selected by its search settings.

    parts = speaking(parts)         # by parts.generation.source_language and target_language

A source is encoded with its language's token. The first token of an answer is forced to that of its language, which is
not part of the score; in mBART of 2020 it is the decoder's start token instead. Whisper's prompt contains the spoken
language, and whether to translate it. Without languages the settings of the folder apply.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from antiphon.inputs import input_kind
from antiphon.models.folders.checkpoint import Parts
from antiphon.search.special_tokens import SpecialTokens
from antiphon.text import Tokenizer


def speaking(parts: Parts) -> Parts:
    """`parts` with the tokenizers, the decoder's start and the forced first token of the selected languages.

    ConfigError, with the nearest codes, for an unknown language, or for a model without languages.
    """
    config, family = parts.generation, parts.model.family
    prompted = input_kind(family, parts.model.input_settings).in_languages(
        family, source_language=config.source_language, target_language=config.target_language
    )
    if prompted is not None:
        return replace(parts, model=replace(parts.model, family=prompted))
    source = parts.source_tokenizer.in_language(config.source_language)
    target = parts.target_tokenizer.in_language(config.target_language)
    model = parts.model
    if config.target_language is not None and family is not None:
        first = target.forced_first()
        start = target.start_id if first is None else family.start_id
        model = replace(model, family=replace(family, first_id=first, start_id=start))
    return replace(parts, model=model, source_tokenizer=source, target_tokenizer=target)


def target_special_tokens(parts: Parts) -> SpecialTokens:
    """The special tokens of targets: those of the family, else those of the tokenizer."""
    target, family = parts.target_tokenizer, parts.model.family
    if family is None:
        forced = None if parts.generation.target_language is None else target.forced_first()
        return SpecialTokens(pad=target.pad_id, start=target.start_id, end=target.end_id, first=_alone(forced))
    published = SpecialTokens(
        family.pad_id,
        family.start_id,
        family.end_id,
        _alone(family.first_id),
        family.closes,
        family.never_ids,
        published=True,
    )
    kind = input_kind(family, parts.model.input_settings)
    prompt = kind.prompt()
    return (
        published if prompt is None else replace(published, first=prompt, suppress_first=kind.never_first, prompt=True)
    )


def _alone(id: int | None) -> tuple[int, ...]:
    return () if id is None else (id,)


def answer_ids(texts: Iterable[str], tokenizer: Tokenizer, special_tokens: SpecialTokens) -> list[list[int]]:
    """The ids of texts as answers, by `as_answer`."""
    return [as_answer(ids, tokenizer, special_tokens) for ids in tokenizer.encode_batch(texts)]


def as_answer(ids: Sequence[int], tokenizer: Tokenizer, special_tokens: SpecialTokens) -> list[int]:
    """An encoded text as an answer: the forced first token, the text's own ids and the end token.

    Ids that the tokenizer puts before a text remain only if no first token is forced, and if the tokenizer has
    languages, only if one is selected.
    """
    before, after = tokenizer.frame
    unnamed = bool(tokenizer.languages) and tokenizer.language is None
    begun = [] if special_tokens.first or unnamed else before
    ending = after[: after.index(special_tokens.end) + 1] if special_tokens.end in after else after
    return special_tokens.with_first([*begun, *tokenizer.bare(ids), *ending])
