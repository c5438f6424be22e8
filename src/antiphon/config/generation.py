"""How answers are searched for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from antiphon.settings import Count, CountOrZero, NotNegative, Positive, Range, Settings, Share, require, show

Texts = tuple[str | tuple[str, ...] | None, ...]  # one list of texts for all rows, or one for each (None: no list)

# Far above any search, and low enough that a hostile file asks for no memory of its size.
Beam = Annotated[int, Range(low=1, high=2**12)]


@dataclass(frozen=True)
class GenerationConfig(Settings):
    beam_size: Beam = 4
    """Open hypotheses of the search; 1 is greedy."""
    n_best: Beam = 1
    """Hypotheses in each answer."""
    min_new_tokens: CountOrZero = 0
    """Tokens before the end is allowed."""
    max_new_tokens: Count | None = None
    """Tokens of an answer at most, end included, counted behind a `prefix`; none: 2 x source tokens + 32, for
    a source in windows at most a window or 512, within the model's `max_length`."""
    length_penalty: Annotated[float, Range(low=-10, high=10)] = 1.0
    """The ranking is score / n**p; n counts the end, and neither has a `prefix`."""
    length_penalty_kind: Literal["average", "gnmt"] = "average"
    """n**p, or ((5 + n) / 6)**p (Wu et al. 2016, equation 14)."""
    patience: Positive | None = None
    """A beam ends when this times `beam_size` of its hypotheses have ended (Kasai et al. 2022; 1 is what fairseq and
    CTranslate2 do); none: when no open one can win any more, which is later."""
    coverage_penalty: NotNegative = 0.0
    """Added to the ranking: this times the source tokens' sum of log(min(attention, 1)) (Wu et al. 2016); 0: off.
    0.01 is much at `length_penalty` 1, 0.2 at 0."""
    beam_groups: Count = 1
    """Groups that the beam is divided into, each avoiding what those before it say (Vijayakumar et al. 2018)."""
    diversity_penalty: NotNegative = 0.0
    """What a token loses, in nats, for each hypothesis of an earlier group that takes it at the same place."""
    no_repeat_ngram: CountOrZero = 0
    """No sequence of N tokens twice in an answer; 0: off."""
    repetition_penalty: Positive = 1.0
    """Above 1 lowers the logits of tokens that are already there (Keskar et al. 2019); 1: off."""
    temperature: Positive | None = None
    """Sample, from logits divided by this; none: search, no sampling."""
    top_k: Count | None = None
    """Sample among the K most probable tokens."""
    top_p: Annotated[float, Range(low=0, high=1, open_low=True)] | None = None
    """Sample among the most probable tokens that together have this probability."""
    min_p: Share | None = None
    """Sample among tokens with at least this share of the most probable one's probability."""
    seed: CountOrZero = 0
    """Of sampling."""
    source_language: str | None = None
    """Code of the sources' language, for a model that knows several (mBART, M2M-100, NLLB); none: as its folder has."""
    target_language: str | None = None
    """Code of the answers' language, with which they are made to begin; likewise."""
    prefix: str | tuple[str | None, ...] | None = None
    """Text with which answers must begin; in Python also one for each row."""
    allowed: Texts | None = None
    """Texts that answers are restricted to; in Python also a list for each row."""
    required: Texts | None = None
    """Phrases that each answer holds, as whole words; given twice is given once. In Python also a list for each row."""
    forbidden: Texts | None = None
    """Phrases that no answer holds as whole words (within words: not matched, but in scripts without spaces)."""
    overflow: Literal["error", "truncate", "split", "window"] = "error"
    """What happens to a source of more than `max_source_tokens`; window: it is read in windows that overlap."""
    max_source_tokens: Count | None = None
    """Tokens of a source at most, end included, and of a window or a part of a longer one; none: the model's
    `max_length`. A published folder's own limit and a recipe's `data.max_length` are defaults that a model keeps."""
    template: bool = True
    """Put the text that stood around the sources of the training data around each source that has it not."""
    batch_size: Count | None = None
    """Rows of sources that run together; none: chosen by size."""

    def check(self) -> None:
        shortest, longest = self.min_new_tokens, self.max_new_tokens
        problem = f"must be at most `max_new_tokens` ({longest}), but is {shortest}"
        require(longest is None or shortest <= longest, "min_new_tokens", problem)
        for name in ("top_k", "top_p", "min_p"):
            sampled = self.temperature is not None or getattr(self, name) is None
            require(sampled, name, "needs `temperature`, which is not set", "Without it nothing is sampled.")
        require(
            self.beam_size % self.beam_groups == 0,
            "beam_groups",
            f"must divide `beam_size` ({self.beam_size}), but is {self.beam_groups}",
        )
        require(
            self.beam_groups > 1 or not self.diversity_penalty,
            "diversity_penalty",
            "needs `beam_groups` above 1, but it is 1",
        )
        for name in ("beam_groups", "required"):
            searched = self.temperature is None or getattr(self, name) in (1, None, ())
            require(
                searched,
                name,
                "needs a beam search, but `temperature` is set",
                "Sampling takes `allowed` and `forbidden`.",
            )
        for name in ("allowed", "required", "forbidden"):
            _check_texts(name, getattr(self, name))
        enough = self.temperature is not None or self.n_best <= self.beam_size
        require(enough, "n_best", f"must be at most `beam_size` ({self.beam_size}), but is {self.n_best}")


def _check_texts(name: str, texts: Texts | None) -> None:
    """One list or lists, not both; a phrase is a text that can stand between others."""
    kinds = {isinstance(entry, str) for entry in texts or ()}
    require(len(kinds) < 2, name, "must be a list of texts, or a list for each row, but is a mixture of both")
    for row, entry in enumerate(texts or (), 1):
        own = (entry,) if isinstance(entry, str) else entry
        place = "" if isinstance(entry, str) else f" (the list of input {row})"
        if name == "allowed":
            problem = f"must have at least one text for each row, but has a list of none{place}"
            require(own is None or len(own) > 0, name, problem, "Write None for a row that may have any answer.")
            continue
        for phrase in own or ():
            bare = bool(phrase) and phrase == phrase.strip()
            require(bare, name, f"must be phrases without space around them, but one is {show(phrase)}{place}")
    require(name != "allowed" or texts is None or len(texts) > 0, name, "must have at least one text, but is empty")
