"""The settings of images within texts: stored in the `config.json` of a model folder, never in a recipe.

    VisionConfig(d_model=1152, layers=27, num_heads=16, ffn_dim=4304, image_size=896, patch=14, image_id=262144, ...)

Gemma Team 2025, "Gemma 3 Technical Report", section 2.1: a SigLIP encoder of square images, whose vectors are pooled
and stand in the text in place of as many ids.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from antiphon.config.ids import Id
from antiphon.settings import Range, Rate, Settings, require

_Size = Annotated[int, Range(low=1, high=2**16)]


@dataclass(frozen=True, kw_only=True)
class VisionConfig(Settings):
    d_model: _Size
    """Width of the vision encoder."""
    layers: Annotated[int, Range(low=0, high=256)]
    """Its layers."""
    num_heads: _Size
    """Heads of its attention."""
    ffn_dim: _Size
    """Inner width of its feed-forward layers."""
    image_size: Annotated[int, Range(low=1, high=2**13)]
    """Height and width of an image in pixels; other images are scaled."""
    patch: Annotated[int, Range(low=1, high=2**10)]
    """Height and width of a patch in pixels."""
    channels: Annotated[int, Range(low=1, high=4)] = 3
    """3: colour."""
    tokens: Annotated[int, Range(low=1, high=2**16)] = 256
    """Vectors of an image in the text."""
    activation: Literal["relu", "gelu", "gelu_tanh", "silu"] = "gelu_tanh"
    """Activation of the feed-forward layers."""
    norm_eps: Annotated[float, Range(low=0, high=1, open_low=True)] = 1e-6
    """What the norms add to the variance."""
    attention_dropout: Rate = 0.0
    """Dropout of the attention weights."""
    image_id: Id
    """The id that stands in the text for each vector of an image."""
    begin_id: Id
    """The id before an image."""
    end_id: Id
    """The id behind an image."""

    def check(self) -> None:
        require(self.d_model % self.num_heads == 0, "num_heads", f"must divide `d_model` ({self.d_model})")
        problem = f"must be at most `image_size` ({self.image_size}), but is {self.patch}"
        require(self.patch <= self.image_size, "patch", problem)
        pooled = math.isqrt(self.tokens)
        fits = pooled**2 == self.tokens and pooled <= self.side and self.side % pooled == 0
        problem = f"must be the square of a divisor of the {self.side} patches of a side, but is {self.tokens}"
        require(fits, "tokens", problem)

    @property
    def side(self) -> int:
        """Patches of one side of an image."""
        return self.image_size // self.patch

    @property
    def pool(self) -> int:
        """Patches of one side of a square whose vectors are averaged."""
        return self.side // math.isqrt(self.tokens)
