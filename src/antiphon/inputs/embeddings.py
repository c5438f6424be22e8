"""Source embeddings: modules that turn a batch of sources into the vectors that an encoder reads.

    x, tokens = embedding(source, tokens)       # ids (B, L) or features (B, F, M) -> (B, S, D)

Shapes: B rows, L tokens, F frames, M features of a frame, S positions of the encoder, D features of a vector.
"""

from __future__ import annotations

from torch import Tensor, nn

from antiphon.batch import Tokens
from antiphon.config import ModelConfig
from antiphon.errors import DataError
from antiphon.nn.convolutions import Convolutions
from antiphon.nn.grid_positions import GridPositions
from antiphon.nn.image_convolutions import ImageConvolutions
from antiphon.nn.layers import zero_padding
from antiphon.nn.noise import Dropout, Noise
from antiphon.nn.positions import Learned, NoPositions, Sinusoidal


class SourceEmbedding(nn.Module):
    """The base of source embeddings.

    A subclass has `positions`, the module that adds positions, and a `forward` from a source and its `Tokens` to
    vectors (B, S, D), zero at padding, and their `Tokens`.
    """

    positions: nn.Module

    @property
    def d_model(self) -> int:
        """D, the width of the vectors."""
        raise NotImplementedError

    @property
    def vocab_size(self) -> int | None:
        """The number of ids of sources; None if sources are features."""
        return None


class FeatureEmbedding(SourceEmbedding):
    """Frames of features to the encoder's input: convolutions, times `scale`, position encoding, dropout, zero at
    padding.

    `most`: the largest number of frames, None for any. `what`: a source in errors.
    """

    def __init__(
        self,
        convolutions: Convolutions | ImageConvolutions,
        positions: nn.Module,
        *,
        most: int | None,
        what: str = "a clip",
        scale: float = 1.0,
        dropout: float = 0.0,
        noise: Noise | None = None,
    ) -> None:
        super().__init__()
        self.convolutions, self.positions, self.what = convolutions, positions, what
        self.most, self.scale = most, scale
        self.drop = Dropout(dropout, noise or Noise())

    @property
    def d_model(self) -> int:
        return self.convolutions.d_model

    def forward(self, features: Tensor, tokens: Tokens) -> tuple[Tensor, Tokens]:
        """features (B, F, M) -> (B, S, D) with S < F, and its `Tokens`; DataError for more than `most` frames."""
        if self.most is not None and features.shape[1] > self.most:
            raise DataError(f"{self.what} must have at most {self.most} frames, but has {features.shape[1]}. Cut it.")
        x, tokens = self.convolutions(features.to(self.convolutions.dtype), tokens)
        x = x if self.scale == 1.0 else x * self.scale
        place = tokens.grid if isinstance(self.positions, GridPositions) else tokens.pos
        return zero_padding(self.drop(self.positions(x, place)), tokens.valid), tokens


def absolute_positions(model: ModelConfig, width: int, *, max_length: int) -> nn.Module:
    """The module that adds the positions of `model` to vectors (B, L, width) of at most `max_length` positions."""
    offset = 0 if model.family is None else model.family.position_offset
    if model.positions == "sinusoidal":
        layout = "interleaved" if model.family is None else model.family.sinusoids
        return Sinusoidal(width, layout=layout, offset=offset)
    if model.positions == "learned":
        return Learned(width, max_length=max_length, offset=offset)
    return NoPositions()
