"""Settings of training and validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from antiphon.config.interval import Every, Interval, read_interval, set_default_steps
from antiphon.config.objective import ObjectiveSettings
from antiphon.config.parallel import ParallelSettings
from antiphon.config.protection import ProtectionSettings
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
    """float32, bfloat16 or float16, also from fp32, bf16, fp16; SettingError for others."""
    if text not in _PRECISIONS:
        problem = f"must be one of {', '.join(_PRECISIONS)}, but is {show(text)}"
        raise SettingError((), problem, hint=nearest(text, _PRECISIONS))
    return _PRECISIONS[text]


@dataclass(frozen=True)
class GroupConfig(Settings):
    match: str
    """A pattern of parameter names: `encoder.*`, `*.norm.weight`, `source.table.weight`."""
    lr_scale: Positive = 1.0
    """Factor of the learning rate, in addition to `layer_decay`."""
    weight_decay: NotNegative | None = None
    """Overrides `training.weight_decay`; none: that, or 0 for biases, norms and embeddings."""
    freeze: bool = False
    """Do not train these parameters."""


@dataclass(frozen=True)
class AdapterConfig(Settings):
    """Small matrices next to linear layers, which are trained instead of them (package peft)."""

    kind: Literal["lora", "dora"] = "lora"
    """lora: a low-rank update (Hu et al. 2022); dora: with trained magnitudes too (Liu et al. 2024)."""
    rank: Count = 8
    """Rank of the matrices."""
    alpha: Positive = 16.0
    """The update is scaled by alpha / rank."""
    dropout: Rate = 0.0
    """Dropout of the input of the matrices."""
    targets: tuple[str, ...] = ("encoder.*", "decoder.*")
    """The linear layers that get one: patterns of their names, such as *.q, or what peft calls them, such as q_proj."""
    trained: tuple[str, ...] = ()
    """Other weights that are fully trained: patterns of their names, such as *norm*."""


@dataclass(frozen=True)
class TrainingConfig(ObjectiveSettings, ParallelSettings, ProtectionSettings):
    optimizer: object = "adamw"
    """adamw, adafactor, muon, lion, schedule_free, sgd or module:Class; with further settings: {name: settings}."""
    lr: Positive = 1e-3
    """Peak learning rate."""
    betas: tuple[Rate, Rate] = (0.9, 0.98)
    """The decay rates of the optimizer's moments, if it has them."""
    weight_decay: NotNegative = 0.01
    """Weight decay (decoupled, if the optimizer can); not on biases, norms and embeddings."""
    groups: tuple[GroupConfig, ...] = ()
    """Parameter groups, each {match, lr_scale, weight_decay, freeze}; the first match applies."""
    adapter: AdapterConfig | None = None
    """Train an adapter instead of the base's weights: {kind, rank, alpha, dropout, targets, trained}; none: no
    adapter."""
    layer_decay: Annotated[float, Range(low=0, high=1, open_low=True)] = 1.0
    """Factor of the learning rate from each layer to the one below it; embeddings are lowest; 1: off."""
    schedule: str = "inverse_sqrt"
    """Learning rate schedule after warm-up: inverse_sqrt, cosine, linear, wsd or constant; or module:Name."""
    warmup_steps: CountOrZero = 400
    """Steps in which the learning rate rises from 0."""
    max_steps: Count | None = None
    """Optimizer steps after which training ends."""
    max_epochs: Count | None = None
    """Passes over the data after which training ends."""
    max_minutes: Positive | None = None
    """Minutes after which training ends, without validation, summed over resumes."""
    batch_tokens: Count = 4096
    """Maximum of rows x longest row of a micro-batch, on each side, padding included."""
    accumulate: Count = 1
    """Micro-batches in one optimizer step."""
    clip_norm: NotNegative = 1.0
    """Gradients are clipped to this norm; 0: no clipping."""
    mixout: Rate = 0.0
    """Probability that, in training, an element of a linear weight is replaced by its initial value. For
    fine-tuning."""
    ema: Rate = 0.0
    """Decay of the exponential moving average of the weights, which is validated and saved; 0: off."""
    average_last: Count = 1
    """Average the weights of the last N snapshots if that scores better; 1: off."""
    average_best: Count = 1
    """Average the weights of the N best validations if that scores better; 1: off."""
    precision: Annotated[str, NamedChoice(precision_name)] = "float32"
    """float32 (fp32), bfloat16 (bf16) or float16 (fp16)."""
    compile: bool = False
    """Compile the network with torch.compile."""
    checkpoint_activations: bool = False
    """Recompute activations in the backward pass: less memory for long inputs, more time."""
    save_every: Every | None = None
    """Interval of snapshots, in steps or epochs: 500, 500 steps or 1 epoch; replaces save_every_steps."""
    save_every_steps: Count | None = None
    """Steps between snapshots; 500 if save_every is not given."""
    keep_last: Count = 5
    """Number of newest snapshots to retain."""
    patience: Count | None = None
    """Validations without improvement after which training ends; none: never."""
    seed: CountOrZero = 0
    """Seed of initial weights, data order and dropout."""
    log_every: Every | None = None
    """Interval of rows in metrics.jsonl, in steps or epochs: 50, 50 steps or 1 epoch; replaces log_every_steps.
    Without it, a run that ends by max_epochs also has a row at the end of each epoch."""
    log_every_steps: Count | None = None
    """Steps between rows in metrics.jsonl; 50 if log_every is not given."""
    log_to: tuple[object, ...] = ()
    """Reporters that also get the rows: tensorboard, wandb, mlflow, trackio, a registered one or module:Name, each a
    name or {name: settings}."""

    def check(self) -> None:
        set_default_steps(self, "save_every", "save_every_steps", 500)
        set_default_steps(self, "log_every", "log_every_steps", 50)
        problem = f"must be at least `average_last` ({self.average_last}), but is {self.keep_last}"
        require(self.keep_last >= self.average_last, "keep_last", problem)
        one = self.distillation is None or not self.r_drop
        require(one, "r_drop", "must be 0 beside `distillation`, whose loss is of one pass", "Drop one of them.")
        mixed = "must be left out beside `adapter`, whose base stays as it is, but is"
        require(not self.adapter or not self.mixout, "mixout", f"{mixed} {self.mixout}")
        named = isinstance(self.optimizer, str) or (isinstance(self.optimizer, Mapping) and len(self.optimizer) == 1)
        require(named, "optimizer", f"must be a name or {{name: settings}}, but is {show(self.optimizer)}")
        _check_named("log_to", self.log_to)
        for name, settings in self.optimizer.items() if isinstance(self.optimizer, Mapping) else ():
            whole = settings is None or isinstance(settings, Mapping)
            require(whole, f"optimizer.{name}", f"must be a mapping of settings, but is {show(settings)}")

    @property
    def saves(self) -> Interval:
        """The interval of snapshots."""
        return read_interval(self.save_every or self.save_every_steps)

    @property
    def logs(self) -> tuple[Interval, ...]:
        """The intervals of rows of figures; a row is due at each of them."""
        rows = read_interval(self.log_every or self.log_every_steps)
        by_epoch = self.log_every is None and self.max_epochs is not None
        return (rows, Interval(1, "epochs")) if by_epoch else (rows,)

    @property
    def optimizer_name(self) -> str:
        """The name of the optimizer."""
        return str(next(iter(self.optimizer)) if isinstance(self.optimizer, Mapping) else self.optimizer)

    @property
    def optimizer_settings(self) -> dict[str, Any]:
        """The further settings of the optimizer."""
        return dict(self.optimizer[self.optimizer_name] or {}) if isinstance(self.optimizer, Mapping) else {}


