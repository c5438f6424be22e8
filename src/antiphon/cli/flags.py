"""Parsing of command-line flags: from the fields of a command to its flags, and from arguments to a command.

A command is a `Settings` class: each field is a flag, the docstring under it is the flag's help. `Positional`, `Flag`
and `Group`, in the field's Annotated, change how it is shown. tyro formats the help, splits the arguments and completes
them in a shell. Values are passed through as text and read by the reader of recipes, so that the messages about wrong
values are the same.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import re
import shutil
import sys
import textwrap
import types
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from importlib.util import find_spec
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from antiphon.cli import plain_flags
from antiphon.errors import UsageError
from antiphon.recipe import meaning
from antiphon.registry import nearest
from antiphon.settings import FlagText, SettingError, Settings, build, convert, field_docs, hints
from antiphon.synonyms import explain

C = TypeVar("C", bound=Settings)
_ABSENT = "\0"  # the value of a flag that was not given; no argument can contain it


@dataclass(frozen=True)
class Positional:
    """The field is a positional argument, shown as `metavar` in the help."""

    metavar: str


@dataclass(frozen=True)
class Flag:
    """The display of a flag: `metavar` for its value, `default` in the help, `name` if it differs from the field's."""

    metavar: str = ""
    default: str = ""
    name: str = ""


@dataclass(frozen=True)
class Group:
    """The field is a dict of the given settings of the class `settings`; each setting is a flag.

    `title` and `about` are the heading of its box in the help. `prefix` is prepended to the names ("training" makes
    `--training.lr`). `without`: settings without a flag. `raw`: keep the texts, to be applied to a recipe later.
    `defaults`: show the defaults of `settings`.
    """

    settings: type[Settings]
    title: str
    about: str
    prefix: str = ""
    without: tuple[str, ...] = ()
    raw: bool = False
    defaults: bool = True


@dataclass(frozen=True)
class _Section:
    """A box in the help; without a title, the command's own flags."""

    title: str
    about: str


@dataclass(frozen=True)
class _Leaf:
    """One flag: its field (and key in the group), and its description for tyro."""

    name: str
    home: tuple[str, ...]
    hint: Any
    default: Any
    help: str
    mark: Positional | Flag | None = None

    @property
    def kind(self) -> str:
        bare = _bare(self.hint)
        if bare is bool and len(self.home) == 1:  # flags of groups are "true" or "false": their default is elsewhere
            return "switch"
        return "many" if get_origin(bare) is tuple and get_args(bare)[1:] == (Ellipsis,) else "one"

    @property
    def required(self) -> bool:
        """Whether a command needs this positional argument."""
        return isinstance(self.mark, Positional) and not _optional(self.hint)

    @property
    def typed(self) -> str:
        """The flag as it is typed, or the name of the positional argument."""
        return self.mark.metavar if isinstance(self.mark, Positional) else _flag(self.name)

    @property
    def metavar(self) -> str:
        if self.mark is not None and self.mark.metavar:
            return self.mark.metavar
        bare = _bare(self.hint)
        if get_origin(bare) is Literal:
            return "{" + ",".join(map(str, get_args(bare))) + "}"
        shown = {int: "N", float: "X", bool: "true|false"}.get(bare, "TEXT")
        # The word none unsets an optional flag, except for texts, where it is a text.
        return f"{shown}|none" if shown != "TEXT" and _optional(self.hint) and len(self.home) == 2 else shown

    @property
    def shown(self) -> str:
        """The default in the help."""
        if isinstance(self.mark, Positional):
            return ""
        if self.mark is not None and self.mark.default:
            return f"({self.mark.default})"
        if self.kind == "many":
            return "(repeatable)"
        if self.kind == "switch" or self.default is None or isinstance(self.default, dict):
            return ""
        if isinstance(self.default, bool):
            return f"(default: {str(self.default).lower()})"
        shown = ", ".join(map(str, self.default)) if isinstance(self.default, tuple) else str(self.default)
        return f"(default: {shown})" if shown else ""


def parse(command: type[C], arguments: Sequence[str], *, prog: str) -> C:
    """The command with the values of `arguments`. Raises UsageError of one line; SystemExit(0) after `--help`."""
    leaves = {leaf.name: leaf for _, group in sections(command) for leaf in group}
    if find_spec("tyro") is None:
        shapes = [(section.title, group) for section, group in sections(command)]
        given, unknown = plain_flags.split(shapes, arguments, prog=prog, description=_description(command))
    else:
        given, unknown = _split(command, arguments, prog=prog)
    if unknown:
        raise UsageError(_unknown(unknown[0], leaves, prog))
    return _build(command, leaves, given)


