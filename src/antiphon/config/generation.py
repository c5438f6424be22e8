"""Settings of the search (beam search, sampling, constraints)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from antiphon.settings import Count, CountOrZero, NotNegative, Positive, Range, Settings, Share, require, show

Texts = tuple[str | tuple[str, ...] | None, ...]  # one list of texts for all rows, or one for each (None: no list)

TIMED_SETTINGS = (  # those of answers to speech in windows
    "timestamps", "previous_text", "fallback_temperatures", "compression_ratio_threshold", "log_probability_threshold",
    "no_speech_threshold",
)  # fmt: skip
TEXT_OF_ROWS = ("prefix", "prompt")  # settings that are one text for all rows, or one for each
# Far above any real search, and low enough that a hostile file cannot exhaust memory.
Beam = Annotated[int, Range(low=1, high=2**12)]


@dataclass(frozen=True)
class GenerationConfig(Settings):
    beam_size: Beam = 4
    """Open hypotheses of the beam search; 1 is greedy."""
    n_best: Beam = 1
    """Hypotheses in each answer."""
    min_new_tokens: CountOrZero = 0
    """Minimum number of tokens before the end."""
    max_new_tokens: Count | None = None
    """Maximum number of tokens of an answer, end included, counted after a `prefix`; none: 2 x source tokens + 32, for
    a source in windows at most a window or 512, within the model's `max_length`."""
    length_penalty: Annotated[float, Range(low=-10, high=10)] = 1.0
    """Hypotheses are ranked by score / n**p; n counts the end; a `prefix` counts in neither."""
    length_penalty_kind: Literal["average", "gnmt"] = "average"
    """n**p, or ((5 + n) / 6)**p (Wu et al. 2016, equation 14)."""
    patience: Positive | None = None
    """The search ends when this times `beam_size` hypotheses are finished (Kasai et al. 2022; 1 is what fairseq and
    CTranslate2 do); none: when no open hypothesis can still win, which is later."""
    coverage_penalty: NotNegative = 0.0
    """Added to the ranking: this times the source tokens' sum of log(min(attention, 1)) (Wu et al. 2016); 0: off.
    Large values: 0.01 with `length_penalty` 1, 0.2 with 0."""
    ctc_weight: Share = 0.0
    """Weight of the CTC head's score of the answer so far, that of the decoder is 1 less this (Watanabe et al. 2017);
    0: off. Needs `model.ctc`."""
    beam_groups: Count = 1
    """Groups of diverse beam search: each avoids the tokens of the groups before it (Vijayakumar et al. 2018)."""
    diversity_penalty: NotNegative = 0.0
    """Penalty of a token, in nats, for each hypothesis of an earlier group that has it at the same position."""
    no_repeat_ngram: CountOrZero = 0
    """No n-gram of this length occurs twice in an answer; 0: off."""
    repetition_penalty: Positive = 1.0
    """Above 1: lowers the logits of tokens generated before (Keskar et al. 2019); 1: off."""
    temperature: Positive | None = None
    """Sample from the logits divided by this; none: no sampling."""
    top_k: Count | None = None
    """Sample among the K most probable tokens."""
    top_p: Annotated[float, Range(low=0, high=1, open_low=True)] | None = None
    """Sample among the most probable tokens whose probabilities add up to this (nucleus sampling)."""
    min_p: Share | None = None
    """Sample among tokens with at least this fraction of the probability of the most probable one."""
    seed: CountOrZero = 0
    """Of sampling."""
    source_language: str | None = None
    """Code of the source language, for a multilingual model (mBART, M2M-100, NLLB); none: that of its folder."""
    target_language: str | None = None
    """Code of the target language, which answers are forced to begin with; none: that of the folder."""
    prefix: str | tuple[str | None, ...] | None = None
    """Text that answers must begin with; in Python also one for each row."""
    prompt: str | tuple[str | None, ...] | None = None
    """Text that the decoder reads before its answer, such as a question about an image; in Python also one for each
    row. Neither the answer nor its score includes it."""
    allowed: Texts | None = None
    """Texts that answers are restricted to; in Python also a list for each row."""
    required: Texts | None = None
    """Phrases that each answer must contain, as whole words; repeats are ignored. In Python also a list for each
    row."""
    forbidden: Texts | None = None
    """Phrases that answers must not contain, as whole words (in scripts without spaces, anywhere)."""
    overflow: Literal["error", "truncate", "split", "window"] = "error"
    """How a source of more than `max_source_tokens` is treated; window: it is read in overlapping windows. A recording
    in windows is answered with timestamps, and each window begins where the segments of the one before end."""
    max_source_tokens: Count | None = None
    """Maximum tokens of a source, end included, and of a window or part of a longer one; none: the model's
    `max_length`. The limit of a published folder, or a recipe's `data.max_length`, is saved as the model's default."""
    template: bool = True
    """Apply the template of the training data to each source that does not have its words yet."""
    timestamps: Literal["none", "segments", "words"] = "none"
    """The times that an answer of a speech model (Whisper) has: of its segments, or of their words too."""
    previous_text: bool = False
    """A speech model reads the text of the windows before the one that it answers."""
    fallback_temperatures: tuple[Annotated[float, Range(low=0, high=10, open_low=True)], ...] = ()
    """Temperatures at which a window of speech is sampled again, in turn, while its answer is beyond one of the next
    two thresholds."""
    compression_ratio_threshold: Positive | None = None
    """The answer to a window of speech is rejected if zlib makes its tokens smaller than by this factor, since it
    repeats itself; Whisper: 2.4, or 1.35 in transformers, which counts bytes of ids."""
    log_probability_threshold: Annotated[float, Range(high=0)] | None = None
    """The answer to a window of speech is rejected if its mean log-probability of a token is lower; Whisper: -1."""
    no_speech_threshold: Share | None = None
    """A window is silence if the probability of no speech is higher, unless its answer's mean log-probability reaches
    `log_probability_threshold`; Whisper: 0.6."""
    batch_size: Count | None = None
    """Sources processed together; none: chosen by size."""

    @property
    def samples(self) -> bool:
        """Whether an answer may be sampled, so that it depends on its row and the seed."""
        return self.temperature is not None or bool(self.fallback_temperatures)

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
        problem = "needs a beam search, but `temperature` is set"
        require(self.temperature is None or not self.ctc_weight, "ctc_weight", problem, "Set it to 0 to sample.")
        for name in ("allowed", "required", "forbidden"):
            _check_texts(name, getattr(self, name))
        enough = self.temperature is not None or self.n_best <= self.beam_size
        require(enough, "n_best", f"must be at most `beam_size` ({self.beam_size}), but is {self.n_best}")


def _check_texts(name: str, texts: Texts | None) -> None:
    """Check that there is one list, or a list for each row, and that phrases have no space around them."""
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
