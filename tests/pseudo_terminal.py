"""What a program writes to a pseudo-terminal, as it comes."""

from __future__ import annotations

import os
from collections.abc import Iterator


def blocks(host: int) -> Iterator[bytes]:
    """The output at the end `host` of a pseudo-terminal, until the other end is closed."""
    while True:
        try:
            block = os.read(host, 4096)
        except OSError:  # the other end is closed
            return
        if not block:
            return
        yield block
