"""The random bits of dropout, of splits and of sampling, against SplitMix64 in plain Python and fixed values."""

from __future__ import annotations

import random

import torch

from antiphon.splitmix import GOLDEN, finalize, mix, signed

BITS = 2**64 - 1


def plain(x: int) -> int:
    """The finalizer of SplitMix64 over whole numbers without a sign."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & BITS
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & BITS
    return x ^ (x >> 31)


def test_a_tensor_is_mixed_as_whole_numbers_are() -> None:
    draw = random.Random(1)
    numbers = [0, 1, 2**63, BITS, *(draw.getrandbits(64) for _ in range(200))]
    found = finalize(torch.tensor([signed(number) for number in numbers]))
    assert [int(each) & BITS for each in found] == [plain(number) for number in numbers]


def test_the_first_numbers_of_splitmix64_from_seed_0() -> None:
    # https://prng.di.unimi.it/splitmix64.c
    states = torch.tensor([signed(GOLDEN * step) for step in (1, 2, 3)])
    assert [int(each) & BITS for each in finalize(states)] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]


def test_the_mix_of_several_numbers_stays_as_it_is() -> None:
    """Runs are repeated by it: other bits are other dropout and other splits."""
    assert [mix(), mix(0), mix(1, 2), mix(2, 1), mix(7, 3, 0, 12)] == [
        0,
        0xD67411C2DF26FA0E,
        0xA86839B46E7D1ADC,
        0x98734CD3D62B7D38,
        0x29714BCECCC7F7E0,
    ]
    assert mix(-1) == mix(BITS)
