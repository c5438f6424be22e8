"""Augmentations of images: functions of their draw that leave the size, and do what their names say."""

from __future__ import annotations

from random import Random

import pytest
import torch
from inputs.images import picture
from torch import Tensor

from antiphon.errors import ConfigError
from antiphon.inputs.augmentation import Augmentation
from antiphon.inputs.images.augmentations import Blur, Crop, Elastic, Erase, Shear, Thickness, warped
from antiphon.registry import lookup

ALL = {
    "crop": Crop(), "shear": Shear(), "blur": Blur(2.0), "thickness": Thickness(), "elastic": Elastic(),
    "erase": Erase(),
}  # fmt: skip


def mean_column(row: Tensor, place: int) -> float:
    """The mean column of the ink in one row of pixels."""
    ink = 255 - row[0, place].float()
    return float((ink * torch.arange(len(ink))).sum() / ink.sum())


@pytest.mark.parametrize("name", ALL)
def test_each_is_a_function_of_its_draw_that_leaves_size_and_argument(name: str) -> None:
    augmentation: Augmentation = ALL[name]
    assert lookup("augmentation", name) is type(augmentation) and augmentation.inputs == "image"
    for channels, height, width in ((1, 24, 90), (3, 16, 16), (1, 1, 1), (1, 2, 1), (1, 1, 40)):
        row = picture(height, width, channels=channels)
        before = row.clone()
        found = [augmentation.of_row(row, Random(f"1 2 {seed}")) for seed in (3, 3, 4, 5)]
        assert all(each.shape == row.shape and each.dtype == torch.uint8 for each in found)
        assert torch.equal(found[0], found[1]) and torch.equal(row, before)
        if height > 2:
            assert not torch.equal(found[2], found[3]) and augmentation.longest == 1.0
    white = torch.full((1, 20, 30), 255, dtype=torch.uint8)
    if name != "erase":
        assert torch.equal(augmentation.of_row(white, Random(1)), white)  # beyond the edges there is white


def test_shear_slants() -> None:
    line = torch.full((1, 21, 41), 255, dtype=torch.uint8)
    line[:, :, 20] = 0
    slants = []
    for seed in range(20):
        found = Shear(0.5).of_row(line, Random(seed))
        assert mean_column(found, 10) == pytest.approx(20, abs=0.01)
        slants.append(mean_column(found, 0) - mean_column(found, 20))
        assert mean_column(found, 0) + mean_column(found, 20) == pytest.approx(40, abs=0.1)
    assert -10.1 <= min(slants) < -4 and 4 < max(slants) <= 10.1


def test_crop_cuts_within_its_share_and_keeps_the_ratio() -> None:
    ramp = torch.arange(100, dtype=torch.uint8).expand(1, 100, 100).contiguous()
    for seed in range(10):
        found = Crop(0.2).of_row(ramp, Random(seed))[0]
        spans = int(found[0, -1]) - int(found[0, 0])
        turned = Crop(0.2).of_row(ramp.mT.contiguous(), Random(seed))[0]
        assert 78 <= spans <= 99 and abs(spans - (int(turned[-1, 0]) - int(turned[0, 0]))) <= 2
        only = Crop(0.5, sides="height").of_row(ramp, Random(seed))
        assert torch.equal(only, ramp)  # a ramp over the columns
    with pytest.raises(ConfigError, match=r"`share` must be at least 0 and below 1, but is 1\.5"):
        Crop(1.5)


def test_blur_spreads_ink_and_keeps_its_sum() -> None:
    dot = torch.full((1, 31, 31), 255, dtype=torch.uint8)
    dot[:, 13:18, 13:18] = 0
    found = Blur(3.0).of_row(dot, Random(2))  # 2.9 pixels
    ink = 255 - found.float()
    assert float(ink.max()) < 250 and float(ink.sum()) == pytest.approx(255 * 25, rel=0.04)
    assert torch.equal(Blur(0.0).of_row(dot, Random(3)), dot)


def test_thickness_moves_edges_of_strokes_by_its_draw() -> None:
    line = torch.full((1, 31, 31), 255, dtype=torch.uint8)
    line[:, :, 12:18] = 0
    for seed in range(20):
        found, change = Thickness(2.0).of_row(line, Random(seed)), Random(seed).uniform(-2.0, 2.0)
        ink = (255 - found[0].float()) / 255
        assert torch.equal(ink, ink[:1].expand_as(ink))
        assert float(ink[0].sum()) == pytest.approx(6 + 2 * change, abs=0.02)
        assert mean_column(found, 5) == pytest.approx(14.5, abs=0.01)
    assert torch.equal(Thickness(0.0).of_row(line, Random(3)), line)


def test_elastic_moves_by_its_strength() -> None:
    line = torch.full((1, 60, 60), 255, dtype=torch.uint8)
    line[:, :, 30] = 0
    moves = [abs(mean_column(Elastic(4.0).of_row(line, Random(seed)), 30) - 30) for seed in range(20)]
    assert 1 < max(moves) < 14
    assert torch.equal(Elastic(0.0).of_row(line, Random(1)), line)


def test_erase_fills_rectangles_of_one_grey() -> None:
    row, changed = picture(20, 50), []
    for seed in range(10):
        places = (Erase(0.5, count=1).of_row(row, Random(seed)) != row)[0].nonzero()
        changed.append(len(places))
        if len(places):
            assert int((places.amax(0) - places.amin(0)).max()) < 10
    assert 0 in changed and max(changed) > 10


def test_pixels_are_read_between_pixels() -> None:
    row = picture(5, 7)
    still = torch.zeros(5, 7)
    assert torch.equal(warped(row, right=still, down=still), row)
    assert torch.equal(warped(row, right=still + 1, down=still)[:, :, :-1], row[:, :, 1:])
    half = warped(row, right=still, down=still + 0.5)[:, :-1].float()
    assert float((half - (row[:, :-1].float() + row[:, 1:].float()) / 2).abs().max()) <= 0.51
