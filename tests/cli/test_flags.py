"""From fields to flags and from arguments to values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
import tyro

from antiphon.cli.command import Command
from antiphon.cli.flags import Flag, Group, Positional, flag_names, parse
from antiphon.cli.main import COMMANDS, command_class
from antiphon.config import GenerationConfig
from antiphon.errors import UsageError
from antiphon.settings import Count, Settings


@dataclass(frozen=True, kw_only=True)
class Base(Settings):
    quiet: bool = False
    """Say nothing."""


@dataclass(frozen=True, kw_only=True)
class Sing(Base):
    """Sing a song.

    Several lines of it.
    """

    song: Annotated[str, Positional("SONG")]
    """What is sung, [with] `marks` and 100 %."""
    voice: Literal["high", "low"] = "high"
    """Which voice."""
    times: Count | None = None
    """How often."""
    part: tuple[str, ...] = ()
    """The parts."""
    imports: Annotated[tuple[str, ...], Flag("PKG.MOD", name="import")] = ()
    """A name that Python keeps for itself."""
    search: Annotated[dict[str, Any], Group(GenerationConfig, "search", "As a search does.", without=("seed",))] = (
        field(default_factory=dict)
    )
    over: Annotated[dict[str, Any], Group(GenerationConfig, "over", "Laid over.", prefix="over", raw=True)] = field(
        default_factory=dict
    )


def sing(*arguments: str) -> Sing:
    return parse(Sing, arguments, prog="antiphon sing")


def test_values_get_the_types_of_their_fields() -> None:
    made = sing("x.txt", "--voice", "low", "--times=3", "--part", "a", "--part", "b", "--quiet", "--import", "m.n")
    assert made == Sing(song="x.txt", voice="low", times=3, part=("a", "b"), imports=("m.n",), quiet=True)


def test_only_what_was_given_stands_in_a_group() -> None:
    made = sing("x", "--beam-size", "3", "--length-penalty", "-1", "--over.beam-size", "7", "--prefix", "no")
    assert made.search == {"beam_size": 3, "length_penalty": -1.0, "prefix": "no"}
    assert made.over == {"over.beam_size": "7"}  # text, for the reader of the recipe


def test_a_text_stays_a_text_where_one_is_wanted() -> None:
    assert sing("no", "--prefix", "12").search == {"prefix": "12"}
    assert sing("2e-4", "--part", "true").part == ("true",)
    assert sing("x", "--prefix=-y").search == {"prefix": "-y"}


def test_underscores_are_hyphens() -> None:
    assert sing("x", "--beam_size", "3") == sing("x", "--beam-size", "3")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "needs SONG: What is sung"),
        (["x", "--times", "0"], "`--times` must be at least 1, but is 0"),
        (["x", "--times", "two"], "`--times` must be a whole number, but is the text `two`"),
        (["x", "--voice", "hihg"], "`--voice` must be one of high, low, but is the text `hihg`"),
        (["x", "--tims", "2"], "did you mean `--times`?"),
        (["x", "--over.bea", "2"], "did you mean `--over.beam-size`?"),
        (["x", "--times"], "`--times` needs a value"),
        (["x", "y"], "was given `y`, which it has no place for"),
        (["x", "--beam-size", "0"], "`--beam-size` must be at least 1"),
        (["x", "--top-p", "1.5"], "`--top-p` must be above 0 and at most 1"),
        (["x", "--seed", "1"], "`--seed` is not a flag"),
        (["x", "--quiet", "--quiet=3"], "`3`"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        sing(*arguments)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@dataclass(frozen=True, kw_only=True)
class Choir(Base):
    """Sing several songs."""

    songs: Annotated[tuple[str, ...], Positional("SONG ...")]
    """What is sung."""


def test_several_positional_arguments() -> None:
    assert parse(Choir, ["a", "b", "--quiet"], prog="antiphon choir") == Choir(songs=("a", "b"), quiet=True)
    with pytest.raises(UsageError, match=r"`SONG ...` must be given"):
        parse(Choir, [], prog="antiphon choir")


def test_a_signal_while_flags_are_read_keeps_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise SystemExit(143)

    monkeypatch.setattr(tyro, "cli", stopped)
    with pytest.raises(SystemExit) as caught:
        sing("x")
    assert caught.value.code == 143


def test_help_shows_what_stands_under_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        sing("--help")
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert caught.value.code == 0
    assert "usage: antiphon sing [-h] [OPTIONS] SONG" in shown
    assert "Sing a song. Several lines of it." in shown
    assert "What is sung, [with] `marks` and 100 %." in shown
    assert "--voice {high,low} Which voice. (default: high)" in shown
    assert "--beam-size N Open hypotheses of the beam search; 1 is greedy. (default: 4)" in shown
    assert "As a search does." in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_common_flags_and_a_help_for_each(name: str) -> None:
    command = command_class(name)
    assert issubclass(command, Command)
    flags = flag_names(command)
    assert {"--device", "--dtype", "--threads", "--seed", "--quiet", "--debug"} <= set(flags)
    assert len(flags) == len(set(flags))
    assert ("--quantize" in flags) == (name in ("export", "generate", "evaluate", "compare", "serve"))
