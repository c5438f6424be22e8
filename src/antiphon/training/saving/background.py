"""One piece of work at a time in a thread beside the training.

work = BackgroundWork()
work.start(lambda: store.save(step, files))
work.wait()                                     # raises what the work raised
"""

from __future__ import annotations

import threading
from collections.abc import Callable

PATIENCE = 60.0  # seconds; the work may wait for another process, which is gone


class BackgroundWork:
    """Runs one function at a time in a thread. The thread does not keep the process alive."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def active(self) -> bool:
        """Whether the work has not ended."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def failed(self) -> bool:
        """Whether the work has ended with an error that `wait` will raise. Does not wait."""
        return self._error is not None

    def start(self, work: Callable[[], object]) -> None:
        """Run `work` in a thread, after the work before it; raises the error of that."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(work,), name="snapshot", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait for the end of the work. Raises its error, once."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def __enter__(self) -> BackgroundWork:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """After an error, let the work end, for at most `PATIENCE` seconds. A second Ctrl-C does not wait for it."""
        if self._thread is not None and kind is not None and issubclass(kind, Exception):
            self._thread.join(PATIENCE)

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = error
