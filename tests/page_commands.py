"""The commands that the pages show: where they stand, what they need, and whether all that they name exists.

A passage is a block of commands, or one command in backquotes within a text. It is typed by tests/docs/test_commands.py
as it is printed, unless a mark above its block (or behind it, in its line) says why not. Readers do not see a mark:

    <!-- needs: data, 46 minutes -->        what is not there in a test: see NEEDS
    <!-- typed in: tests/FILE.py -->        another test types it

Within a text, not typed either are forms, which have a word to be replaced (NAME, FILE, `…`, `[--flag]`), and commands
that are mentioned without what they must be given (`antiphon evaluate --output`). All are checked: commands, flags,
files, targets.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conftest import DATA_FOLDER

from antiphon.cli.flags import flag_names, parse
from antiphon.cli.main import COMMANDS, SHELLS, command_class
from antiphon.errors import ConfigError, UsageError

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md"))]
NEEDS = {  # what a mark may name
    r"data": "the data sets of ANTIPHON_DATA",
    r"network": "a connection to the package index or the hub",
    r"GPU": "a CUDA device",
    r"(\d+|some) (minutes|hours)": "time",
    r"\[(\w+)\]": "an extra of pyproject.toml",
}
MARK = re.compile(r"<!-- (needs|typed in): (.*?) -->")
PROGRAM = r"(?:\w+=\S* +)*(?:[\w~./-]*/)?(?:antiphon|python3?|pip|make)"
COMMAND = re.compile(rf"(?:\$ )?(?:export \w+=|{PROGRAM}(?: |$))")
FORM = re.compile(r"(?<![$\w{=-])[A-Z]{3,}\b(?!=)|…|\[--")


class Wrong(AssertionError):
    """A command that names what is not there, or a mark that says nothing."""


@dataclass(frozen=True)
class Passage:
    """Commands of a page, or a block of Python (`python`), which tests/docs/test_pages.py runs.

    `kind` and `mark`: of its mark; `said`: what a session (`$ …`) shows as their output.
    """

    page: str
    line: int
    text: str
    inline: bool = False
    kind: str = ""
    mark: str = ""
    said: str | None = None
    python: bool = False

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text.splitlines()[0]}"

    @property
    def commands(self) -> list[tuple[list[str], list[str]]]:
        """The words of each command, without redirections, and the flags that its comment names."""
        found = []
        for line in [] if self.python else self.text.replace("\\\n", " ").splitlines():
            words = shlex.split(re.sub(r"\[(--[^\]]*)\]", r"\1", os.path.expandvars(line)), comments=True)
            comment = line.partition(" #")[2]
            if words:
                found.append((list(_arguments(words)), re.findall(r"(?<!\S)--[a-z][\w.-]*\w", comment)))
        return found

    @property
    def typed(self) -> bool:
        """Whether the test types it."""
        if self.kind or self.python or not self.inline:
            return not self.kind and not self.python
        if FORM.search(self.text):
            return False
        [(words, _)] = self.commands
        program = Path(words[0]).name
        if program == "pip" or (program == "make" and len(words) == 2) or words[1:] == ["-m", "antiphon"]:
            return False  # pip needs the network by what it is, and a target of make or a program is named
        return program != "antiphon" or len(words) == 1 or not _mentions(words[1:])


def passages(page: str, text: str | None = None) -> list[Passage]:
    """The commands of a page, in its order. Raises Wrong for a mark without commands."""
    lines = ((ROOT / page).read_text(encoding="utf-8") if text is None else text).split("\n")
    found: list[Passage] = []
    number, mark, marked = 0, ("", ""), -1  # marked: how many there were when the mark was read
    while number < len(lines):
        line, start = lines[number], number
        number += 1
        if above := MARK.fullmatch(line):
            mark, marked = (above[1], above[2]), len(found)
            continue
        if line.startswith("```"):
            number = next(end for end in range(number, len(lines)) if lines[end].startswith("```")) + 1
            if line[3:] in ("", "bash", "sh", "console"):
                found += _block(page, start + 2, lines[start + 1 : number - 1], mark)
            elif line[3:] == "python":
                code = "".join(f"{text}\n" for text in lines[start + 1 : number - 1])
                found.append(Passage(page, start + 2, code, False, *mark, python=True))
        elif line.startswith("    ") and (not start or not lines[start - 1] or MARK.fullmatch(lines[start - 1])):
            while number < len(lines) and lines[number].startswith("    "):
                number += 1
            block = [each[4:] for each in lines[start:number]]
            if COMMAND.match(block[0]):
                found += _block(page, start + 1, block, mark)
        elif line.strip():
            own = MARK.search(line)
            for code in re.findall(r"`([^`]+)`", line):
                if COMMAND.match(code) and (" " in code):
                    found.append(Passage(page, start + 1, code, True, *((own[1], own[2]) if own else mark)))
            if number < len(lines):
                continue  # a mark holds to the end of its block
        if marked == len(found):
            raise Wrong(f"{page}:{number}: `<!-- {mark[0]}: {mark[1]} -->` stands above no command")
        mark, marked = ("", ""), -1
    return found


def _block(page: str, line: int, lines: list[str], mark: tuple[str, str]) -> Iterator[Passage]:
    """One passage, or of a session one for each prompt."""
    starts = [number for number, text in enumerate(lines) if text.startswith("$ ")]
    if not starts:
        yield Passage(page, line, "\n".join(lines), False, *mark)
        return
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        said = "".join(f"{text}\n" for text in lines[start + 1 : end])
        yield Passage(page, line + start, lines[start][2:], False, *mark, said)


def _arguments(words: list[str]) -> Iterator[str]:
    """Without variables in front, and without redirections."""
    while words and re.match(r"\w+=", words[0]):
        words = words[1:]
    rest = iter(words)
    for word in rest:
        if word in ("<", ">", "2>", "|"):
            next(rest)
        else:
            yield word


def check(passage: Passage) -> None:
    """Raises Wrong for a mark, a command, a flag or a file that does not exist."""
    if passage.kind == "typed in":
        test = ROOT / passage.mark
        if not test.is_file() or Path(passage.page).name not in test.read_text(encoding="utf-8"):
            raise Wrong(f"{passage}: `{passage.mark}` is no test of {passage.page}")
    for need in passage.mark.split(", ") if passage.kind == "needs" else ():
        match = next((found for known in NEEDS if (found := re.fullmatch(known, need))), None)
        if match is None or (need[0] == "[" and match[1] not in project()["optional-dependencies"]):
            raise Wrong(f"{passage}: `{need}` is no need; known: {', '.join(NEEDS)}")
    if passage.said is not None and passage.typed:  # its output is compared, and may be an error
        return
    for words, flags in passage.commands:
        try:
            _check(words, flags, inline=passage.inline)
            _check_files(words)
        except (UsageError, Wrong) as error:
            raise Wrong(f"{passage}: {error}") from None


def _check(words: list[str], flags: list[str], *, inline: bool) -> None:
    program, *rest = words or ["export"]
    program = Path(program).name
    if program.startswith("python") and rest[:2] == ["-m", "antiphon"]:
        program, rest = "antiphon", rest[2:]
    if program == "antiphon":
        _check_antiphon(rest, flags, inline=inline)
    elif program.startswith("python") and rest[0] == "-m":
        if importlib.util.find_spec(rest[1]) is None:
            raise Wrong(f"there is no module `{rest[1]}`")
    elif program.startswith("python"):
        _check_script(rest)
    elif program == "make":
        _check_make(rest)
    elif program == "pip":
        for extra in re.findall(r"\bantiphon\[([^\]]*)\]", " ".join(rest)):
            if extra not in project()["optional-dependencies"]:
                raise Wrong(f"pyproject.toml has no extra [{extra}]")
    elif program != "export":
        raise Wrong(f"`{program}` is a program that tests/page_commands.py does not know")


def _check_antiphon(words: list[str], flags: list[str], *, inline: bool) -> None:
    if words and words[0].startswith("-") and words[0] in ("--help", "--version", "--print-completion"):
        if words[0] == "--print-completion" and words[1:] not in [[shell] for shell in SHELLS]:
            raise Wrong(f"there is no completion for {words[1:]}")
        return
    if not words and inline:
        return
    name, rest = _choose(words)
    known = flag_names(command_class(name))
    for flag in [*flags, *(word.partition("=")[0] for word in rest if word.startswith("--"))]:
        if flag not in [*known, "--help"]:
            raise Wrong(f"`{flag}` is not a flag of `antiphon {name}`")
    if "--help" not in rest and not (inline and _mentions(words)):
        parse(command_class(name), rest, prog=f"antiphon {name}")
        if name == "train":
            _check_recipe(command_class(name), rest)


def _choose(words: list[str]) -> tuple[str, list[str]]:
    for size in (2, 1):
        if (name := " ".join(words[:size])) in COMMANDS:
            return name, words[size:]
    raise Wrong(f"there is no command `antiphon {' '.join(words[:2])}`")


def _mentions(words: list[str]) -> bool:
    """Whether `antiphon WORDS` lacks something that it must be given: a text then speaks of the command."""
    name, rest = _choose(words) if words and words[0] in {each.split()[0] for each in COMMANDS} else ("", [])
    if not name or "--help" in rest:
        return not words
    try:
        parse(command_class(name), rest, prog=f"antiphon {name}")
    except UsageError as error:
        return "needs" in str(error) or "must be given" in str(error)
    return False


def _check_recipe(command: type, rest: list[str]) -> None:
    """A recipe of the repository is read with the flags that are laid over it."""
    from antiphon.recipe import read_recipe

    given = parse(command, rest, prog="antiphon train")
    if not given.recipe.startswith("recipes/") or FORM.search(given.recipe):
        return
    if not (ROOT / given.recipe).is_file():
        raise Wrong(f"there is no recipe `{given.recipe}`")
    from antiphon.recipe import variant_names

    for variant in [given.variant] if given.variant else variant_names(ROOT / given.recipe) or [None]:
        try:
            read_recipe(ROOT / given.recipe, given.overrides, variant=variant)
        except ConfigError as error:
            if f"there is no `{ROOT}/runs/" not in str(error):  # what an earlier command of the page makes
                raise


def _check_script(words: list[str]) -> None:
    file, *rest = words
    if not (ROOT / file).is_file():
        raise Wrong(f"there is no script `{file}`")
    if file == "run.py":
        if rest[0] not in run_commands():
            raise Wrong(f"`python run.py` knows no command `{rest[0]}`")
        return
    for flag in (word.partition("=")[0] for word in rest if word.startswith("--")):
        if flag not in script_flags(file):
            raise Wrong(f"`{flag}` is not a flag of `{file}`")


def _check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        name, is_variable, _ = word.partition("=")
        pattern = rf"^{re.escape(name)} \?=" if is_variable else rf"^\.PHONY:.*\b{re.escape(name)}\b"
        if not re.search(pattern, makefile, re.MULTILINE) or not (is_variable or name in run_commands()):
            raise Wrong(f"`{word}` is not in Makefile and run.py")


def _check_files(words: list[str]) -> None:
    """Data sets that a command reads are where it says, if they are here."""
    for word in words:
        for file in re.findall(rf"{re.escape(str(DATA_FOLDER))}/[\w./-]+", word) if DATA_FOLDER.is_dir() else ():
            if not Path(file).exists():
                raise Wrong(f"there is no data set `{file}`")


def stray_flags(page: str) -> list[str]:
    """Flags that the page names in backquotes, with or without a value, and that no command here has."""
    known = {"--help", "--version", "--print-completion"}
    for name in COMMANDS:
        known |= set(flag_names(command_class(name)))
    for folder in ("benchmarks", "examples", "docs", "recipes/prepare"):
        known = known.union(*(script_flags(f"{folder}/{file.name}") for file in (ROOT / folder).glob("*.py")))
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    codes = [code for code in re.findall(r"`([^`\n]+)`", text) if code.startswith("--")]
    return [flag for code in codes for flag in re.findall(r"(?<!\S)--[a-z][\w.-]*\w", code) if flag not in known]


@functools.cache
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@functools.cache
def run_commands() -> set[str]:
    spec = importlib.util.spec_from_file_location("run_of_make", ROOT / "run.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return set(module.COMMANDS)


@functools.cache
def script_flags(file: str) -> set[str]:
    """The flags that a script's parser is given: they are read, since some import what takes seconds."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    names = [call.args for call in calls if call.func.attr == "add_argument"]  # type: ignore[union-attr]
    return {each.value for args in names for each in args if isinstance(each, ast.Constant)} | {"--help"}
