"""The CTC loss beside the decoder's, if the network has a CTC head.

objective = CTCObjective(network, settings, left_out=[1, 2])
loss = network(batch, objective.joint(CrossEntropy()))
"""

from __future__ import annotations

from collections.abc import Collection

from antiphon.config import TrainingConfig
from antiphon.errors import ConfigError
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.ctc import JointCTC
from antiphon.nn.loss import FusedCriterion

DEFAULT_WEIGHT = 0.3  # of Watanabe et al. 2017, and of most recipes since


class CTCObjective:
    """Joins the CTC loss of `network` to the criterion of the decoder, by `settings.ctc_weight`.

    `left_out` are the ids that are no part of CTC targets. ConfigError for a weight without a CTC head.
    """

    def __init__(self, network: EncoderDecoder, settings: TrainingConfig, *, left_out: Collection[int] = ()) -> None:
        if network.ctc is None and settings.ctc_weight is not None:
            raise ConfigError(
                f"`training.ctc_weight` needs a network with a CTC head, but it is {settings.ctc_weight} and the "
                "network has none. Set `model.ctc: true`, or leave it out."
            )
        self.weight = 0.0 if network.ctc is None else settings.ctc_weight or DEFAULT_WEIGHT
        self.left_out = left_out
        self._warned = False

    def joint(self, criterion: FusedCriterion) -> FusedCriterion:
        """`criterion` with the CTC loss; itself for a network without a head. The first batch is checked."""
        if not self.weight:
            return criterion
        first, self._warned = not self._warned, True
        return JointCTC(criterion, weight=self.weight, left_out=self.left_out, warns=first)
