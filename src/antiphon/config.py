"""What a recipe says, as frozen dataclasses: data, tokenizer, model, attention, training, validation, generation.

>>> from antiphon.recipe import from_mapping
>>> from_mapping({"data": {"train": [("in 3 hours", "in 3 Stunden")]}, "training": {"max_steps": 9}}).model.d_model
256

The text under a field is its documentation: the command line shows it as the flag's help. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from antiphon.registry import nearest
from antiphon.settings import (
    Count,
    CountOrZero,
    FlagText,
    NotNegative,
    Positive,
    Range,
    Rate,
    SettingError,
    Settings,
    Share,
    Spelling,
    build,
    inside,
    require,
    show,
)
from antiphon.settings import field_docs as field_docs
from antiphon.settings import from_json_mapping as from_json_mapping
from antiphon.settings import override as override

_PAPER = {
    "activation": "relu", "norm": "layer", "norm_placement": "post", "positions": "sinusoidal", "bias": True,
    "tie_embeddings": True, "encoder_layers": 6, "decoder_layers": 6, "dropout": 0.1,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    # Vaswani et al. 2017, "Attention Is All You Need", table 3, rows "base" and "big"
    "base": {**_PAPER, "d_model": 512, "num_heads": 8, "ffn_dim": 2048},
    "big": {**_PAPER, "d_model": 1024, "num_heads": 16, "ffn_dim": 4096, "dropout": 0.3},
    "small": {
        **_PAPER, "d_model": 256, "num_heads": 4, "ffn_dim": 1024, "encoder_layers": 3, "decoder_layers": 3,
        "norm_placement": "pre",
    },
    "tiny": {
        **_PAPER, "d_model": 128, "num_heads": 4, "ffn_dim": 384, "encoder_layers": 2, "decoder_layers": 2,
        "activation": "swiglu", "norm": "rms", "norm_placement": "pre", "positions": "rotary", "bias": False,
    },
}  # fmt: skip
_FROM_PRESET: Any = None  # a field that the preset gives unless it is set; never seen on a finished ModelConfig

TOKENIZER_KINDS = ("bpe", "unigram", "bytes", "characters")
_PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_PRECISIONS |= {name: name for name in ("float32", "bfloat16", "float16")}


def precision_name(text: str) -> str:
    """float32, bfloat16 or float16, from any of their spellings (fp32, bf16, fp16); SettingError for another."""
    if text not in _PRECISIONS:
        problem = f"must be one of {', '.join(_PRECISIONS)}, but is {show(text)}"
        raise SettingError((), problem, hint=nearest(text, _PRECISIONS))
    return _PRECISIONS[text]


@dataclass(frozen=True)
class TokenizerConfig(Settings):
    kind: str = "bpe"
    """How text becomes ids: bpe, unigram, bytes or characters, trained on the data; or a tokenizer's path."""
    vocab_size: Count = 8000
    """Ids in the vocabulary, special ones included; bytes and characters have a size of their own."""
    shared: bool = True
    """One tokenizer for source and target; false trains one for each."""


