"""Augmentations: random changes of the sources of training, sound or images.

    data:
      augment: [{speed: {low: 0.9, high: 1.1}}, spec_augment, mymodule:Echo]

An augmentation changes a source as it is loaded (samples, pixels), its features, or both. Its random numbers come from
`draw`, which is seeded by the seed, the epoch and the number of the row, so that a run is reproducible and resumable.
A custom one is a subclass of `Augmentation` with its settings as keyword arguments: `mymodule:Name`, or registered as
`@register("augmentation", "name")`.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import ClassVar

import torch
from torch import Tensor


class Augmentation:
    """The base of augmentations; each method returns its argument unless a subclass overrides it.

    An instance has no state: the same `draw` gives the same result. Arguments are not changed in place.
    """

    inputs: ClassVar[str] = ""
    """The kind of `model.input` that it changes, audio or image; "": both."""

    @property
    def longest(self) -> float:
        """The largest factor by which the features of a source become longer."""
        return 1.0

    def of_row(self, row: Tensor, draw: Random) -> Tensor:
        """A source as its kind loads it (`InputKind.load`), changed."""
        return row

    def of_features(self, features: Tensor, draw: Random) -> Tensor:
        """The features (F, M) of a source (`InputKind.features`), changed; the shape stays."""
        return features


def draws(augmentations: Sequence[Augmentation], *, seed: int, epoch: int, number: int) -> list[Random]:
    """The random numbers of each augmentation for row `number` of an epoch: a function of these and the place in the
    list."""
    return [Random(f"{seed} {epoch} {number} {place}") for place in range(len(augmentations))]


def generator(draw: Random) -> torch.Generator:
    """A generator of PyTorch, on the CPU, seeded by `draw`: for noise of the size of a source."""
    return torch.Generator().manual_seed(draw.getrandbits(63))
