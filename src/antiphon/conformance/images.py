"""Laws of images: patches in two dimensions, and whole networks that read images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from antiphon.batch import Batch, Example, Tokens, collate
from antiphon.config import ImageConfig
from antiphon.conformance.meter import OUTPUT, DifferenceMeter
from antiphon.conformance.subject import D_MODEL, AttentionUnit, Subject, draw, padded
from antiphon.inputs import ImageInput
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.mixers import Memory, QueryKeyMixer

SIZES = ((2, 3), (4, 1), (1, 2))  # rows and columns of patches of images
LENGTHS = (3, 4, 2)  # of the target rows for them
STEP = 1e-5  # the length of a step against the gradient
FRONTS = (
    {"front": "patches", "height": 8, "patch": 4},
    {"front": "convolutions", "height": 8, "conv_channels": [3, 4], "conv_strides": [[2, 2], [2, 1]]},
    {"front": "convolutions", "height": 8, "conv_channels": [3], "conv_strides": [[4, 4]], "fold_height": False},
)


def patches(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """images of several sizes, padded in both dimensions, have the results of each alone"""
    rows, columns = (max(size[axis] for size in SIZES) for axis in (0, 1))
    for unit in subject.units(role):
        if not _turns_both(unit):
            continue
        alone = [_outputs(unit, image, [size], *size)[0] for image, size in enumerate(SIZES)]
        for where, height, width in (("their own", rows, columns), ("one more row and column", rows + 1, columns + 1)):
            meter.context = f"{unit.label}, padded to {where}" if unit.label else f"padded to {where}"
            together = _outputs(unit, 0, SIZES, height, width)
            for image, (one, both) in enumerate(zip(alone, together, strict=True)):
                meter.equal(both, one, axes=OUTPUT[1:], what=f"image {image} in a batch and alone")


def _turns_both(unit: AttentionUnit) -> bool:
    """Whether rotary positions, if it has them, have a pair of features for the rows and one for the columns."""
    rotary = unit.mixer.rotary if isinstance(unit.mixer, QueryKeyMixer) else None
    return rotary is None or rotary.head_dim >= 4


def _outputs(
    unit: AttentionUnit, first: int, sizes: Sequence[tuple[int, int]], height: int, width: int
) -> list[Tensor]:
    """The outputs for images of `sizes`, numbered from `first`, each laid out row by row on `height` by `width` places,
    at the real positions alone."""
    grid = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    there = torch.stack([(grid < torch.tensor(size)).all(-1) for size in sizes])  # (B, L)
    tokens = Tokens(torch.where(there, there.cumsum(1) - 1, -1), grid=grid[None])
    x = draw(len(sizes), height * width, D_MODEL, seed=7)  # what padding holds
    for row, size in enumerate(sizes):
        x[row, there[row]] = draw(size[0] * size[1], D_MODEL, seed=20 + first + row)
    if unit.role != "cross":
        return [found[own] for found, own in zip(unit(x, tokens), there, strict=True)]
    lengths = LENGTHS[first : first + len(sizes)]
    memory = Memory(x.masked_fill(~there[..., None], 0.0), tokens)
    queries = torch.zeros(len(sizes), max(lengths), D_MODEL, dtype=x.dtype)
    for row, length in enumerate(lengths):
        queries[row, :length] = draw(length, D_MODEL, seed=40 + first + row)
    found = unit(queries, padded(*lengths), memory)
    return [each[:length] for each, length in zip(found, lengths, strict=True)]


def networks(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """a network of patches, or of convolutions, has for a batch of images the loss of each alone, and learns"""
    for front in FRONTS:
        meter.context = str(front["front"])
        network = subject.network(role, {"input": {"image": front}, "max_length": 64})
        kind = ImageInput(ImageConfig(**front))  # type: ignore[arg-type]
        images = [(draw(1, 8, width, seed=width).sigmoid() * 255).to(torch.uint8) for width in (8, 21, 3)]
        examples = [
            Example(kind.features(image).double(), list(range(4, 4 + length)), row)
            for row, (image, length) in enumerate(zip(images, LENGTHS, strict=True))
        ]
        loss = network(_batch(examples))
        each = torch.stack([network(_batch([example])) for example in examples])
        weights = torch.tensor(LENGTHS, dtype=each.dtype)
        meter.equal(loss, (each * weights).sum() / weights.sum(), axes=(), what="the loss of a batch and of each image")
        _learns(network, _batch(examples), loss, meter)


def _batch(examples: list[Example]) -> Batch:
    return collate(examples, pad_id=0, start_id=1)


def _learns(network: EncoderDecoder, batch: Batch, loss: Tensor, meter: DifferenceMeter) -> None:
    """Require that the front has a gradient, and that a small step against the gradient lowers the loss as much as it
    says."""
    loss.backward()
    if not all(each.grad is not None and bool(each.grad.any()) for each in network.source.parameters()):
        meter.fail("the front gets no gradient")
    learned = [(each, each.grad) for each in network.parameters() if each.grad is not None]
    length = float(torch.stack([gradient.square().sum() for _, gradient in learned]).sum().sqrt())
    with torch.no_grad():
        for parameter, gradient in learned:
            parameter.sub_(gradient * (STEP / length))
        lower = float(loss) - float(network(batch))
    what = "a step against the gradient lowers the loss less than the gradient says"
    meter.within(abs(lower / (STEP * length) - 1), 0.01, where=what)
