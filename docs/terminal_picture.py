"""Draws a recorded run as a picture of a terminal (SVG), for the README.

    make demo 2>&1 | tee demo.log
    python docs/terminal_picture.py demo.log docs/images/demo.svg --title "make demo" --head 20 --tail 25

The picture needs no font from elsewhere: every text carries its own width, so that it fits whatever monospace font the
reader has. Drawing the same log twice gives the same bytes.
"""

from __future__ import annotations

import argparse
import io
import re
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

FONTS = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
PLAIN = "484f58 ff7b72 3fb950 d29922 58a6ff bc8cff 39c5cf b1bac4"
BRIGHT = "6e7681 ffa198 56d364 e3b341 79c0ff d2a8ff 56d4dd f0f6fc"
STYLES = [  # what a line must match, and how the match is shown
    (r"^(\$|en>) .*", "bold bright_white"),
    (r"^(antiphon|run\.py):", "bright_black"),
    (r"^step [\d,]+", "cyan"),
    (r"validation:.*", "bold green"),
    (r"held-out combinations:.*", "bold green"),
    (r"→", "yellow"),
]


def theme() -> TerminalTheme:
    """Light on dark, with the eight colours of a terminal, plain and bright."""
    plain, bright = ([tuple(bytes.fromhex(color)) for color in row.split()] for row in (PLAIN, BRIGHT))
    return TerminalTheme((13, 17, 23), (201, 209, 217), plain, bright)


def read(log: Path, *, head: int | None, tail: int | None) -> list[Text]:
    """The log's lines as they would stand on the screen: what a carriage return overwrote is gone, colours are kept."""
    text = (
        log.read_bytes().decode().removesuffix("\n")
    )  # not read_text(), which takes a carriage return for a line's end
    lines = [line.rstrip("\r").split("\r")[-1] for line in text.split("\n")]
    if head is not None and tail is not None and len(lines) > head + tail:
        lines = [*lines[:head], f"… {len(lines) - head - tail} lines …", *lines[len(lines) - tail :]]
    return [styled(Text.from_ansi(line)) for line in lines]


def styled(line: Text) -> Text:
    """The line with the colours of STYLES."""
    for pattern, style in STYLES:
        line.highlight_regex(pattern, style)
    return line


def draw(lines: list[Text], *, title: str, width: int) -> str:
    """The picture, as SVG that stands alone."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in lines:
        console.print(line, soft_wrap=False, overflow="fold", highlight=False)
    picture = console.export_svg(title=title, theme=theme(), unique_id="terminal")
    picture = re.sub(
        r"@font-face \{.*?\}", "", picture, flags=re.DOTALL
    )  # they are fetched, and GitHub does not let them
    picture = re.sub(r"font-family: (Fira Code, monospace|arial);", f"font-family: {FONTS};", picture)
    return "\n".join(line.rstrip() for line in picture.splitlines() if line.strip()) + "\n"


def main() -> None:
    """Read the arguments, draw, write."""
    parser = argparse.ArgumentParser(description="Draw a recorded run as a picture of a terminal.")
    parser.add_argument("log", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--title", default="antiphon")
    parser.add_argument("--width", type=int, default=110, help="columns")
    parser.add_argument("--head", type=int, help="keep this many lines at the start …")
    parser.add_argument("--tail", type=int, help="… and this many at the end")
    given = parser.parse_args()
    lines = read(given.log, head=given.head, tail=given.tail)
    given.picture.parent.mkdir(parents=True, exist_ok=True)
    given.picture.write_text(draw(lines, title=given.title, width=given.width), encoding="utf-8")


if __name__ == "__main__":
    main()
