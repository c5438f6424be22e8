"""How the processor's threads wait for each other, which must be said before PyTorch is loaded.

By default GNU's OpenMP lets a waiting thread spin 300,000 times before it sleeps. Where other programs use the cores,
the one that it waits for then does not run (docs/speed.md has the figures).
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

# Turns of GNU's OpenMP (a few microseconds), milliseconds of LLVM's and Intel's.
SHORT = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
SAID = (*SHORT, "OMP_WAIT_POLICY")


def wait_briefly(environment: MutableMapping[str, str] | None = None) -> None:
    """Let threads sleep soon, unless the environment says how they wait."""
    found = os.environ if environment is None else environment
    if not any(found.get(name) for name in SAID):
        found.update(SHORT)
