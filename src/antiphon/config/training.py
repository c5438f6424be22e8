"""How it is learned, and what is measured on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from antiphon.registry import nearest
from antiphon.settings import (
    Count,
    CountOrZero,
    NotNegative,
    Positive,
    Rate,
    SettingError,
    Settings,
    Spelling,
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