def _split(command: type[Settings], arguments: Sequence[str], *, prog: str) -> tuple[dict[str, Any], list[str]]:
    """The given flags by name, as tyro reads them, and the words that are none of the command's."""
    import tyro

    words, shown = io.StringIO(), _CapturedHelp()
    try:
        with contextlib.redirect_stderr(words), contextlib.redirect_stdout(shown):
            texts, unknown = tyro.cli(
                shape(command),
                prog=prog,
                description=_description(command),
                args=list(arguments),
                return_unknown_args=True,
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.HelptextFromCommentsOff),
            )
    except SystemExit as exit:
        if exit.code != 2:  # after --help, or by a signal
            sys.stdout.write(_wrapped(shown.getvalue(), shutil.get_terminal_size().columns))
            raise
        raise UsageError(f"{_one_line(words.getvalue(), prog)} See `{prog} --help`.") from None
    names = {_identifier(leaf.name): leaf.name for _, group in sections(command) for leaf in group}
    return {names[identifier]: value for identifier, value in _given(texts)}, list(unknown)


def shape(command: type[Settings], *, complete: bool = False) -> type:
    """The class for tyro: the command's flags as texts, grouped; `complete` keeps the choices, for completion."""
    import tyro

    made = []
    for section, leaves in sections(command):
        parts = [(_identifier(leaf.name), *_typed(leaf, complete=complete)) for leaf in leaves]
        if section.title:
            inner = make_dataclass(section.title, parts, kw_only=True)
            told = tyro.conf.arg(help=section.about)
            made.append(
                (section.title, tyro.conf.OmitArgPrefixes[Annotated[inner, told]], field(default_factory=inner))
            )
        else:
            made += parts
    outer = make_dataclass(command.__name__, made, kw_only=True)
    outer.__doc__ = _description(command)
    return outer


def flag_names(command: type[Settings]) -> list[str]:
    """The command's flags and positional arguments, as they are typed."""
    leaves = (leaf for _, group in sections(command) for leaf in group)
    return [leaf.typed for leaf in leaves]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name) + "_"  # "import" is a keyword, and "training.lr" no name


def _bare(hint: Any) -> Any:
    """The type of a field without its bounds and without None."""
    while get_origin(hint) in (Annotated, Union, types.UnionType):
        options = [part for part in get_args(hint) if part is not type(None)]
        hint = options[0]
    return hint


def _optional(hint: Any) -> bool:
    """Whether a field may be None."""
    inner = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return type(None) in get_args(inner)


def _mark(hint: Any, kind: Any) -> Any:
    marks = [part for part in get_args(hint)[1:] if isinstance(part, kind)] if get_origin(hint) is Annotated else []
    return marks[0] if marks else None


def _description(command: type[Settings]) -> str:
    """The command's docstring, each paragraph on a line."""
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(command.__doc__ or "").split("\n\n"))


class _CapturedHelp(io.StringIO):
    """What tyro prints. It asks standard output whether it may use colours, and which characters."""

    def __init__(self) -> None:
        super().__init__()
        self._stream = sys.stdout

    def isatty(self) -> bool:
        return self._stream.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding


def _wrapped(text: str, width: int) -> str:
    """`text` with its long lines in several of at most `width` columns: tyro fits its boxes, not the description."""

    def fit(line: str) -> str:
        if len(line) <= width or "\x1b" in line or line[0] in "╭│╰":  # of a box, where colours have no width
            return line
        return textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)

    return "\n".join(map(fit, text.split("\n")))


@functools.cache
def sections(command: type[Settings]) -> list[tuple[_Section, list[_Leaf]]]:
    """The flags by box of the help: the command's own ones, its groups, then those of every command."""
    docs: dict[str, str] = {}
    for cls in reversed(command.__mro__):
        docs |= field_docs(cls) if cls is not Settings and issubclass(cls, Settings) else {}
    common = {
        name for base in command.__bases__ if issubclass(base, Settings) for name in (f.name for f in fields(base))
    }
    own: list[_Leaf] = []
    everywhere: list[_Leaf] = []
    groups: list[tuple[_Section, list[_Leaf]]] = []
    for entry in fields(command):
        hint = hints(command)[entry.name]
        if group := _mark(hint, Group):
            groups.append((_Section(group.title, group.about), list(_group_leaves(entry.name, group))))
            continue
        mark = _mark(hint, (Positional, Flag))
        name = mark.name if isinstance(mark, Flag) and mark.name else entry.name
        default = None if entry.default is MISSING else entry.default
        leaf = _Leaf(name, (entry.name,), hint, default, docs[entry.name], mark)
        (everywhere if entry.name in common else own).append(leaf)
    return [(_Section("", ""), own), *groups, (_Section("common", "The same in every command."), everywhere)]


def _group_leaves(home: str, group: Group) -> Iterator[_Leaf]:
    docs = field_docs(group.settings)
    for entry in fields(group.settings):
        if entry.name not in group.without:
            name = f"{group.prefix}.{entry.name}" if group.prefix else entry.name
            default = entry.default if group.defaults and entry.default is not MISSING else None
            yield _Leaf(name, (home, entry.name), hints(group.settings)[entry.name], default, docs[entry.name])


