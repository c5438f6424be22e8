"""One process at a time writes into a run folder.

    with alone(folder):
        ...

The lock is the folder's own (flock), so it leaves no file behind and ends with its process, however that ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from antiphon.errors import ConfigError, argument


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold `folder` while entered. ConfigError where another process, or another run of this one, holds it.

    Where a system or a file system has no such locks, nothing is held.
    """
    try:
        import fcntl

        place = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"the run folder `{folder}` must be free, but another process is training in it. Wait for its end, or "
                f"stop it (it saves first), or choose another {argument('output', flag='--output')}."
            ) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(place)
