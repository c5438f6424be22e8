"""The settings of one search, made from the user's `GenerationConfig`."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from antiphon.config import GenerationConfig
from antiphon.search.next_token.logits_processors import (
    LogitsProcessor,
    MinNewTokens,
    NoRepeatNgram,
    RepetitionPenalty,
    SuppressTokens,
    SuppressTokensAt,
)
from antiphon.search.next_token.sampling import TokenSampler
from antiphon.search.next_token.timestamp_rules import TimestampRules
from antiphon.search.special_tokens import SpecialTokens

_OF_A_SEARCH = (
    "beam_size", "n_best", "min_new_tokens", "length_penalty", "length_penalty_kind", "patience", "coverage_penalty",
    "ctc_weight", "beam_groups", "diversity_penalty", "no_repeat_ngram", "repetition_penalty", "temperature", "top_k",
    "top_p", "min_p",
)  # fmt: skip
_MOST_MADE = 128
_made: dict[Hashable, SearchConfig] = {}  # the last ones, by what they are made of


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """How to search.

    `width` is the number of hypotheses of a source: the beam size, or the number of samples if there is a `sampler`.
    The `n_best` hypotheses with the highest rank are returned. `patience`: a source is finished at the latest when
    patience * width of its hypotheses have ended. `groups` is the number of groups of diverse beam search,
    `diversity_penalty` its penalty. `coverage_penalty` is the weight of `Coverage` in the rank of an answer,
    `ctc_weight` that of `CTCPrefixScores` in the sums that are compared. Sources with more than `window` tokens are
    encoded in windows (`EncoderDecoder.encode`).
    """

    special_tokens: SpecialTokens
    width: int = 1
    n_best: int = 1
    length_penalty: float = 1.0
    length_penalty_kind: str = "average"
    patience: float | None = None
    groups: int = 1
    diversity_penalty: float = 0.0
    coverage_penalty: float = 0.0
    ctc_weight: float = 0.0
    processors: tuple[LogitsProcessor, ...] = ()
    sampler: TokenSampler | None = None
    window: int | None = None

    def length_divisor(self, length: int) -> float:
        """The number that the sum of log-probabilities of an answer of `length` tokens is divided by.

        length ** length_penalty, or ((5 + length) / 6) ** length_penalty for the kind gnmt (Wu et al. 2016, eq. 14).
        """
        length = max(length - len(self.special_tokens.first) * self.special_tokens.prompt, 1)
        return (length if self.length_penalty_kind == "average" else (5 + length) / 6) ** self.length_penalty

    @property
    def min_new_tokens(self) -> int:
        """The least number of tokens between the prefix of an answer and its end."""
        return max((each.count for each in self.processors if isinstance(each, MinNewTokens)), default=0)


def search_config(
    config: GenerationConfig, special_tokens: SpecialTokens, *, window: int | None = None
) -> SearchConfig:
    """The search that the user's settings ask for; `window` as in `SearchConfig`.

    It is the same object for settings that differ only in what belongs to a request.
    """
    key = *(getattr(config, name) for name in _OF_A_SEARCH), special_tokens, window
    found = _made.get(key)
    if found is None:
        while len(_made) >= _MOST_MADE:
            _made.pop(next(iter(_made)), None)
        found = _made[key] = _new(config, special_tokens, window)
    return found


def _new(config: GenerationConfig, special_tokens: SpecialTokens, window: int | None) -> SearchConfig:
    sampler = None
    if config.temperature is not None:
        sampler = TokenSampler(config.temperature, config.top_k, config.top_p, config.min_p)
    return SearchConfig(
        special_tokens,
        width=config.beam_size if sampler is None else config.n_best,
        n_best=config.n_best,
        length_penalty=config.length_penalty,
        length_penalty_kind=config.length_penalty_kind,
        groups=config.beam_groups,
        diversity_penalty=config.diversity_penalty,
        patience=config.patience if sampler is None else None,
        coverage_penalty=config.coverage_penalty,
        ctc_weight=config.ctc_weight,
        processors=logits_processors(config, special_tokens),
        sampler=sampler,
        window=window,
    )


def logits_processors(config: GenerationConfig, special_tokens: SpecialTokens) -> tuple[LogitsProcessor, ...]:
    """The logits processors of these settings, in the order in which they are applied.

    Those that suppress tokens come last, so that no later one makes a suppressed token possible again.
    """
    processors: list[LogitsProcessor] = []
    if config.repetition_penalty != 1:
        # transformers applies the penalty to logits in greedy search and sampling, to log-probabilities in beam search.
        is_beam_search = config.temperature is None and config.beam_size > 1
        start = special_tokens.start if special_tokens.published else None
        on_logits = not (is_beam_search and special_tokens.published)
        processors.append(RepetitionPenalty(config.repetition_penalty, start=start, logits=on_logits))
    if config.no_repeat_ngram:
        processors.append(NoRepeatNgram(config.no_repeat_ngram))
    if config.min_new_tokens:
        processors.append(MinNewTokens(config.min_new_tokens, end=special_tokens.end))
    if suppressed := special_tokens.suppressed:
        processors.append(SuppressTokens(suppressed))
    if special_tokens.suppress_first:
        processors.append(SuppressTokensAt(special_tokens.suppress_first, position=len(special_tokens.first)))
    if special_tokens.timestamps is not None:
        processors.append(
            TimestampRules(special_tokens.timestamps, end=special_tokens.end, position=len(special_tokens.first))
        )
    return tuple(processors)
