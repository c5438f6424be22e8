"""The embedding of token ids: token vectors with positions, the input of a stack.

    embedding = InputEmbedding(Embedding(8000, 256), Sinusoidal(256), dropout=0.1)
    x, tokens = embedding(ids, tokens)          # (B, L) -> (B, L, 256)

Shapes: B rows, L tokens, D features of a vector. Embeddings of other sources are in `antiphon.inputs`.
"""

from __future__ import annotations

from torch import Tensor, nn

from antiphon.batch import Tokens
from antiphon.inputs.embeddings import SourceEmbedding
from antiphon.nn.embedding import OwnVector, scale_if_new
from antiphon.nn.layers import zero_padding
from antiphon.nn.noise import Dropout, Noise, WordDropout


class InputEmbedding(SourceEmbedding):
    """The input of a stack: token vectors times `scale` (None: sqrt(D), Vaswani et al. 2017, section 3.4), word
    dropout, positions, an optional `norm`, and dropout; zero at padding.

    `rounds`: round the scale to the type of the vectors first. A new `torch.nn.Embedding` is scaled by
    `scale_if_new`. `own`: the vector of an id that is not scaled. `noise` None: that of the network.
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
        own: OwnVector | None = None,
    ) -> None:
        super().__init__()
        scale_if_new(table)
        noise = noise or Noise()
        self.table, self.positions, self.rounds = table, positions, rounds
        self.scale = table.embedding_dim**0.5 if scale is None else scale
        self.norm = nn.Identity() if norm is None else norm
        self.own = own
        self.words = WordDropout(word_dropout, noise) if word_dropout else nn.Identity()
        self.drop = Dropout(dropout, noise)

    @property
    def d_model(self) -> int:
        """D, the width of the vectors."""
        return self.table.embedding_dim

    @property
    def vocab_size(self) -> int:
        return self.table.num_embeddings

    def forward(self, ids: Tensor, tokens: Tokens) -> tuple[Tensor, Tokens]:
        """ids (B, L) -> (B, L, D), and its tokens."""
        return self.finished(self.vectors(ids), tokens), tokens

    def vectors(self, ids: Tensor) -> Tensor:
        """The scaled vectors (B, L, D) of ids (B, L)."""
        vectors = self.table(ids)
        x = vectors * (vectors.new_full((), self.scale) if self.rounds else self.scale)
        return x if self.own is None else self.own(x, ids)

    def finished(self, x: Tensor, tokens: Tokens) -> Tensor:
        """Vectors x (B, L, D) after word dropout, positions, norm and dropout; zero at padding."""
        return zero_padding(self.drop(self.norm(self.positions(self.words(x), tokens.pos))), tokens.valid)