@dataclass(frozen=True)
class ModelConfig(Settings):
    preset: str | None = "small"
    """Where the fields that are not set come from: tiny, small, base or big (the paper's two)."""
    d_model: Count = _FROM_PRESET
    """Width of embeddings and of what passes between the layers."""
    encoder_layers: CountOrZero = _FROM_PRESET
    """Layers of the encoder."""
    decoder_layers: Count = _FROM_PRESET
    """Layers of the decoder."""
    num_heads: Count = _FROM_PRESET
    """Query heads of each attention."""
    num_kv_heads: Count | None = None
    """Key and value heads, shared by groups of query heads (grouped-query attention); none: as many as `num_heads`."""
    head_dim: Count | None = None
    """Width of a head; none: `d_model` / `num_heads`."""
    ffn_dim: Count = _FROM_PRESET
    """Inner width of the feed-forward layers."""
    activation: Literal["relu", "gelu", "silu", "geglu", "swiglu"] = _FROM_PRESET
    """Of the feed-forward layers; geglu and swiglu are gated."""
    norm: Literal["layer", "rms"] = _FROM_PRESET
    """LayerNorm or RMSNorm."""
    norm_placement: Literal["pre", "post"] = _FROM_PRESET
    """Before each block, with a final norm; or after the residual sum, as in the paper."""
    positions: Literal["sinusoidal", "learned", "rotary", "relative", "alibi", "none"] = _FROM_PRESET
    """How tokens know their place; relative (T5) and alibi add that rule to self-attention."""
    bias: bool = _FROM_PRESET
    """Biases in linear layers and norms."""
    tie_embeddings: bool = _FROM_PRESET
    """One table for target embedding and output, and for the source too where the tokenizer is shared."""
    dropout: Rate = _FROM_PRESET
    """Of embeddings and of each block's output."""
    attention_dropout: Rate = 0.0
    """Of attention weights."""
    activation_dropout: Rate = 0.0
    """Inside the feed-forward layers, after the activation."""
    layer_drop: Rate = 0.0
    """Probability that a layer is skipped in training."""
    max_length: Count = 1024
    """Longest sequence on either side, in tokens, end included."""
    attention_scale: Positive | None = None
    """Factor of the attention scores; none: 1 / sqrt(head_dim)."""

    def __post_init__(self) -> None:
        preset = str(self.preset or "small")
        if preset not in PRESETS:
            problem = f"must be one of {', '.join(PRESETS)}, but is {show(preset)}"
            raise SettingError(("preset",), problem, hint=nearest(preset, PRESETS))
        object.__setattr__(self, "preset", preset)
        for name, value in PRESETS[preset].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        super().__post_init__()

    def check(self) -> None:
        heads, groups = self.num_heads, self.num_kv_heads or self.num_heads
        require(heads % groups == 0, "num_kv_heads", f"must divide `num_heads` ({heads}), but is {groups}")
        whole = self.head_dim is not None or self.d_model % heads == 0
        problem = f"must be a multiple of `num_heads` ({heads}), but is {self.d_model}"
        require(whole, "d_model", problem, "Change it, or set `head_dim`.")
        width = self.head_dim or self.d_model // heads
        paired = self.positions != "rotary" or width % 2 == 0
        require(paired, "head_dim", f"must be even for rotary positions, but is {width}")


@dataclass(frozen=True)
class AttentionConfig(Settings):
    encoder: object = "full"
    """The encoder's self-attention: a name, {name: settings}, {all: [...]}, or a list that alternates over layers."""
    decoder: object = "full"
    """The decoder's self-attention, written alike."""
    cross: object = "full"
    """The decoder's attention to the source, written alike."""


@dataclass(frozen=True)
class SourceConfig(Settings):
    path: str | None = None
    """A table of pairs: .tsv, .csv or .jsonl, each also .gz."""
    source: str | None = None
    """A text file with one source a line, also .gz; `target` is the other side."""
    target: str | None = None
    """A text file with one target a line, also .gz."""
    source_field: CountOrZero | str | None = None
    """The column or key with the source: a name, or a number from 0 in a table without a header."""
    target_field: CountOrZero | str | None = None
    """The column or key with the target, likewise."""

    def check(self) -> None:
        sides = (self.source is not None) + (self.target is not None)
        names = self.source_field is not None or self.target_field is not None
        example = "For example {source: train.en, target: train.de}, or {path: train.tsv}."
        require(self.path is None or not sides, "", "must have `path` or `source` and `target`, but has both", example)
        require(self.path is not None or sides == 2, "", "must have `path`, or both `source` and `target`", example)
        require(not names or self.path is not None, "", "must have `source_field` and `target_field` only with `path`")

    @property
    def files(self) -> list[str]:
        """The files of this source: one, or the two sides."""
        return [file for file in (self.path, self.source, self.target) if file is not None]


