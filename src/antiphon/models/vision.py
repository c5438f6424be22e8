"""Images within texts: a vision encoder, and the embedding of texts in which vectors of images stand.

    embedding = ImageTextEmbedding(table, NoPositions(), vision=VisionTower(settings, 640), ...)
    x, tokens = embedding(rows, tokens)         # ids (B, L), or rows of patches and ids (B, F, M) -> (B, L, D)

Shapes: n images of P patches, T vectors of an image, D features of a vector, F rows of M numbers of a source.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.batch import Tokens
from antiphon.config.vision import VisionConfig
from antiphon.errors import DataError
from antiphon.models.front import InputEmbedding
from antiphon.models.stack import Encoder, Shape
from antiphon.nn.layers import initialize
from antiphon.nn.noise import Noise
from antiphon.nn.positions import Learned


class VisionTower(nn.Module):
    """A SigLIP encoder of patches (Zhai et al. 2023; a pre-norm ViT, Dosovitskiy et al. 2021, with learned positions
    and no class token), whose vectors are averaged over squares, normed and projected to `width` features (Gemma Team
    2025, Gemma 3, section 2.1)."""

    def __init__(self, settings: VisionConfig, width: int, *, noise: Noise | None = None) -> None:
        super().__init__()
        self.settings, noise = settings, noise or Noise()
        shape = Shape(
            settings.d_model,
            settings.num_heads,
            ffn_dim=settings.ffn_dim,
            activation=settings.activation,
            norm_eps=settings.norm_eps,
            attention_dropout=settings.attention_dropout,
        )
        self.patches = nn.Linear(settings.channels * settings.patch**2, settings.d_model)
        self.positions = Learned(settings.d_model, max_length=settings.side**2)
        self.encoder = Encoder(["full"] * settings.layers, shape=shape, noise=noise)
        self.norm = nn.RMSNorm(settings.d_model, eps=settings.norm_eps)
        self.out = nn.Linear(settings.d_model, width, bias=False)
        for linear in (self.patches, self.out):
            initialize(linear)

    def forward(self, patches: Tensor) -> Tensor:
        """patches (n, P, C·p·p) -> (n, T, width)"""
        settings = self.settings
        tokens = Tokens(torch.arange(patches.shape[1], device=patches.device)[None])
        x = self.positions(self.patches(patches.to(self.patches.weight.dtype)), tokens.pos)
        x = self.encoder(x, tokens).hidden
        # (n, P, D) -> (n, D, side, side) -> (n, T, D)
        grid = x.transpose(1, 2).reshape(x.shape[0], -1, settings.side, settings.side)
        pooled = functional.avg_pool2d(grid, settings.pool).flatten(2).transpose(1, 2)
        return self.out(self.norm(pooled))


class ImageTextEmbedding(InputEmbedding):
    """An `InputEmbedding` that also reads texts with images.

    A source with images has rows of C·p·p + 1 numbers: the patches of its images, each ending with 1, then its ids,
    each the first number of a row of zeros (`rows_of` in antiphon.inputs.image_text). The vectors of the images replace
    those of the id `VisionConfig.image_id`, in order.
    """

    def __init__(self, table: nn.Embedding, positions: nn.Module, *, vision: VisionTower, **settings: Any) -> None:
        super().__init__(table, positions, **settings)
        self.vision = vision

    def forward(self, ids: Tensor, tokens: Tokens) -> tuple[Tensor, Tokens]:
        """ids (B, L), or rows of patches and ids (B, F, M) -> (B, L, D), and its tokens. DataError if the ids of images
        are not as many as the vectors of the images."""
        if ids.dim() == 2:
            return super().forward(ids, tokens)
        settings, valid = self.vision.settings, tokens.valid.expand(ids.shape[:2])
        is_patch = valid & (ids[..., -1] > 0)
        first, lengths = is_patch.sum(1), (valid & ~is_patch).sum(1)
        width = int(lengths.max())
        places = (first[:, None] + torch.arange(width, device=ids.device)).clamp(max=ids.shape[1] - 1)
        text = ids[..., 0].gather(1, places).round().long()
        tokens = replace(Tokens.of_lengths(lengths, width), maps=tokens.maps)
        x = self.vectors(text)
        patches = ids[is_patch][:, :-1].view(-1, settings.side**2, ids.shape[2] - 1)
        stands = (text == settings.image_id) & tokens.valid
        if int(stands.sum()) != patches.shape[0] * settings.tokens:
            raise DataError(
                f"a text must have {settings.tokens} ids {settings.image_id} for each image, but a batch of "
                f"{patches.shape[0]} images has {int(stands.sum())}. Make its rows by `rows_of` in "
                "antiphon.inputs.image_text."
            )
        if len(patches):
            x = x.masked_scatter(stands[..., None], self.vision(patches).to(x.dtype))
        elif self.training and any(weight.requires_grad for weight in self.vision.parameters()):
            # Gradients of zero, so that all batches, and so all ranks, have gradients of the same weights.
            empty = ids.new_zeros(1, settings.side**2, ids.shape[2] - 1)
            x = x + 0.0 * self.vision(empty).sum().to(x.dtype)
        return self.finished(x, tokens), tokens
