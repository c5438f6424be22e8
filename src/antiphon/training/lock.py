"""The exclusive lock of a run folder: only one process at a time trains in it.

    with exclusive_lock(folder):
        ...

The lock is held on the folder itself (flock): there is no lock file, and the system releases it when the process ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from antiphon.errors import ConfigError, argument


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Lock `folder` for the duration of the context. ConfigError if another process, or a run in this one, holds it.

    Does nothing on systems and file systems without such locks.
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
