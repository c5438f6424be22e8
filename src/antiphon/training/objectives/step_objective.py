"""The loss of a training step, as the settings put it together.

    objective = StepObjective(network, settings, teacher=None, left_out=[1, 2])
    loss = objective.loss(network, batch)

The decoder's part is label-smoothed cross-entropy, R-Drop, or distillation from a teacher; a network with a CTC head
has the CTC loss beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from antiphon.batch import Batch
from antiphon.config import TrainingConfig
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.loss import CrossEntropy, FusedCriterion, LossSum
from antiphon.training.objectives.distillation import Distillation
from antiphon.training.objectives.joint_ctc import CTCObjective
from antiphon.training.objectives.r_drop import PairedCrossEntropy, twice


class StepObjective:
    """The loss of micro-batches. `left_out` are the ids that are no part of CTC targets. ConfigError as in
    `CTCObjective`."""

    def __init__(
        self,
        network: EncoderDecoder,
        settings: TrainingConfig,
        *,
        teacher: EncoderDecoder | None = None,
        left_out: Collection[int] = (),
    ) -> None:
        smoothing, self.paired = settings.label_smoothing, settings.r_drop > 0
        self.criterion = PairedCrossEntropy(smoothing, settings.r_drop) if self.paired else CrossEntropy(smoothing)
        self.distillation = None if teacher is None else Distillation(teacher, settings)
        self.ctc = CTCObjective(network, settings, left_out=left_out)

    def loss(self, forward: Callable[[Batch, FusedCriterion], LossSum], batch: Batch) -> LossSum:
        """The loss of `batch`, by the `forward` of the network."""
        criterion = self.criterion if self.distillation is None else self.distillation.criterion(batch)
        return forward(twice(batch) if self.paired else batch, self.ctc.joint(criterion))
