"""How it is learned, and what is measured on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from antiphon.config.distillation import DistillationConfig
from antiphon.config.interval import Every, Interval, read_interval, settle
from antiphon.registry import nearest
from antiphon.settings import (
    Count,
    CountOrZero,
    NamedChoice,
    NotNegative,
    Positive,
    Range,
    Rate,
    SettingError,
    Settings,
    require,
    show,
)

_PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_PRECISIONS |= {name: name for name in ("float32", "bfloat16", "float16")}


def precision_name(text: str) -> str:
    """float32, bfloat16 or float16, from any of their spellings (fp32, bf16, fp16); SettingError for another."""
    if text not in _PRECISIONS:
        problem = f"must be one of {', '.join(_PRECISIONS)}, but is {show(text)}"
        raise SettingError((), problem, hint=nearest(text, _PRECISIONS))
    return _PRECISIONS[text]


@dataclass(frozen=True)
class GroupConfig(Settings):
    match: str
    """The parameters' names, as a pattern: `encoder.*`, `*.norm.weight`, `source.table.weight`."""
    lr_scale: Positive = 1.0
    """Factor of the learning rate, and of what `layer_decay` makes of it."""
    weight_decay: NotNegative | None = None
    """Instead of `training.weight_decay`; none: that, or 0 where it would not decay."""
    freeze: bool = False
    """Keep these parameters as they are."""


@dataclass(frozen=True)
class AdapterConfig(Settings):
    """Small matrices beside linear layers, which learn in their place (package peft)."""

    kind: Literal["lora", "dora"] = "lora"
    """lora: a low-rank sum (Hu et al. 2022); dora: with lengths of their own too (Liu et al. 2024)."""
    rank: Count = 8
    """Rank of the matrices."""
    alpha: Positive = 16.0
    """The sum counts alpha / rank."""
    dropout: Rate = 0.0
    """Of what the matrices read."""
    targets: tuple[str, ...] = ("encoder.*", "decoder.*")
    """The linear layers that get one: patterns of their names, such as *.q, or what peft calls them, such as q_proj."""
    trained: tuple[str, ...] = ()
    """Other weights that are trained whole, as patterns of their names, such as *norm*."""


