"""Settings of the loss that training minimizes; part of the section `training`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from antiphon.config.distillation import DistillationConfig
from antiphon.settings import NotNegative, Range, Rate, Settings

Part = Annotated[float, Range(low=0, high=1, open_low=True)]


@dataclass(frozen=True)
class ObjectiveSettings(Settings):
    label_smoothing: Rate = field(default=0.1, kw_only=True)
    """Probability mass that is spread uniformly over the vocabulary."""
    ctc_weight: Part | None = field(default=None, kw_only=True)
    """Weight of the CTC loss, that of the decoder is 1 less this; none: 0.3 with `model.ctc`."""
    r_drop: NotNegative = field(default=0.0, kw_only=True)
    """Weight of the divergence between two passes with different dropout (R-Drop); 0: off, 5 is usual. Doubles the
    time."""
    distillation: DistillationConfig | None = field(default=None, kw_only=True)
    """Knowledge distillation from a teacher: {teacher, weight, temperature, copy_layers}; none: off."""