def _typed(leaf: _Leaf, *, complete: bool) -> tuple[Any, Any]:
    """The type and the default of a flag for tyro."""
    import tyro

    told = tyro.conf.arg(name=leaf.name, metavar=leaf.metavar, help=leaf.help, help_behavior_hint=leaf.shown)
    if isinstance(leaf.mark, Positional):
        if leaf.kind == "many":  # tyro does not know that it is required: `_build` does
            place = tyro.conf.arg(metavar=leaf.metavar, help=leaf.help, help_behavior_hint="")
            return Annotated[tuple, tyro.conf.Positional, place], field(default=())
        if leaf.required:  # tyro says so
            return Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar=leaf.metavar, help=leaf.help)], field()
        place = tyro.conf.arg(metavar=leaf.metavar, help=leaf.help, help_behavior_hint="")
        return Annotated[str, tyro.conf.Positional, place], field(default=_ABSENT)
    if leaf.kind == "switch":
        switch = tyro.conf.arg(name=leaf.name, help=leaf.help, help_behavior_hint="")
        return Annotated[bool, switch], field(default=False)
    if leaf.kind == "many":
        # Not tuple[str, ...]: tyro would import a slow library to check its default.
        return Annotated[tuple, tyro.conf.UseAppendAction, told], field(default=())
    bare = _bare(leaf.hint)
    if complete and get_origin(bare) is Literal:
        return Annotated[bare, told], field(default=get_args(bare)[0])
    return Annotated[str, told], field(default=_ABSENT)


def _given(texts: Any) -> Iterator[tuple[str, Any]]:
    """The given flags, by their names in tyro's class, with groups flattened."""
    for entry in fields(texts):
        value = getattr(texts, entry.name)
        if isinstance(value, str | bool | tuple):
            if value not in (_ABSENT, False, ()):
                yield entry.name, value
        else:
            yield from _given(value)


def _build(command: type[C], leaves: dict[str, _Leaf], given: dict[str, Any]) -> C:
    values: dict[str, Any] = {}
    for name, leaf in leaves.items():
        if (value := given.get(name)) is None:
            continue
        if isinstance(value, str):
            value = FlagText(value, meaning(value))
        if len(leaf.home) == 2:
            home, key = leaf.home
            group = _mark(hints(command)[home], Group)
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            values.setdefault(home, {})[name if group.raw else key] = text if group.raw else _read(value, leaf)
        else:
            values[leaf.home[0]] = _read(value, leaf)
    try:
        return build(command, values)
    except SettingError as error:  # for example a missing required flag
        typed = {leaf.home: leaf.typed for leaf in leaves.values()}
        path = (typed[error.path],) if error.path in typed else tuple(map(_flag, error.path))
        raise SettingError(path, error.problem, hint=error.hint, remedy=error.remedy) from None


def _read(value: Any, leaf: _Leaf) -> Any:
    try:
        return convert(value, leaf.hint)
    except SettingError as error:
        raise SettingError((leaf.typed, *error.path), error.problem, hint=error.hint, remedy=error.remedy) from None


def _unknown(word: str, leaves: dict[str, _Leaf], prog: str) -> str:
    flags = [leaf.typed for leaf in leaves.values()]
    name = word.partition("=")[0]
    if word.startswith("-") and name not in flags:

        def here(setting: str) -> str | None:
            section, _, last = setting.rpartition(".")
            alone = "" if section.startswith(("data", "model")) else last  # --beam-size, not --generation.beam-size
            return next((f"`{_flag(each)}`" for each in (setting, alone) if _flag(each) in flags), None)

        hint = explain(name, here, section=name.lstrip("-").rpartition(".")[0].replace("-", "_"))
        return f"`{name}` is not a flag of `{prog}`{hint or nearest(name, flags) or '.'} See `{prog} --help`."
    return f"`{prog}` was given `{word}`, which it has no place for. See `{prog} --help`."


def _one_line(box: str, prog: str) -> str:
    """A message of tyro, which is a box of several lines, as one line: the text before its first rule, without
    title."""
    lines = [line.strip("│ ").strip() for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    rule = next((place for place, line in enumerate(lines) if line.startswith("──")), len(lines))
    text = " ".join(" ".join(lines[:rule]).split())
    if found := re.match(r"Missing value for argument '([^']+)'", text):
        return f"`{found[1]}` needs a value; one that begins with `-` is written {found[1]}=VALUE."
    if found := re.match(r"Missing from [^:]+: (\S+) (.*)", text):
        return f"`{prog}` needs {found[1]}: {found[2].removesuffix('(required)').strip()}"
    return text if text.endswith(".") else text + "."
