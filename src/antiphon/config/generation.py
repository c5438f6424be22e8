"""How answers are searched for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from antiphon.settings import Count, CountOrZero, Positive, Range, Settings, Share, require


@dataclass(frozen=True)
class GenerationConfig(Settings):
    beam_size: Count = 4
    """Open hypotheses of the search; 1 is greedy."""
    n_best: Count = 1
    """Hypotheses in each answer."""
    min_new_tokens: CountOrZero = 0
    """Tokens before the end is allowed."""
    max_new_tokens: Count | None = None
    """Tokens of an answer at most, end included; none: 2 x source tokens + 32, within the model's `max_length`."""
    length_penalty: float = 1.0
    """The ranking is score / n**p; n counts the end."""
    length_penalty_kind: Literal["average", "gnmt"] = "average"
    """n**p, or ((5 + n) / 6)**p (Wu et al. 2016, equation 14)."""
    no_repeat_ngram: CountOrZero = 0
    """No sequence of N tokens twice in an answer; 0: off."""
    repetition_penalty: Positive = 1.0
    """Above 1 lowers tokens that are already there (Keskar et al. 2019); 1: off."""
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
    prefix: str | tuple[str | None, ...] | None = None
    """Text with which answers must begin; in Python also one for each row."""
    overflow: Literal["error", "truncate", "split"] = "error"
    """What happens to a source longer than the model's limit."""
    batch_size: Count | None = None
    """Rows of sources that run together; none: chosen by size."""

    def check(self) -> None:
        shortest, longest = self.min_new_tokens, self.max_new_tokens
        problem = f"must be at most `max_new_tokens` ({longest}), but is {shortest}"
        require(longest is None or shortest <= longest, "min_new_tokens", problem)
        for name in ("top_k", "top_p", "min_p"):
            sampled = self.temperature is not None or getattr(self, name) is None
            require(sampled, name, "needs `temperature`, which is not set", "Without it nothing is sampled.")
        enough = self.temperature is not None or self.n_best <= self.beam_size
        require(enough, "n_best", f"must be at most `beam_size` ({self.beam_size}), but is {self.n_best}")
