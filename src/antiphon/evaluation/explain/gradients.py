"""Attributions by gradients: integrated gradients (Sundararajan et al. 2017) and input x gradient.

The gradient of a unit's score is taken with respect to the embedding vectors of the source. Special tokens have their
own vectors in the baseline too, so that the attributions are of the tokens of the text. Shapes: S source positions, U
units, D features, N points of the path.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.batch import Tokens
from antiphon.evaluation.explain.pair import MAX_BATCH_TOKENS, ExplainedPair
from antiphon.generation.quantize import check_whole
from antiphon.models.front import InputEmbedding

FIRST_POINTS, MAX_POINTS = 32, 512  # of the path; doubled until the attributions are complete
TOLERANCE = 0.02  # of the difference of the scores, or of 1 nat if that is more


@dataclass(frozen=True)
class Completeness:
    """Whether the attributions of each unit add up to the difference of its scores (Sundararajan et al. 2017,
    proposition 1): `difference` (U,) is the score minus that of the baseline, in nats, `error` (U,) the sum of the
    attributions minus it, `points` the points of the path."""

    difference: Tensor
    error: Tensor
    points: int

    @property
    def largest(self) -> float:
        """The largest error, as a fraction of the difference, or of 1 nat if that is more."""
        return float((self.error.abs() / self.difference.abs().clamp_min(1.0)).max())

    @property
    def holds(self) -> bool:
        """Whether the largest error is within TOLERANCE."""
        return self.largest <= TOLERANCE


def integrated_gradients(pair: ExplainedPair) -> tuple[Tensor, Completeness]:
    """The attributions (U, S) in nats, and whether they are complete.

    The integral of the gradient over the straight path from the baseline to the source, times their difference
    (equation 1), by Gauss-Legendre quadrature. The baseline has the vector of the unknown token in place of each token.
    The number of points is doubled until the attributions are complete, at most to MAX_POINTS.
    """
    check_whole(pair.network, "an explanation by gradients")
    vectors = token_vectors(pair)
    start = baseline(pair, vectors)
    with _gradients(pair):
        ends = torch.cat([_scores_of(pair, part) for part in (vectors[None], start[None])]).detach()
    difference = (ends[0] - ends[1]).double().cpu()
    count = FIRST_POINTS
    while True:
        weights = _integral(pair, start, vectors, count)
        found = Completeness(difference, weights.sum(1) - difference, count)
        if found.holds or count >= MAX_POINTS:
            return weights, found
        count *= 2


def input_x_gradient(pair: ExplainedPair) -> Tensor:
    """Each vector minus its baseline, times the gradient at the source: (U, S), in nats. A first-order estimate of what
    replacing the token by the baseline changes (Shrikumar et al. 2017, section 3)."""
    check_whole(pair.network, "an explanation by gradients")
    vectors = token_vectors(pair)
    gradients = _gradients_at(pair, vectors[None])
    return (gradients[:, 0] * (vectors - baseline(pair, vectors))).sum(-1).double().cpu()


def token_vectors(pair: ExplainedPair) -> Tensor:
    """The embedding vectors (S, D) of the source, without scale and positions."""
    ids = torch.tensor(pair.source_ids, device=pair.network.device)
    return _embedding(pair).table(ids).detach()


def baseline(pair: ExplainedPair, vectors: Tensor) -> Tensor:
    """The vectors (S, D) of the baseline: that of the unknown token for a token, its own for a special token.

    A tokenizer without an unknown token has the mean of the vocabulary's vectors instead. Zero vectors, a common choice
    for images, are none that a network has ever read: a norm scales them up, and on the demo the integral does not
    converge in MAX_POINTS. docs/explaining.md compares the baselines.
    """
    table, unknown = _embedding(pair).table.weight.detach(), pair.model.source_tokenizer.unk_id
    neutral = table.mean(0) if unknown is None or not table[unknown].any() else table[unknown]
    return torch.where(pair.removable[:, None].to(vectors.device), neutral, vectors)


def _integral(pair: ExplainedPair, start: Tensor, end: Tensor, count: int) -> Tensor:
    """The attributions (U, S) by `count` points."""
    import numpy

    nodes, shares = numpy.polynomial.legendre.leggauss(count)  # on [-1, 1]
    points, parts = torch.tensor((nodes + 1) / 2), torch.tensor(shares / 2)
    total = torch.zeros(len(pair.units), *end.shape, dtype=torch.float64)
    most = max(1, MAX_BATCH_TOKENS // pair.row_tokens)
    for some, weights in zip(points.split(most), parts.split(most), strict=True):
        along = some.to(end.dtype).to(end.device)[:, None, None]
        gradients = _gradients_at(pair, start + along * (end - start)).double().cpu()
        total += (gradients * weights[:, None, None]).sum(1)
    return (total * (end - start).double().cpu()).sum(-1)


def _gradients_at(pair: ExplainedPair, vectors: Tensor) -> Tensor:
    """The gradients (U, N, S, D) of each unit's score at `vectors` (N, S, D)."""
    with _gradients(pair):
        leaf = vectors.detach().clone().requires_grad_()
        scores = _scores_of(pair, leaf)
        sums, last = scores.sum(0), scores.shape[1] - 1
        found = [torch.autograd.grad(each, leaf, retain_graph=u < last)[0] for u, each in enumerate(sums)]
    return torch.stack(found)


def _scores_of(pair: ExplainedPair, vectors: Tensor) -> Tensor:
    """The scores (N, U) of sources with these embedding vectors (N, S, D)."""
    count, length, width = vectors.shape
    tokens = Tokens(torch.arange(length, device=vectors.device)[None])
    # Each position has an id of its own, so that a source that is encoded in windows finds its vectors too.
    ids = torch.arange(count * length, device=vectors.device).view(count, length)
    embedding = _embedding(pair)
    table = embedding.table
    try:
        embedding.table = _Vectors(vectors.reshape(-1, width))  # type: ignore[assignment]
        memory = pair.encode(ids, tokens)
    finally:
        embedding.table = table  # before the decoder reads it, which may share it
    return pair.scores(memory)


class _Vectors(nn.Module):
    """A table of these vectors (n, D), in place of an embedding table."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = vectors

    def forward(self, ids: Tensor) -> Tensor:
        return functional.embedding(ids, self.vectors)


def _embedding(pair: ExplainedPair) -> InputEmbedding:
    embedding = pair.network.source
    assert isinstance(embedding, InputEmbedding), "checked_model refuses others"
    return embedding


@contextmanager
def _gradients(pair: ExplainedPair) -> Iterator[None]:
    """Gradients with respect to the vectors alone, without dropout; other calls of the model wait. The mode and the
    weights' `requires_grad` are restored after it."""
    network = pair.network
    training, frozen = network.training, network.frozen
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with pair.model.runtime.lock, torch.inference_mode(False), torch.enable_grad():
        network.eval()
        for parameter in trained:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in trained:
                parameter.requires_grad_()
            network.train(training)
            network.frozen = frozen
