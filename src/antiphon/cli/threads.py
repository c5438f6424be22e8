"""Environment variables for the waiting of OpenMP threads, which must be set before PyTorch is loaded.

By default a waiting thread of GNU's OpenMP spins 300,000 times before it sleeps. If other programs use the cores too,
this keeps the thread that it waits for from running (figures in docs/speed.md).
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

# Spins of GNU's OpenMP (a few microseconds), milliseconds of LLVM's and Intel's.
SHORT_WAIT = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
WAIT_VARIABLES = (*SHORT_WAIT, "OMP_WAIT_POLICY")


def wait_briefly(environment: MutableMapping[str, str] | None = None) -> None:
    """Let waiting threads sleep soon, unless the environment already sets how they wait."""
    found = os.environ if environment is None else environment
    if not any(found.get(name) for name in WAIT_VARIABLES):
        found.update(SHORT_WAIT)
