"""Commands without tyro: the same words give the same command, and errors are of one line."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from antiphon.cli import flags
from antiphon.cli.flags import Flag, Group, Positional, parse
from antiphon.cli.main import COMMANDS, command_class
from antiphon.config import GenerationConfig
from antiphon.errors import UsageError
from antiphon.settings import Count, Settings

SEARCH = Group(GenerationConfig, "search", "As a search does.", without=("seed",))


@dataclass(frozen=True, kw_only=True)
class Sing(Settings):
    """Sing a song."""

    song: Annotated[str, Positional("SONG")]
    """What is sung, 100 % of it."""
    voice: Literal["high", "low"] = "high"
    """Which voice."""
    times: Count | None = None
    """How often."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """A module."""
    quiet: bool = False
    """Say nothing."""
    search: Annotated[dict[str, Any], SEARCH] = field(default_factory=dict)


@pytest.fixture
def without_tyro(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "tyro", None)


WORDS = [
    ["x.txt"],
    ["x.txt", "--voice", "low", "--times=3", "--quiet"],
    ["--times", "3", "x.txt", "--import", "a", "--import=b"],
    ["x.txt", "--beam-size", "3", "--length-penalty", "-1", "--prefix", "no", "--template", "false"],
    ["x.txt", "--allowed", "a", "--allowed", "b", "--max-new-tokens", "none"],
]


@pytest.mark.parametrize("words", WORDS)
def test_the_same_words_give_the_same_command(words: list[str], request: pytest.FixtureRequest) -> None:
    with_tyro = parse(Sing, words, prog="antiphon sing")
    request.getfixturevalue("without_tyro")
    assert parse(Sing, words, prog="antiphon sing") == with_tyro


WRONG = [
    ([], "`antiphon sing` needs SONG: What is sung, 100 % of it."),
    (["x", "--voice", "loud"], "`--voice` must be one of high, low, but is the text `loud`"),
    (["x", "--times", "0"], "`--times` must be at least 1, but is 0"),
    (["x", "--tims", "3"], "`--tims` is not a flag of `antiphon sing`, did you mean `--times`?"),
    (["x", "y"], "`antiphon sing` was given `y`, which it has no place for"),
    (["x", "--beam", "3"], "`--beam` is not a flag of `antiphon sing`"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
@pytest.mark.usefixtures("without_tyro")
def test_wrong_words(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(Sing, words, prog="antiphon sing")
    assert message in str(caught.value)


@pytest.mark.usefixtures("without_tyro")
def test_a_missing_value() -> None:
    with pytest.raises(UsageError, match=r"`--voice` needs a value; one that begins with `-` is written --voice=VALUE"):
        parse(Sing, ["x", "--voice"], prog="antiphon sing")


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.usefixtures("without_tyro")
def test_the_help_of_each_command_has_its_flags(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(command_class(name), ["--help"], prog=f"antiphon {name}")
    assert not caught.value.code
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: antiphon {name} ")
    for flag in flags.flag_names(command_class(name)):
        assert flag in shown


def test_the_command_line_works_without_tyro(tmp_path: Path) -> None:
    code = "import sys; sys.modules['tyro'] = None; from antiphon.cli.main import main; sys.exit(main())"

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *words], check=False, capture_output=True, text=True, input=""
        )

    assert run("generate", "--help").stdout.startswith("usage: antiphon generate")
    missing = run("generate", str(tmp_path / "none"))
    assert missing.returncode == 2
    assert f"{tmp_path}/none" in missing.stderr.splitlines()[-1]
    assert "Traceback" not in missing.stderr