@dataclass(frozen=True)
class TrainingConfig(Settings):
    optimizer: object = "adamw"
    """adamw, adafactor, muon, lion, schedule_free, sgd or module:Class; with settings of its own: {name: settings}."""
    lr: Positive = 1e-3
    """Learning rate at its peak."""
    betas: tuple[Rate, Rate] = (0.9, 0.98)
    """The two decay rates of the optimizers that have them."""
    weight_decay: NotNegative = 0.01
    """Weight decay (decoupled, if the optimizer can); not on biases, norms and embeddings."""
    groups: tuple[GroupConfig, ...] = ()
    """Parameters by pattern, each {match, lr_scale, weight_decay, freeze}; the first that matches holds."""
    adapter: AdapterConfig | None = None
    """Train an adapter in place of the base's weights: {kind, rank, alpha, dropout, targets, trained}; none: all."""
    layer_decay: Annotated[float, Range(low=0, high=1, open_low=True)] = 1.0
    """Factor of the rate from each layer to the one below it, embeddings lowest; 1: one rate."""
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
    r_drop: NotNegative = 0.0
    """Weight of the divergence between two passes with other dropout (R-Drop); 0: off, 5 is usual. Takes twice the
    time."""
    distillation: DistillationConfig | None = None
    """Learn from a teacher's probabilities too: {teacher, weight, temperature, copy_layers}; none: off."""
    mixout: Rate = 0.0
    """Probability that, in training, an element of a linear weight is that of the weights the run began with. Meant
    for fine-tuning."""
    ema: Rate = 0.0
    """Decay of the moving average of the weights that is validated and kept instead of them; 0: off."""
    average_last: Count = 1
    """Average the weights of the last N snapshots where that scores better; 1: off."""
    average_best: Count = 1
    """Average the weights of the N best validations where that scores better; 1: off."""
    precision: Annotated[str, NamedChoice(precision_name)] = "float32"
    """float32 (fp32), bfloat16 (bf16) or float16 (fp16)."""
    compile: bool = False
    """Compile the network with torch.compile."""
    checkpoint_activations: bool = False
    """Compute each layer twice instead of keeping what it computed: less memory for long inputs, more time."""
    save_every: Every | None = None
    """From snapshot to snapshot, in steps or epochs: 500, 500 steps or 1 epoch; in place of save_every_steps."""
    save_every_steps: Count | None = None
    """Steps from snapshot to snapshot; 500 where save_every is not given."""
    keep_last: Count = 5
    """Snapshots that are kept."""
    patience: Count | None = None
    """Validations without a better one after which training ends; none: never."""
    seed: CountOrZero = 0
    """Of weights, data order and dropout."""
    log_every: Every | None = None
    """From one row of metrics.jsonl to the next, in steps or epochs: 50, 50 steps or 1 epoch; in place of
    log_every_steps. Without it, a run that ends by max_epochs has a row at the end of each epoch besides."""
    log_every_steps: Count | None = None
    """Steps from one row of metrics.jsonl to the next; 50 where log_every is not given."""

    def check(self) -> None:
        settle(self, "save_every", "save_every_steps", 500)
        settle(self, "log_every", "log_every_steps", 50)
        problem = f"must be at least `average_last` ({self.average_last}), but is {self.keep_last}"
        require(self.keep_last >= self.average_last, "keep_last", problem)
        one = self.distillation is None or not self.r_drop
        require(one, "r_drop", "must be 0 beside `distillation`, whose loss is of one pass", "Drop one of them.")
        mixed = "must be left out beside `adapter`, whose base stays as it is, but is"
        require(not self.adapter or not self.mixout, "mixout", f"{mixed} {self.mixout}")
        named = isinstance(self.optimizer, str) or (isinstance(self.optimizer, Mapping) and len(self.optimizer) == 1)
        require(named, "optimizer", f"must be a name or {{name: settings}}, but is {show(self.optimizer)}")
        for name, settings in self.optimizer.items() if isinstance(self.optimizer, Mapping) else ():
            whole = settings is None or isinstance(settings, Mapping)
            require(whole, f"optimizer.{name}", f"must be a mapping of settings, but is {show(settings)}")

    @property
    def saves(self) -> Interval:
        """From snapshot to snapshot."""
        return read_interval(self.save_every or self.save_every_steps)

    @property
    def logs(self) -> tuple[Interval, ...]:
        """When a row of figures is due: at each of these."""
        rows = read_interval(self.log_every or self.log_every_steps)
        by_epoch = self.log_every is None and self.max_epochs is not None
        return (rows, Interval(1, "epochs")) if by_epoch else (rows,)

    @property
    def optimizer_name(self) -> str:
        """The optimizer without its settings."""
        return str(next(iter(self.optimizer)) if isinstance(self.optimizer, Mapping) else self.optimizer)

    @property
    def optimizer_settings(self) -> dict[str, Any]:
        """The settings of the optimizer's own."""
        return dict(self.optimizer[self.optimizer_name] or {}) if isinstance(self.optimizer, Mapping) else {}


@dataclass(frozen=True)
class ValidationConfig(Settings):
    every: Every | None = None
    """From validation to validation, in steps or epochs: 500, 500 steps or 1 epoch; in place of every_steps."""
    every_steps: Count | None = None
    """Steps from validation to validation; 500 where every is not given."""
    metrics: tuple[object, ...] = ()
    """Metrics of generated text, each a name or {name: settings}: bleu, chrf, ter, rouge1, rouge2, rougeL, rougeLsum,
    exact_match, error_rate, wer, cer, per, accuracy, macro_f1, confusion, comet."""
    beam_size: Count = 1
    """Of the search at a validation; 1 is greedy."""
    keep_best: str | None = None
    """The metric that chooses the model; none: the first of `metrics`, else valid_loss."""
    max_examples: Count | None = None
    """Validate on the first N pairs; none: on all."""
    samples: CountOrZero = 3
    """Outputs shown at each validation."""
    attention_entropy: bool = False
    """Measure entropy_encoder, entropy_decoder and entropy_cross: the entropy of attention weights on the first 64
    pairs, in nats, a mean over layers, heads and queries."""

    def check(self) -> None:
        settle(self, "every", "every_steps", 500)
        for number, metric in enumerate(self.metrics):
            named = isinstance(metric, str) or (isinstance(metric, Mapping) and len(metric) == 1)
            require(named, f"metrics.{number}", f"must be a name or {{name: settings}}, but is {show(metric)}")
        known = [*self.metric_names, "valid_loss"]
        problem = f"must be one of {', '.join(known)}, as `metrics` says, but is {show(self.keep_best)}"
        require(self.keep_best is None or self.keep_best in known, "keep_best", problem)

    @property
    def interval(self) -> Interval:
        """From validation to validation."""
        return read_interval(self.every or self.every_steps)

    @property
    def metric_names(self) -> list[str]:
        """The metrics without their settings."""
        return [str(next(iter(metric))) if isinstance(metric, Mapping) else str(metric) for metric in self.metrics]