@dataclass(frozen=True)
class DataConfig(Settings):
    train: object
    """{source: FILE, target: FILE} or {path: FILE}, or a list of these; in Python also (source, target) pairs."""
    valid: object = None
    """The validation pairs, written alike; without them there is no validation."""
    max_length: Count | None = None
    """Longest side of a training pair in tokens, end included; none: the model's `max_length`."""
    overflow: Literal["error", "truncate", "skip"] = "error"
    """What happens to a longer one."""
    streaming: Literal["auto", "always", "never"] = "auto"
    """Read the training files piece by piece; auto: where they are larger than 256 MiB of text."""

    def __post_init__(self) -> None:
        for name in ("train", "valid"):
            with inside(name):
                object.__setattr__(self, name, _sources(getattr(self, name)))
        super().__post_init__()

    def check(self) -> None:
        require(self.train is not None, "train", "must be given, but is empty")
        readable = self.streaming != "always" or is_files(self.train)
        require(readable, "streaming", "must be auto or never for pairs from Python, but is always")


def is_files(data: object) -> bool:
    """Whether `data` (DataConfig.train or .valid) names files rather than holding pairs."""
    items = data if isinstance(data, tuple) and data else (data,)
    return all(isinstance(item, SourceConfig) for item in items)


def _sources(value: Any) -> object:
    """A file source, a tuple of them, or pairs; an iterator becomes a tuple, since data is read more than once."""
    value = value.meaning if isinstance(value, FlagText) else value
    if value is None or isinstance(value, SourceConfig | Mapping):
        return build(SourceConfig, value) if isinstance(value, Mapping) else value
    if isinstance(value, str) or not isinstance(value, Iterable):
        remedy = "For example {source: train.en, target: train.de}, or {path: train.tsv}."
        raise SettingError((), f"must be files or pairs, but is {show(value)}", remedy=remedy)
    if isinstance(value, list | tuple) and value and all(isinstance(item, Mapping | SourceConfig) for item in value):
        made: list[SourceConfig] = []
        for number, item in enumerate(value):
            with inside(str(number)):
                made.append(item if isinstance(item, SourceConfig) else build(SourceConfig, item))
        return tuple(made)
    return tuple(value) if isinstance(value, Iterator) else value


@dataclass(frozen=True)
class TrainingConfig(Settings):
    optimizer: str = "adamw"
    """A registered optimizer, or module:Name."""
    lr: Positive = 1e-3
    """Learning rate at its peak."""
    betas: tuple[Rate, Rate] = (0.9, 0.98)
    """AdamW's two decay rates."""
    weight_decay: NotNegative = 0.01
    """Decoupled weight decay; not on biases, norms and embeddings."""
    schedule: str = "inverse_sqrt"
    """Of the learning rate after warm-up: inverse_sqrt, cosine, linear, wsd or constant; or module:Name."""
    warmup_steps: CountOrZero = 400
    """Steps in which the learning rate rises from 0."""
    max_steps: Count | None = None
    """Optimizer steps after which training ends."""
    max_epochs: Count | None = None
    """Passes over the data after which training ends."""
    max_minutes: Positive | None = None
    """Minutes of training after which it ends, validation apart, summed over resumes."""
    batch_tokens: Count = 4096
    """Bound of rows x longest row of one micro-batch, on each side, padding counted."""
    accumulate: Count = 1
    """Micro-batches in one optimizer step."""
    clip_norm: NotNegative = 1.0
    """Largest norm of the gradient; 0: no clipping."""
    label_smoothing: Rate = 0.1
    """Share of the probability that is spread over the whole vocabulary."""
    average_last: Count = 1
    """Average the weights of the last N snapshots where that scores better; 1: off."""
    precision: Annotated[str, Spelling(precision_name)] = "float32"
    """float32 (fp32), bfloat16 (bf16) or float16 (fp16)."""
    compile: bool = False
    """Compile the network with torch.compile."""
    save_every_steps: Count = 500
    """Steps from snapshot to snapshot."""
    keep_last: Count = 5
    """Snapshots that are kept."""
    patience: Count | None = None
    """Validations without a better one after which training ends; none: never."""
    seed: CountOrZero = 0
    """Of weights, data order and dropout."""
    log_every_steps: Count = 50
    """Steps from one line of metrics.jsonl to the next."""

    def check(self) -> None:
        problem = f"must be at least `average_last` ({self.average_last}), but is {self.keep_last}"
        require(self.keep_last >= self.average_last, "keep_last", problem)


