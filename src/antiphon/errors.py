"""The exceptions that Antiphon raises on purpose, in one small tree.

::

    AntiphonError                     exit code 1
    ├── UsageError      ValueError    exit code 2: the command or its input is wrong
    │   ├── ConfigError               a recipe, a setting or a name
    │   ├── DataError                 a data file or record; the message says file:line
    │   └── ModelError                a model folder or a run folder
    ├── WorkError       RuntimeError  exit code 1: the input was fine, the work failed
    │   ├── NonFiniteError            a loss or a gradient became NaN or infinite
    │   ├── DivergenceError           the training loss left its range
    │   ├── RestartError              a device failed: started again, the run goes on from its last snapshot
    │   ├── DiskError                 the disk is full or cannot be written
    │   └── ReadError                 a data file broke off: a connection, or the process that read it
    └── AttentionError                exit code 1: an attention breaks a law

A message is one line: what must be, what is, where (file:line), and the remedy, for example
"`batch_tokens` must be at least the longest example (212), but is 128. Raise it, or set
`data.max_length`." The command line prints it without a traceback and exits with `exit_code`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_NO_MEMORY = (
    "not enough memory: you tried to allocate", "can't allocate memory", "out of memory", "ALLOC_FAILED", "bad_alloc",
)  # fmt: skip


def printable(text: str) -> str:
    """`text` on one line, with an escape in place of each character that a terminal cannot show as itself."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def one_line(error: BaseException) -> str:
    """The message of another library's error on one line, with single spaces."""
    return " ".join(str(error).split())


def memory_ran_out(error: BaseException) -> bool:
    """Whether `error` means that CPU or GPU memory was exhausted.

    PyTorch has an exception class for CUDA; its allocators for CPU and MPS raise a plain RuntimeError.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # by name: this imports no PyTorch
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


class _Caller:
    """Whether messages are for the command line or for Python."""

    command_line = False


@contextmanager
def on_command_line() -> Iterator[None]:
    """A context in which messages name flags. Entered by the command line; applies to all threads of the process."""
    before, _Caller.command_line = _Caller.command_line, True
    try:
        yield
    finally:
        _Caller.command_line = before


def is_command_line() -> bool:
    """Whether a command of the command line runs in this process."""
    return _Caller.command_line


def argument(python: str, *, flag: str) -> str:
    """The name of an argument in a message: `resume=True` in Python, --resume on the command line."""
    return flag if _Caller.command_line else f"`{python}`"


class AntiphonError(Exception):
    """The base class of all exceptions that Antiphon raises on purpose."""

    exit_code: int = 1


class UsageError(AntiphonError, ValueError):
    """The command or the input is wrong; nothing was written.

    Its text may quote files or commands, so line ends, terminal escapes and lone surrogates are escaped.
    """

    exit_code = 2

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(UsageError):
    """A recipe, a setting or a registered name is wrong."""


class DataError(UsageError):
    """A data file or a record is wrong; the message names the file and the line."""


class ModelError(UsageError):
    """A model folder or a run folder is wrong."""


class WorkError(AntiphonError, RuntimeError):
    """The input was fine, but the work failed."""


class NonFiniteError(WorkError):
    """A loss or a gradient is NaN or infinite."""


class DivergenceError(WorkError):
    """The training loss rose far above what it was, and stayed there."""


class RestartError(WorkError):
    """The machine ended the work, for example a GPU that failed. Started again, it goes on from the last snapshot."""


class DiskError(WorkError):
    """A file could not be written, for example because the disk is full."""


class ReadError(WorkError):
    """A data file could not be read to its end, because a connection stayed broken or a process that read it ended.

    `row` is the number of rows that were read of `file`, if it is known; `kept` says what is saved and how to go on.
    """

    def __init__(self, file: str, reason: str, *, row: int | None = None, kept: str = "") -> None:
        self.file, self.reason, self.row, self.kept = file, reason, row, kept
        super().__init__(file, reason)

    def __str__(self) -> str:
        after = "" if self.row is None else f" after row {self.row:,}"
        remedy = self.kept or "Check the connection, and start again."
        return printable(f"the data file `{self.file}` cannot be read{after} ({self.reason}). {remedy}")


class AttentionError(AntiphonError):
    """An attention breaks a law; the message names it, the largest difference and where."""
