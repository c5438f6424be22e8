"""What a source of images or sound looks like, with the place of each position of the encoder in it, for drawings of
attention.

    picture = kind.picture(row, positions=54)   # SourcePicture(48 x 72 pixels, 54 positions)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Box(NamedTuple):
    """A rectangle of pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class SourcePicture:
    """`pixels` (C, H, W), uint8, grey or colour; for each position of the encoder its box, None for one without a
    place, and its label. `beneath`: a map is drawn below the picture, not on it. `tokens`: positions without a place
    that are tokens of a text beside the picture."""

    pixels: Tensor
    boxes: Sequence[Box | None]
    labels: Sequence[str]
    beneath: bool = False
    tokens: Sequence[int] = ()

    def __repr__(self) -> str:
        _, height, width = self.pixels.shape
        return f"SourcePicture({height} x {width} pixels, {len(self.boxes)} positions)"


def of_columns(
    pixels: Tensor, positions: int, *, each: int, labels: Sequence[str], beneath: bool = False
) -> SourcePicture:
    """A picture (C, H, W) whose columns are read in order, `each` of them for each of `positions`."""
    _, height, width = pixels.shape
    boxes = [Box(place * each, 0, max(min(each, width - place * each), 0), height) for place in range(positions)]
    return SourcePicture(pixels, boxes, labels, beneath)


def spectrogram(features: Tensor, positions: int, *, each: int, seconds: float) -> SourcePicture:
    """The picture of features (F, M) of sound: time from left to right, high bands above, loud ones dark. `each` is the
    number of frames of a position, `seconds` the time from one frame to the next."""
    low, high = float(features.min()), float(features.max())
    scaled = (features.float() - low) / max(high - low, 1e-9)
    pixels = ((1 - scaled.T.flip(0)) * 255).round().to(torch.uint8)[None]  # (F, M) -> (1, M, F)
    labels = [f"{place * each * seconds:.2f} s" for place in range(positions)]
    return of_columns(pixels, positions, each=each, labels=labels, beneath=True)
