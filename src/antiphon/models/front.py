"""What stands before a stack: ids or features to vectors, positions added.

    front = InputEmbedding(Embedding(8000, 256), Sinusoidal(256), dropout=0.1)
    x, tokens = front(ids, tokens)              # (B, L) -> (B, L, 256)

Shapes: B rows, L tokens, D features of a vector, F frames, M features of a frame.
"""

from __future__ import annotations

from torch import Tensor, nn

from antiphon.batch import Tokens
from antiphon.errors import DataError
from antiphon.nn.convolutions import Convolutions
from antiphon.nn.embedding import scale_if_new
from antiphon.nn.layers import zero_padding
from antiphon.nn.noise import Dropout, Noise, WordDropout


class InputEmbedding(nn.Module):
    """Ids to what a stack reads: token vectors times `scale` (None: sqrt(D), Vaswani et al. 2017, section 3.4), some of
    them dropped, positions added, a `norm` where there is one, dropout, zero at padding.

    `rounds`: the scale is first rounded to the type of the vectors. A new `torch.nn.Embedding` is scaled as
    `scale_if_new` says. `noise` None: that of the network it becomes part of.
    """

    def __init__(
        self,
        table: nn.Embedding,
        positions: nn.Module,
        *,
        scale: float | None = None,
        rounds: bool = False,
        dropout: float = 0.0,
        noise: Noise | None = None,
        word_dropout: float = 0.0,
        norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        scale_if_new(table)
        noise = noise or Noise()
        self.table, self.positions, self.rounds = table, positions, rounds
        self.scale = table.embedding_dim**0.5 if scale is None else scale
        self.norm = nn.Identity() if norm is None else norm
        self.words = WordDropout(word_dropout, noise) if word_dropout else nn.Identity()
        self.drop = Dropout(dropout, noise)

    @property
    def d_model(self) -> int:
        """D, the width of what it gives."""
        return self.table.embedding_dim

    def forward(self, ids: Tensor, tokens: Tokens) -> tuple[Tensor, Tokens]:
        """ids (B, L) -> (B, L, D), and its tokens."""
        vectors = self.table(ids)
        x = self.words(vectors * (vectors.new_full((), self.scale) if self.rounds else self.scale))
        x = self.drop(self.norm(self.positions(x, tokens.pos)))
        return zero_padding(x, tokens.valid), tokens


class FeatureEmbedding(nn.Module):
    """Frames of features to what an encoder reads: convolutions, positions added, dropout, zero at padding."""

    def __init__(
        self,
        convolutions: Convolutions,
        positions: nn.Module,
        *,
        most: int,
        dropout: float = 0.0,
        noise: Noise | None = None,
    ) -> None:
        super().__init__()
        self.convolutions, self.positions, self.most = convolutions, positions, most
        self.drop = Dropout(dropout, noise or Noise())

    @property
    def d_model(self) -> int:
        """D, the width of what it gives."""
        return self.convolutions.d_model

    def forward(self, features: Tensor, tokens: Tokens) -> tuple[Tensor, Tokens]:
        """features (B, F, M) -> (B, S, D), and its tokens, which are fewer; DataError for more than `most` frames."""
        if features.shape[1] > self.most:
            raise DataError(f"a clip must have at most {self.most} frames, but has {features.shape[1]}. Cut it.")
        x, tokens = self.convolutions(features.to(self.convolutions.dtype), tokens)
        return zero_padding(self.drop(self.positions(x, tokens.pos)), tokens.valid), tokens
