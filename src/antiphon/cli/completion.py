"""Shell completion of commands, flags and their choices, from the commands' fields."""

from __future__ import annotations

import contextlib
import io

from antiphon.cli.flags import shape
from antiphon.settings import Settings


def script(commands: dict[str, type[Settings]], shell: str) -> str:
    """The completion script of `shell` (bash, zsh or fish) for all `commands`; "a b" is the command b of a."""
    import tyro

    app = tyro.extras.SubcommandApp()
    families: dict[str, tyro.extras.SubcommandApp] = {}
    for name, command in commands.items():
        first, _, second = name.partition(" ")
        if second:
            family = families.setdefault(first, tyro.extras.SubcommandApp())
            family.command(name=second)(shape(command, complete=True))
        else:
            app.command(name=first)(shape(command, complete=True))
    for first, family in families.items():
        app.command(family, name=first)
    words = io.StringIO()
    with contextlib.redirect_stdout(words), contextlib.suppress(SystemExit):
        app.cli(prog="antiphon", args=["--tyro-print-completion", shell])
    return words.getvalue()