@dataclass(frozen=True)
class ValidationConfig(Settings):
    every_steps: Count = 500
    """Steps from validation to validation."""
    metrics: tuple[object, ...] = ()
    """Metrics of generated text, each a name or {name: settings}: bleu, chrf, ter, exact_match."""
    beam_size: Count = 1
    """Of the search at a validation; 1 is greedy."""
    keep_best: str | None = None
    """The metric that chooses the model; none: the first of `metrics`, else valid_loss."""
    max_examples: Count | None = None
    """Validate on the first N pairs; none: on all."""
    samples: CountOrZero = 3
    """Outputs shown at each validation."""

    def check(self) -> None:
        for number, metric in enumerate(self.metrics):
            named = isinstance(metric, str) or (isinstance(metric, Mapping) and len(metric) == 1)
            require(named, f"metrics.{number}", f"must be a name or {{name: settings}}, but is {show(metric)}")
        known = [*self.metric_names, "valid_loss"]
        problem = f"must be one of {', '.join(known)}, as `metrics` says, but is {show(self.keep_best)}"
        require(self.keep_best is None or self.keep_best in known, "keep_best", problem)

    @property
    def metric_names(self) -> list[str]:
        """The metrics without their settings."""
        return [str(next(iter(metric))) if isinstance(metric, Mapping) else str(metric) for metric in self.metrics]


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


@dataclass(frozen=True)
class TrainConfig(Settings):
    data: DataConfig
    """What is learned from."""
    task: str = "translation"
    """How a record becomes source and target: translation, text, or module:Name."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """How text becomes ids."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network's shape."""
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    """The kinds of attention."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """How it is learned."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """What is measured on the way."""
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    """The search settings that the model is saved with."""
    output: str = "runs/model"
    """The run folder, made by training."""
    folder: str | None = None
    """Where module:Name is looked for first: the recipe's folder."""

    def check(self) -> None:
        most = self.model.max_length
        asked = {"data.max_length": self.data.max_length, "generation.max_new_tokens": self.generation.max_new_tokens}
        for name, value in asked.items():
            require((value or 0) <= most, name, f"must be at most `model.max_length` ({most}), but is {value}")
        ends = ("max_steps", "max_epochs", "max_minutes", "patience")
        ending = any(getattr(self.training, name) is not None for name in ends)
        require(ending, "training", f"must say when to end: {', '.join(ends)}", "For example max_steps: 8000.")
        wanting = {"training.patience": self.training.patience, "validation.metrics": self.validation.metrics}
        for name, value in wanting.items():
            held = self.data.valid is not None or not value
            require(held, name, "needs validation pairs, but `data.valid` is not given")
        rule = self.model.positions
        for role in ("encoder", "decoder"):
            twice = rule in ("relative", "alibi") and _mentions(getattr(self.attention, role), rule)
            require(not twice, f"attention.{role}", f"names `{rule}`, as does `model.positions`", "Drop one of them.")


def _mentions(spec: object, name: str) -> bool:
    """Whether an attention's spec names the rule `name` anywhere."""
    if isinstance(spec, Mapping):
        return any(key == name or _mentions(value, name) for key, value in spec.items())
    return spec == name or (isinstance(spec, list | tuple) and any(_mentions(item, name) for item in spec))
