"""Large zeros of the system's: zeros that can be written, in every type, and that take memory as they are written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from antiphon.runtime.pages import MIN_MAPPED_BYTES, zeros


def held() -> float:
    """Megabytes that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
@pytest.mark.parametrize("rows", [3, MIN_MAPPED_BYTES // 16])
def test_zeros_that_can_be_written(dtype: torch.dtype, rows: int) -> None:
    found = zeros((rows, 2, 5), like=torch.empty(0, dtype=dtype))
    assert found.shape == (rows, 2, 5) and found.dtype == dtype and found.is_contiguous() and not found.any()
    found[rows - 1, 1] = 7
    assert float(found.sum()) == 35


@pytest.mark.skipif(sys.platform != "linux", reason="what is held is read from /proc")
def test_pages_come_as_they_are_written_and_go_with_the_tensor() -> None:
    before = held()
    found = zeros((100, 250_000), like=torch.empty(0))
    assert held() - before < 20
    found[:50] = 1
    assert 40 < held() - before < 70
    del found
    assert held() - before < 20
