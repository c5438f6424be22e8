"""Source embeddings: modules that turn a batch of sources into the vectors that an encoder reads.

    x, tokens = embedding(source, tokens)       # ids (B, L) or features (B, F, M) -> (B, S, D)

Shapes: B rows, L tokens, F frames, M features of a frame, S positions of the encoder, D features of a vector.
"""

from __future__ import annotations

from torch import Tensor, nn

from antiphon.batch import Tokens
from antiphon.errors import DataError
from antiphon.nn.convolutions import Convolutions
from antiphon.nn.image_convolutions import ImageConvolutions
from antiphon.nn.layers import zero_padding
from antiphon.nn.noise import Dropout, Noise


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
    """Frames of features to the encoder's input: convolutions, position encoding, dropout, zero at padding.

    `what`: a source in errors.
    """

    def __init__(
        self,
        convolutions: Convolutions | ImageConvolutions,
        positions: nn.Module,
        *,
        most: int,
        what: str = "a clip",
        dropout: float = 0.0,
        noise: Noise | None = None,
    ) -> None:
        super().__init__()
        self.convolutions, self.positions, self.most, self.what = convolutions, positions, most, what
        self.drop = Dropout(dropout, noise or Noise())

    @property
    def d_model(self) -> int:
        return self.convolutions.d_model

    def forward(self, features: Tensor, tokens: Tokens) -> tuple[Tensor, Tokens]:
        """features (B, F, M) -> (B, S, D) with S < F, and its `Tokens`; DataError for more than `most` frames."""
        if features.shape[1] > self.most:
            raise DataError(f"{self.what} must have at most {self.most} frames, but has {features.shape[1]}. Cut it.")
        x, tokens = self.convolutions(features.to(self.convolutions.dtype), tokens)
        return zero_padding(self.drop(self.positions(x, tokens.pos)), tokens.valid), tokens
