"""Linear attention: the exponential of softmax is replaced by a product of features, so that running sums suffice."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from antiphon.nn.mixers.heads import wide
from antiphon.nn.mixers.recurrence import Recurrence, RecurrenceInputs
from antiphon.registry import register

MIN_WEIGHT_SUM = 1e-6  # a query without visible keys gives 0 / MIN_WEIGHT_SUM, which is zero


@register("attention", "linear")
class LinearAttention(Recurrence):
    """Weights phi(q)·phi(k) over their sum, phi = elu + 1 (Katharopoulos et al. 2020, eq. 4-9).

    Sᵢ = Σ phi(kⱼ) ⊗ vⱼ and zᵢ = Σ phi(kⱼ), over j ≤ i in a decoder and over all j elsewhere, are one memory: values
    have a last feature that is one, and its sum is z. The output is phi(qᵢ)·Sᵢ / phi(qᵢ)·zᵢ. In an encoder
    and in cross-attention, order is known from the positions of the model only.
    """

    @property
    def value_dim(self) -> int:
        return self.head_dim + 1

    def queries(self, x: Tensor) -> Tensor:
        return functional.elu(super().queries(x)) + 1

    def writes(self, x: Tensor) -> RecurrenceInputs:
        k, v = (wide(part) for part in self.heads(x, self.k, self.v))
        never = v.new_zeros(1, 1, v.shape[2])
        return RecurrenceInputs(functional.elu(k) + 1, functional.pad(v, (0, 1), value=1.0), None, never)

    def normalize_output(self, out: Tensor) -> Tensor:
        return out[..., :-1] / out[..., -1:].clamp(min=MIN_WEIGHT_SUM)
