"""Token embeddings, initialized for use both as input and as (tied) output table."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn


class Embedding(nn.Embedding):
    """A `torch.nn.Embedding` whose vectors are initialized from N(0, 1 / d_model), with a length of about 1.

    Multiplied by sqrt(d_model), as in `InputEmbedding`, they have unit variance. As an output table they give logits of
    unit variance, so that the first loss is near ln(num_embeddings).
    """

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=self.embedding_dim**-0.5)
        if self.padding_idx is not None:
            with torch.no_grad():
                self.weight[self.padding_idx].zero_()


class OwnVector(nn.Module):
    """The input vector of one id that is not a row of the table: a weight of its own, zero in a new network."""

    def __init__(self, id: int, dim: int) -> None:
        super().__init__()
        self.id = id
        self.vector = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        """The vectors x (B, L, D) of ids (B, L), with this vector for its id."""
        return torch.where((ids == self.id)[..., None], self.vector.to(x.dtype), x)


def scale_if_new(table: nn.Embedding) -> None:
    """Scale a `torch.nn.Embedding` with PyTorch's initial values to those of `Embedding`, and warn.

    Its N(0, 1) vectors have length sqrt(d_model); with such an output table the first loss is far above ln V. A table
    that was loaded, trained or initialized in another way is not changed.
    """
    if not _is_new(table):
        return
    with torch.no_grad():
        table.weight.mul_(table.embedding_dim**-0.5)
    warnings.warn(
        f"the new torch.nn.Embedding({table.num_embeddings}, {table.embedding_dim}) was scaled by "
        "embedding_dim ** -0.5, since its N(0, 1) vectors are too long for an output table. Make it with "
        "antiphon.nn.Embedding, or initialize it yourself.",
        stacklevel=4,
    )


def _is_new(table: nn.Embedding) -> bool:
    """Whether the table still has the N(0, 1) values of its constructor."""
    weight = table.weight
    writes = 1 + (table.padding_idx is not None)  # normal_(), and zeros in the row of padding
    if type(table) is not nn.Embedding or weight.is_meta or weight.is_inference() or weight.grad is not None:
        return False
    if weight._version != writes or weight.numel() < 2:  # loading and most optimizers write in place
        return False
    rows = weight.detach()
    if table.padding_idx is not None:
        rows = torch.cat([rows[: table.padding_idx], rows[table.padding_idx + 1 :]])
    error = 1 / math.sqrt(rows.numel())  # the standard error of the mean; that of the variance is sqrt(2) as large
    variance, mean = torch.var_mean(rows.double())
    return abs(float(mean)) < 5 * error and abs(float(variance) - 1) < 8 * error
