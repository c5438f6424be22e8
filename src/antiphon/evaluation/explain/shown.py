"""The HTML of an explanation: for notebooks, and the parts that the page shares with it."""

from __future__ import annotations

from antiphon.display import Markup, details, line_chart, note, panel, table
from antiphon.display.html import escaped
from antiphon.errors import printable
from antiphon.evaluation.explain.attributions import Attributions, largest_of
from antiphon.evaluation.explain.terminal import number

MAX_SHOWN_UNITS, TOP = 40, 8
_CHIP = (
    "display:inline-block;margin:1px 3px 1px 0;padding:0 5px;border-radius:3px;border:1px solid rgba(128,128,128,.5);"
    "white-space:pre-wrap;overflow-wrap:anywhere;font-family:ui-monospace,monospace;font-size:12px"
)
_RAISES, _LOWERS = "59,130,214", "217,115,47"  # CURVES of display.colours, as red, green and blue


def shown(found: Attributions) -> str:
    """The HTML for notebooks: for each word its probability and the tokens that matter most, the method's notes, and
    the deletion curve."""
    rows: list[list[str | Markup]] = []
    for place, text in enumerate(found.units[:MAX_SHOWN_UNITS]):
        largest = largest_of([found.row(place).tolist()])
        chips = "".join(
            chip(token, value, largest, signed=found.about.signed).html for token, value in found.top(place, TOP)
        )
        rows.append([text, f"{found.probability(place):.3f}", Markup(chips)])
    head = ["label" if found.is_label else "word", "probability", f"depends most on ({found.about.unit})"]
    parts = [note(found.source), table(head, rows, right={1})]
    if len(found.units) > MAX_SHOWN_UNITS:
        parts.append(note(f"and {len(found.units) - MAX_SHOWN_UNITS} more words"))
    parts += [note(line, strong=line.startswith("deletion")) for line in found.notes]
    if (drawn := deletion_chart(found)) is not None:
        parts.append(details("deletion curve", drawn))
    return panel(found.answer or "(an empty answer)", *parts)


def deletion_chart(found: Attributions) -> Markup | None:
    """The deletion curves, this order and random ones; None without a test."""
    if found.faithfulness is None or not found.faithfulness.steps:
        return None
    return line_chart(found.faithfulness.curves(), title="probability", across="% of the tokens deleted")


def chip(token: str, value: float, largest: float, *, signed: bool = True) -> Markup:
    """A token with its attribution, shaded by it: blue where it raises the probability, orange where it lowers it."""
    share = min(abs(value) / largest, 1.0)
    colour = f"rgba({_RAISES if value >= 0 else _LOWERS},{0.5 * share:.2f})"
    text = f"<bdi>{escaped(printable(token))}</bdi> {number(value, signed=signed)}"
    return Markup(f'<span style="{_CHIP};background:{colour}">{text}</span>')
