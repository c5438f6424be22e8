"""The base class of commands, with the flags that all of them have."""

from __future__ import annotations

import importlib
import shlex
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from antiphon.cli.flags import Flag, Group
from antiphon.config import precision_name
from antiphon.distributed.failure import is_main
from antiphon.errors import ConfigError, UsageError
from antiphon.settings import Count, CountOrZero, NamedChoice, Settings

BOTH_TYPES = "`--quantize` and `--dtype` both say how weights are held. Give one of them."
DType = Annotated[str, NamedChoice(precision_name)]


class _Typed:
    """The words of the command line."""

    words: Sequence[str] = ()


def remember(words: Sequence[str]) -> None:
    """Keep the words of the command line for `Command.typed`."""
    _Typed.words = list(words)


@dataclass(frozen=True, kw_only=True)
class Command(Settings, ABC):
    """A command: `run` does the work and returns the exit code."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device of the computation; auto takes a GPU if there is one."""
    dtype: Annotated[DType | None, Flag("TYPE", default="float32, or the recipe's")] = None
    """Type of the numbers: float32 (fp32), bfloat16 (bf16) or float16 (fp16)."""
    threads: Annotated[Count | None, Flag(default="the cores")] = None
    """Number of CPU threads."""
    seed: Annotated[CountOrZero | None, Flag(default="the model's, or the recipe's")] = None
    """Random seed."""
    quiet: bool = False
    """Write only errors to standard error."""
    debug: bool = False
    """Show the traceback of an error."""

    @property
    def typed(self) -> str:
        """The command as it was typed, for messages."""
        return shlex.join(["antiphon", *_Typed.words])

    @abstractmethod
    def run(self) -> int:
        """Run the command and return the exit code."""

    def say(self, text: str) -> None:
        """Print a message to standard error; of several ranks only the first does."""
        if not self.quiet and is_main():
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    def start(self, *, dtype: str | None = None, quantize: str | None = None) -> str:
        """Set device and threads, print them, and return the device.

        `dtype` is printed if `--dtype` is not given (default: float32). A quantized model runs on the CPU, unless
        another device is given.
        """
        if quantize is not None and self.dtype is not None:
            raise UsageError(BOTH_TYPES)
        import torch

        from antiphon.devices import choose_device, describe_machine

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        device = choose_device("cpu" if quantize is not None and self.device == "auto" else self.device)
        self.say(describe_machine(device, quantize or self.dtype or dtype or "float32"))
        return device.type


def columns() -> int | None:
    """The columns of the terminal that standard output is; None for a pipe or a file, whose lines stay whole."""
    from antiphon.training.reporting.formats import terminal_width

    return terminal_width(sys.stdout) if sys.stdout.isatty() else None


def import_modules(names: Iterable[str]) -> None:
    """Import the modules of `--import`, which register their parts; the current folder is searched first."""
    for name in names:
        folder = str(Path.cwd())
        sys.path.insert(0, folder)
        try:
            importlib.import_module(name)
        except Exception as error:  # the user's module may raise anything
            raise ConfigError(
                f"`--import {name}` cannot be imported ({type(error).__name__}: {error}). "
                f"Looked in {folder} and Python's path."
            ) from error
        finally:
            sys.path.remove(folder)


def with_seed(search: dict[str, Any], seed: int | None) -> dict[str, Any]:
    """Search settings with the seed of `--seed`."""
    return search if seed is None else {**search, "seed": seed}


def over(settings: type[Settings], name: str, *, without: tuple[str, ...] = ()) -> Group:
    """The flags of a section of a recipe, `without` some of its settings."""
    return Group(
        settings,
        name,
        f"Laid over `{name}` of the recipe; a default holds where neither says anything.",
        prefix=name,
        raw=True,
        without=without,
    )
