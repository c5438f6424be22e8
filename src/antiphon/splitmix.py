"""SplitMix64 (Steele, Lea and Flood 2014, Fast Splittable Pseudorandom Number Generators): random bits that are a
function of their key alone, for dropout, for splits of training texts, and for sampling.

>>> hex(mix(1, 2))
'0xa86839b46e7d1adc'

PyTorch is not imported here, so that the tokenizers can be used without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15  # 2**64 divided by the golden ratio, odd
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # the multipliers of the finalizer
_BITS = 2**64 - 1


def mix(*parts: int) -> int:
    """One number of 64 bits from several, as a seed: it depends on all of them.

    The last part is multiplied only: results of consecutive ones are evenly spaced. Where they are compared with each
    other, as in sampling, give a 0 behind it.
    """
    mixed = 0
    for part in parts:
        mixed = ((mixed ^ part) + GOLDEN) * _FIRST & _BITS
        mixed ^= mixed >> 29
    return mixed


def signed(number: int) -> int:
    """The 64 lowest bits of `number` as a tensor's int64 holds them."""
    return (number + 2**63) % 2**64 - 2**63


def finalize(x: Tensor) -> Tensor:
    """int64 -> int64: SplitMix64's finalizer, in which each bit of the result depends on all bits of `x`."""
    x = (x ^ ((x >> 30) & (2**34 - 1))) * signed(_FIRST)
    x = (x ^ ((x >> 27) & (2**37 - 1))) * signed(_SECOND)
    return x ^ ((x >> 31) & (2**33 - 1))
