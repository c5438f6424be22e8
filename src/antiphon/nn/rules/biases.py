"""Score rules that add a bias by relative position: for each head, and in `shaw` also by the query."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from antiphon.nn.rules.rule import ScoreRule, TermTable
from antiphon.nn.rules.settings import truth, whole
from antiphon.registry import register

MAX_CACHED_DISTANCES = 4096  # distances up to which buckets are looked up in a table, even for fewer pairs


@register("attention", "alibi")
class Alibi(ScoreRule):
    """A linear penalty on distance with a fixed slope a head; symmetric in an encoder.

    Press et al. 2022, ALiBi, section 3.
    """

    additive = True
    slopes: Tensor

    def setup(self, *, num_heads: int, head_dim: int, role: str) -> None:
        power = 2 ** math.floor(math.log2(num_heads))
        slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
        # Heads beyond a power of two have every other slope of twice as many heads, as the paper's code does.
        slopes += [2 ** (-4 * (2 * i + 1) / power) for i in range(num_heads - power)]
        self.register_buffer("slopes", torch.tensor(slopes), persistent=False)

    def score(self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return score - self.slopes[head] * (q_pos - k_pos).abs()


@register("attention", "relative")
class Relative(ScoreRule):
    """A learned bias for each head and bucket of relative distance (Raffel et al. 2020, T5, section 2.1; buckets as in
    its code).

    Half of the buckets have one distance each, the others grow logarithmically up to `max_distance`; in an encoder
    half of them are for keys to the right. One table (H, buckets) for the stack, or with `per_layer` one a layer (Chung
    et al. 2023, UMT5).
    """

    additive = True

    def __init__(self, *, buckets: int = 32, max_distance: int = 128, per_layer: bool = False) -> None:
        super().__init__()
        whole("max_distance", max_distance, least=1)
        if whole("buckets", buckets, least=4) % 2 or max_distance <= buckets // 2:
            raise ValueError(
                f"`buckets` must be even and at least 4, and `max_distance` more than half of it, "
                f"but they are {buckets} and {max_distance}."
            )
        self.buckets, self.max_distance, self.both_sides = buckets, max_distance, True
        self.per_layer = truth("per_layer", per_layer)  # type: ignore[misc]

    def setup(self, *, num_heads: int, head_dim: int, role: str) -> None:
        self.both_sides = role != "decoder"
        self.table = nn.Parameter(torch.randn(num_heads, self.buckets) * 0.02)

    def score(self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return score + self.table[head, self._buckets(k_pos - q_pos)]

    def _buckets(self, offset: Tensor) -> Tensor:
        """`bucket`, computed once for each distance, not each pair; beyond `max_distance` all buckets are equal."""
        far = self.max_distance
        # torch.compile fuses the operations, and cannot create the table within a kernel.
        if torch.compiler.is_compiling() or far > max(offset.numel(), MAX_CACHED_DISTANCES):
            return self.bucket(offset)
        return self.bucket(torch.arange(-far, far + 1, device=offset.device))[offset.clamp(-far, far) + far]

    def bucket(self, offset: Tensor) -> Tensor:
        """The bucket of each offset (key position minus query position), int64."""
        count, shift = self.buckets, 0
        if self.both_sides:
            count //= 2
            shift = (offset > 0).long() * count
            distance = offset.abs()
        else:
            distance = (-offset).clamp(min=0)
        exact = count // 2
        # In float32 as the reference; the clamp keeps the logarithm finite where it is not used.
        ratio = torch.log(distance.clamp(min=1).float() / exact) / math.log(self.max_distance / exact)
        far = (exact + (ratio * (count - exact)).long()).clamp(max=count - 1)
        return shift + torch.where(distance < exact, distance, far)


@register("attention", "shaw")
class Shaw(ScoreRule):
    """Learned relative keys: q·a / sqrt(head_dim) is added, where a is the relative key of the offset j - i, clipped to
    ±`max_distance`.

    Shaw et al. 2018, eq. 4; the relative values of its eq. 3 are left out (its table 3 finds no gain in them). The keys
    are (H, 2 max_distance + 1, D), by head and layer, as in its base model (section 4.1).
    """

    per_layer = True

    def __init__(self, max_distance: int = 16) -> None:
        super().__init__()
        self.max_distance = whole("max_distance", max_distance, least=1)

    def setup(self, *, num_heads: int, head_dim: int, role: str) -> None:
        self.keys = nn.Parameter(torch.randn(num_heads, 2 * self.max_distance + 1, head_dim) * head_dim**-0.5)

    def terms(self, q: Tensor) -> Tensor:
        return q @ self.keys.transpose(-1, -2)  # (B, H, Q, D) @ (H, D, R) -> (B, H, Q, R)

    def score(  # type: ignore[override]
        self, score: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor, terms: TermTable
    ) -> Tensor:
        far = self.max_distance
        return score + terms[(k_pos - q_pos).clamp(-far, far) + far]
