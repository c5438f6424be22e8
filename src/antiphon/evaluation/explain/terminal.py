"""An explanation as lines of text: for each word of the answer its probability and the source tokens that matter most.

Tokens are shaded by their attribution, blue where they raise the probability and orange where they lower it; without
colours the signed numbers remain.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from rich.text import Text

from antiphon.errors import printable
from antiphon.evaluation.explain.attributions import Attributions
from antiphon.evaluation.explain.faithfulness import FaithfulnessTest

MAX_WORD_COLUMNS, MAX_TOKEN_COLUMNS, MAX_TOKENS = 18, 24, 12
SMALLEST = 0.005  # attributions below it are shown as 0.00
_RAISES, _LOWERS, _NONE = (0x3B, 0x82, 0xD6), (0xD9, 0x73, 0x2F), (0xFF, 0xFF, 0xFF)


def lines(found: Attributions, *, width: int = 80) -> Iterator[Text]:
    """The lines of an explanation, each at most `width` columns."""
    for name, text in (("source", found.source), ("answer", found.answer)):
        yield _fitted(Text(f"{name}  ", style="bold").append(printable(text), style="not bold"), width)
    yield Text("")
    words = [_short(printable(text), MAX_WORD_COLUMNS) for text in found.units]
    margin = max([cell_len(word) for word in words] + [len("label" if found.is_label else "word")])
    head = ("label" if found.is_label else "word").ljust(margin)
    yield _fitted(Text(f"{head}      p  depends most on ({found.about.unit})", style="bold"), width)
    for place, word in enumerate(words):
        line = Text(word + " " * (margin - cell_len(word)) + f"  {found.probability(place):5.3f}  ")
        for token, value in _tokens(found, place, width - cell_len(line.plain)):
            line.append(token, style=_style(value)).append("  ")
        if float(found.row(place).abs().max()) < SMALLEST:
            line.append("no token of the source: the words before it decide", style="dim")
        line.rstrip()
        yield _fitted(line, width)
    yield Text("")
    for text in found.notes:
        for part in _wrapped(text, width):
            yield Text(part)


def table_lines(tests: dict[str, FaithfulnessTest]) -> Iterator[str]:
    """The deletion test of several methods as a table of Markdown."""
    yield "| method | gain over random order | comprehensiveness | random | sufficiency | random |"
    yield "|---|---|---|---|---|---|"
    for name, test in tests.items():
        bounds = "" if test.interval is None else f" [{test.interval.low:.3f}, {test.interval.high:.3f}]"
        figures = " | ".join(
            f"{test.mean(figure):.3f}"
            for figure in ("comprehensiveness", "random_comprehensiveness", "sufficiency", "random_sufficiency")
        )
        yield f"| {name} | {test.mean('gain'):+.3f}{bounds} | {figures} |"


def number(value: float, *, signed: bool = True) -> str:
    """An attribution in few characters."""
    sign = "+" if signed else ""
    return f"{value:{sign}.2f}" if abs(value) < 10 else f"{value:{sign}.1f}"


def _tokens(found: Attributions, unit: int, free: int) -> Iterator[tuple[str, float]]:
    """The tokens of a unit's line that fit into `free` columns, largest first, with their attributions as a share of
    the largest."""
    ranked = [(token, value) for token, value in found.top(unit, MAX_TOKENS) if abs(value) >= SMALLEST]
    largest = max((abs(value) for _, value in ranked), default=0.0) or 1.0
    for token, value in ranked:
        shown = f"{_short(printable(token), MAX_TOKEN_COLUMNS)} {number(value, signed=found.about.signed)}"
        free -= cell_len(shown) + 2
        if free < -2 or abs(value) < 0.005 * largest:
            return
        yield shown, value / largest


def _style(share: float) -> Style:
    end = _RAISES if share > 0 else _LOWERS
    red, green, blue = (round(none + (to - none) * abs(share) * 0.7) for none, to in zip(_NONE, end, strict=True))
    return Style(color="#000000", bgcolor=f"#{red:02x}{green:02x}{blue:02x}")


def _fitted(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    return line


def _short(text: str, most: int) -> str:
    return text if cell_len(text) <= most else set_cell_size(text, most - 1).rstrip() + "…"


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width, subsequent_indent="  ") or [""]