@dataclass(frozen=True)
class ValidationConfig(Settings):
    every: Every | None = None
    """Interval of validations, in steps or epochs: 500, 500 steps or 1 epoch; replaces every_steps."""
    every_steps: Count | None = None
    """Steps between validations; 500 if every is not given."""
    metrics: tuple[object, ...] = ()
    """Metrics of generated text, each a name or {name: settings}: bleu, chrf, ter, rouge1, rouge2, rougeL, rougeLsum,
    exact_match, error_rate, wer, cer, per, accuracy, macro_f1, confusion, comet."""
    beam_size: Count = 1
    """Beam size at validations; 1 is greedy."""
    keep_best: str | None = None
    """The metric that selects the best model; none: the first of `metrics`, else valid_loss."""
    max_examples: Count | None = None
    """Validate on the first N pairs; none: on all."""
    samples: CountOrZero = 3
    """Outputs shown at each validation."""
    attention_entropy: bool = False
    """Measure entropy_encoder, entropy_decoder and entropy_cross: the entropy of attention weights on the first 64
    pairs, in nats, a mean over layers, heads and queries."""

    def check(self) -> None:
        set_default_steps(self, "every", "every_steps", 500)
        _check_named("metrics", self.metrics)
        known = [*self.metric_names, "valid_loss"]
        problem = f"must be one of {', '.join(known)}, as `metrics` says, but is {show(self.keep_best)}"
        require(self.keep_best is None or self.keep_best in known, "keep_best", problem)

    @property
    def interval(self) -> Interval:
        """The interval of validations."""
        return read_interval(self.every or self.every_steps)

    @property
    def metric_names(self) -> list[str]:
        """The names of the metrics."""
        return [str(next(iter(metric))) if isinstance(metric, Mapping) else str(metric) for metric in self.metrics]


def _check_named(setting: str, items: tuple[object, ...]) -> None:
    """SettingError unless each item is a name or a mapping from one name to its settings."""
    for number, item in enumerate(items):
        named = isinstance(item, str) or (isinstance(item, Mapping) and len(item) == 1)
        require(named, f"{setting}.{number}", f"must be a name or {{name: settings}}, but is {show(item)}")
        for name, settings in item.items() if isinstance(item, Mapping) and setting == "log_to" else ():
            whole = settings is None or isinstance(settings, Mapping)
            require(whole, f"{setting}.{number}.{name}", f"must be a mapping of settings, but is {show(settings)}")
