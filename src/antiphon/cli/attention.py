"""`antiphon attention list` and `check`: the registered kinds, and the conformance check of one."""

from __future__ import annotations

import inspect
import json
import re
import sys
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from antiphon.cli.command import Command, columns, import_modules
from antiphon.cli.flags import Flag, Positional
from antiphon.config import Role

if TYPE_CHECKING:
    from antiphon.conformance import LawTable


@dataclass(frozen=True, kw_only=True)
class AttentionList(Command):
    """List the kinds of attention that a recipe can name: rule, mixer, function or scorer, settings, and a
    description."""

    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module that registers further kinds."""
    json: bool = False
    """One JSON object a line."""

    def run(self) -> int:
        import antiphon.nn  # noqa: F401  (registers the kinds)
        from antiphon.registry import lookup, names

        import_modules(self.imports)
        kinds = [_described(name, lookup("attention", name)) for name in names("attention")]
        if self.json:
            lines = [json.dumps(kind, ensure_ascii=False) for kind in kinds]
        else:
            lines = _listed(kinds, columns())
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        return 0


@dataclass(frozen=True, kw_only=True)
class AttentionCheck(Command):
    """Check an attention of your own, or a built-in one, against the laws that training, decoding, loading and serving
    rely on. The table goes to standard output; a broken law is exit code 1. It runs on the processor, in float64.
    """

    attention: Annotated[str, Positional("PKG.MOD:NAME")]
    """A rule, mixer, function or scorer in a module (the current folder is looked in first), or a registered name."""
    role: Annotated[Role | None, Flag(default="each that it takes")] = None
    """The role to check."""
    settings: Annotated[str, Flag("YAML")] = ""
    """Its settings, as in a recipe: '{window: 8}', or a single value."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """Import a module that registers it."""
    json: bool = False
    """The table as one JSON object."""

    def run(self) -> int:
        import torch

        from antiphon.conformance import examine
        from antiphon.recipe import read_yaml

        import_modules(self.imports)
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        spec: Any = self.attention
        if self.settings:
            spec = {spec: read_yaml(f"settings: {self.settings}", "--settings")[0]["settings"]}
        table = examine(spec, self.role)
        as_json = json.dumps(table.as_json(), indent=2, ensure_ascii=False) if self.json else ""
        sys.stdout.write(f"{as_json or _wrapped_table(table, columns())}\n")
        sys.stdout.flush()
        table.require()
        return 0


def _listed(kinds: list[dict[str, str]], width: int | None) -> list[str]:
    """A line for each kind; where one is longer than `width`, what each kind is stands below its settings."""
    names = ("name", "kind", "settings")
    widths = [max(len(kind[name]) for kind in kinds) for name in names]
    cells = [[kind[name].ljust(size) for name, size in zip(names, widths, strict=True)] for kind in kinds]
    lines = ["  ".join([*row, kind["what"]]) for row, kind in zip(cells, kinds, strict=True)]
    if width is None or max(map(len, lines)) <= width:
        return lines
    hanging, below = " " * (widths[0] + widths[1] + 4), " " * 4
    shown = []
    for row, kind in zip(cells, kinds, strict=True):
        shown += textwrap.wrap("  ".join(row), width, subsequent_indent=hanging)
        shown += textwrap.wrap(kind["what"], width, initial_indent=below, subsequent_indent=below)
    return shown


def _wrapped_table(table: LawTable, width: int | None) -> str:
    """The table, its last column in several lines where it is wider than `width`."""
    lines = str(table).split("\n")
    hanging = " " * lines[1].index("where, or why not")
    if width is None or width < len(hanging) + 20:
        return "\n".join(lines)
    return "\n".join(textwrap.fill(line, width, subsequent_indent=hanging) for line in lines)


def _described(name: str, part: Any) -> dict[str, str]:
    """The row of the list for a registered class, instance or function."""
    from torch import nn

    from antiphon.nn import Mixer, ScoreRule
    from antiphon.nn.mixers.function import is_attention_function

    own = part if isinstance(part, type) else type(part)
    names = {ScoreRule: "rule", Mixer: "mixer", nn.Module: "scorer"}
    kind = next((name for base, name in names.items() if issubclass(own, base)), "function")
    has_settings = not isinstance(part, nn.Module) and not is_attention_function(part)
    found = inspect.signature(part).parameters.values() if has_settings else ()
    # Skip the *arguments of base classes, and modules, which a recipe cannot give.
    taken = [each for each in found if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    taken = [each for each in taken if "nn." not in str(each.annotation)]
    settings = [each.name if each.default is each.empty else f"{each.name}={_short(each.default)}" for each in taken]
    return {"name": name, "kind": kind, "settings": ", ".join(settings), "what": _sentence(inspect.getdoc(part) or "")}


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)


def _sentence(text: str) -> str:
    """The first sentence of a docstring, on one line."""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z])", paragraph)[0]
