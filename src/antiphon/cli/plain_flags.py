"""Flags without tyro, with the standard library's argparse, for installs that only serve (docs/serving.md).

The same words are accepted, and errors are of the same kind; the help is plain and there is no completion.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from typing import NoReturn, Protocol

from antiphon.errors import UsageError


class FlagShape(Protocol):
    """What is needed of a flag: how it is typed, its name among the results, and its help."""

    @property
    def name(self) -> str: ...
    @property
    def typed(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def metavar(self) -> str: ...
    @property
    def shown(self) -> str: ...
    @property
    def help(self) -> str: ...
    @property
    def required(self) -> bool: ...


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        if found := re.match(r"argument (--\S+): expected one argument", message):
            flag = found[1]
            message = f"`{flag}` needs a value; one that begins with `-` is written {flag}=VALUE"
        raise UsageError(f"{message.rstrip('.')}. See `{self.prog} --help`.")


def split(
    sections: Iterable[tuple[str, Sequence[FlagShape]]], arguments: Sequence[str], *, prog: str, description: str
) -> tuple[dict[str, str | bool | tuple[str, ...]], list[str]]:
    """The given flags by name, and the words that are none of the command's.

    `sections` are the flags by heading; without a heading, the command's own. UsageError if a positional argument or a
    value is missing; SystemExit(0) after `--help`.
    """
    parser = _Parser(prog=prog, description=description, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    required: list[FlagShape] = []
    for title, flags in sections:
        group = parser.add_argument_group(title) if title else parser
        for flag in flags:
            about = f"{flag.help} {flag.shown}".strip().replace("%", "%%")
            if not flag.typed.startswith("-"):
                required += [flag] if flag.required else []
                group.add_argument(flag.name, metavar=flag.typed, nargs="*" if flag.kind == "many" else "?", help=about)
            elif flag.kind == "switch":
                group.add_argument(flag.typed, dest=flag.name, action="store_true", help=about)
            else:
                action = "append" if flag.kind == "many" else "store"
                group.add_argument(flag.typed, dest=flag.name, action=action, metavar=flag.metavar, help=about)
    found, unknown = parser.parse_known_intermixed_args(list(arguments))
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in vars(found).items()}
    for flag in required:
        if not given.get(flag.name) and not unknown:
            raise UsageError(f"`{prog}` needs {flag.typed}: {flag.help} See `{prog} --help`.")
    return given, unknown
