"""Sampling: temperature, top-k, top-p and min-p, and the counter-based random numbers that draw the tokens.

    random = HypothesisRandom([seed], rows, width=1)
    ids = TokenSampler(temperature=0.8, top_p=0.9).draw(scores, random.uniform(steps).flatten())

Shapes: N sources, W hypotheses of each, R = N·W, V ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from antiphon.errors import NonFiniteError
from antiphon.search.batch_state import PER_SOURCE, BatchState
from antiphon.splitmix import GOLDEN, finalize, signed


def not_numbers(network: object = None) -> NonFiniteError:
    """The error of probabilities that are NaN. It names float16 as the cause where the weights of `network` have that
    type, whose largest number is 65,504."""
    weight = next(network.parameters(), None) if isinstance(network, nn.Module) else None
    if weight is not None and weight.dtype == torch.float16:
        cause = "NaN in float16, whose largest number is 65,504. Load it with dtype bfloat16 or float32"
    else:
        cause = "NaN. Check its weights, or load it with dtype float32"
    return NonFiniteError(f"the model's probabilities must be numbers, but are {cause}.")


@dataclass(frozen=True, slots=True)
class TokenSampler:
    """Draws one token for each row, with the probabilities softmax(scores / temperature).

    Three filters, in this order: the `top_k` most probable tokens; of these the fewest whose renormalized probabilities
    add up to `top_p` (Holtzman et al. 2020); of these the tokens with at least `min_p` times the largest probability
    (Nguyen et al. 2024).
    """

    temperature: float
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    def draw(self, scores: Tensor, uniform: Tensor) -> Tensor:
        """Ids (R,), by inverse transform sampling: where the cumulative probabilities of row i pass `uniform[i]`.

        `scores` are (R, V), `uniform` (R,) in [0, 1). NonFiniteError where scores are NaN.
        """
        weights, ids = self.weights(scores)
        summed = weights.cumsum(1)
        total = summed[:, -1:]
        if bool(total.isnan().any()):
            raise not_numbers()
        place = (summed <= uniform[:, None] * total).sum(1, keepdim=True)
        place = place.clamp(max=scores.shape[1] - 1)  # if no token may follow, any one will do: its score is -inf
        return (place if ids is None else ids.gather(1, place))[:, 0]

    def weights(self, scores: Tensor) -> tuple[Tensor, Tensor | None]:
        """Unnormalized probabilities (R, V), 0 for filtered tokens, and the ids (R, V) that they are of.

        No ids: column i is id i.
        """
        ids = None
        if self.top_k is not None or self.top_p is not None:
            scores, ids = scores.sort(dim=1, descending=True, stable=True)
        exact = scores if scores.device.type == "mps" else scores.double()  # sums over a whole vocabulary
        lowest = torch.finfo(exact.dtype).min
        largest = exact.amax(1, keepdim=True).clamp(min=lowest)  # finite, so that a row of -inf does not become NaN
        weights = ((exact - largest) / self.temperature).exp()
        if self.top_k is not None:
            weights[:, self.top_k :] = 0
        if self.top_p is not None:
            before = weights.cumsum(1) - weights
            weights = weights.masked_fill(before >= self.top_p * weights.sum(1, keepdim=True), 0)
        if self.min_p is not None:
            weights = weights.masked_fill(weights < self.min_p * weights.amax(1, keepdim=True), 0)
        return weights, ids


@dataclass(init=False, eq=False)
class HypothesisRandom(BatchState):
    """Uniform random numbers that are a function of (seed, row, hypothesis, step) alone.

    So a sample does not depend on which other rows are in the batch. A counter-based generator keeps no state: it
    hashes the key and the step (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3").
    """

    keys: Tensor = field(metadata=PER_SOURCE)  # (N, W), int64

    def __init__(self, seeds: Sequence[int], rows: Tensor, width: int) -> None:
        """`rows` (N,), int64, number the sources, each with its own seed."""
        hypotheses = torch.arange(width, device=rows.device)
        seeded = torch.tensor([signed(seed * GOLDEN) for seed in seeds], device=rows.device)
        self.keys = finalize(finalize(rows ^ seeded)[:, None] + hypotheses)

    def uniform(self, steps: Tensor) -> Tensor:
        """(N, W), in [0, 1), for the step (N,) of each source, or (1,) of all."""
        counters = (steps + 1) * signed(GOLDEN)  # modulo 2**64
        bits = (finalize(self.keys ^ counters[:, None]) >> 11) & (2**53 - 1)
        if bits.device.type == "mps":
            return (bits.float() * 2.0**-53).clamp(max=1 - 2**-24)
        return bits.double() * 2.0**-53
