"""A comparison as plain text of at most 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from antiphon.errors import argument, printable
from antiphon.evaluation.comparing.differences import bounds, letter, title
from antiphon.evaluation.comparing.words import marked

if TYPE_CHECKING:
    from antiphon.evaluation.comparing.figures import ComparisonFigures, Contrast

WIDTH = 80
LABEL_COLUMNS = 16  # names of systems that are longer are letters in tables, with a line that says which
EXAMPLES = 3
MAX_TEXT = 480  # characters of an example
_TIED = "\ue000"  # a space at which no line ends
_KINDS = {"length": "by length", "frequency": "by rare words ({rare})", "tag": "by tag"}


def as_text(comparison: ComparisonFigures, *, width: int = WIDTH, examples: int = EXAMPLES) -> str:
    """Scores, verdicts, wins by group, and the segments that differ most (`examples` in favour of each system)."""
    labels, legend = _labels(comparison.names)
    parts = ["\n".join(line for row in (_head(comparison), *legend) for line in _wrapped(row, width))]
    for metric in comparison.results:
        parts.append("\n".join(_metric(comparison, metric, labels, width)))
    for first, second in comparison.pairs_shown if len(comparison.names) <= 3 else comparison.pairs_shown[:1]:
        parts.append("\n".join(_wins(comparison, first, second, labels)))
    for first, second in comparison.pairs_shown if len(comparison.names) == 2 else comparison.pairs_shown[:1]:
        parts += _examples(comparison, first, second, width, examples)
    return "\n\n".join(parts) + "\n"


def _head(comparison: ComparisonFigures) -> str:
    count = len(comparison.names)
    head = (
        f"{count} systems, {comparison.segments:,} segments. Intervals (95 %) are from a paired bootstrap of "
        f"{comparison.samples:,} samples, p from approximate randomisation of {comparison.trials:,} trials"
    )
    pairs = count * (count - 1) // 2
    return f"{head}, corrected for the {pairs} pairs of each metric (Holm)." if pairs > 1 else f"{head}."


def _labels(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """A short label of each system, and the lines that say what they stand for."""
    from rich.cells import cell_len

    shown = [printable(name) for name in names]
    if all(cell_len(name) <= LABEL_COLUMNS for name in shown):
        return shown, []
    labels = [letter(place) for place in range(len(names))]
    return labels, [f"{label} is {name}." for label, name in zip(labels, shown, strict=True)]


def _metric(comparison: ComparisonFigures, metric: str, labels: Sequence[str], width: int) -> Iterator[str]:
    """The scores of each system, the signature, and the verdicts of the pairs that are shown."""
    results = comparison.results[metric]
    worse = "lower is better" if results[0].lower_is_better else ""
    rows = [[title(metric), "score", "95 % interval", worse]]
    for label, result, interval in zip(labels, results, comparison.intervals[metric], strict=True):
        rows.append([label, f"{result.score:.2f}", bounds(interval), ""])
    yield from _aligned(rows, right={1, 2})
    if results[0].signature:
        yield from _wrapped(results[0].signature, width, indent="  ", breaks="|")
    if results[0].note:
        yield from _wrapped(f"Note: {results[0].note}", width)
    for first, second in comparison.pairs_shown:
        yield from _wrapped(comparison.difference(metric, first, second).verdict, width, indent="  ", first="- ")
    if len(comparison.pairs_shown) < len(labels) * (len(labels) - 1) // 2:
        every = f"{argument('as_json()', flag='--json')} or {argument('to_html()', flag='--html')}"
        yield from _wrapped(f"Pairs without the best system: {every}.", width, indent="  ", first="- ")


def _wins(comparison: ComparisonFigures, first: int, second: int, labels: Sequence[str]) -> Iterator[str]:
    """On how many segments each system is better, and its scores, for all segments and each group."""
    metric = comparison.main_metric
    one, other = labels[first], labels[second]
    yield f"Segments on which each is better, by {title(metric)} of the segment; {title(metric)} of the group"

    def row(name: str, places: list[int] | None) -> list[str]:
        all_places = places if places is not None else list(range(comparison.segments))
        wins = comparison.wins(first, second, places)
        scores = [comparison.group_score(system, all_places) for system in (first, second)]
        shown = ["" if score is None else f"{score:.2f}" for score in scores]
        return [name, f"{len(all_places):,}", *(f"{count:,}" for count in wins), *shown]

    rows, headings = [["", "segments", one, "equal", other, one, other], row("all", None)], dict[int, str]()
    for kind in comparison.groups:
        headings[len(rows)] = _KINDS.get(kind, kind).format(rare=comparison.rare)
        rows.append([""] * 7)
        rows += [row(f"  {_cut(printable(name), 22)}", places) for name, places in comparison.places_of(kind).items()]
    lines = _aligned(rows, right=range(1, 7), gap=1 if max(map(len, (one, other))) > 10 else 2)
    yield from (headings.get(number, line) for number, line in enumerate(lines))


def _examples(comparison: ComparisonFigures, first: int, second: int, width: int, count: int) -> Iterator[str]:
    """The segments that differ most, with the words that only one answer has in brackets."""
    sides = comparison.contrasts(first, second, count)
    for name, found in zip((comparison.names[first], comparison.names[second]), sides, strict=True):
        for place, one in enumerate(found):
            lines = [f"Most in favour of {printable(name)}:"] if place == 0 else []
            yield "\n".join([*lines, *_example(comparison, first, second, one, width)])


def _example(comparison: ComparisonFigures, first: int, second: int, one: Contrast, width: int) -> Iterator[str]:
    metric = title(comparison.main_metric)
    yield f"segment {one.place + 1}, {metric} {one.first:.2f} and {one.second:.2f}"
    sides = marked(comparison.answers[first][one.place], comparison.answers[second][one.place])
    texts = [] if comparison.sources is None else [("source", str(comparison.sources[one.place]))]
    texts += [("reference", text) for text in comparison.references[one.place]]
    for system, pieces in zip((first, second), sides, strict=True):
        texts.append((comparison.names[system], _bracketed(pieces)))
    labels = [_cut(printable(label), LABEL_COLUMNS) for label, _ in texts]
    longest = max(map(len, labels))
    for label, (_, text) in zip(labels, texts, strict=True):
        shown = printable(_cut(" ".join(text.split()), MAX_TEXT)) or "(empty)"
        yield from _wrapped(shown, width, indent=" " * (longest + 4), first=f"  {label:<{longest}}  ")


def _bracketed(pieces: Sequence[tuple[str, bool]]) -> str:
    """The text, with runs of words that the other text does not have in brackets."""
    text, open_run = "", False
    for word, shared in pieces:
        bare = word.rstrip(" ")
        if shared:
            text = f"{text.rstrip(' ')}] " if open_run and text.endswith(" ") else f"{text}]" if open_run else text
        elif not open_run:
            text += "["
        text += bare + word[len(bare) :]
        open_run = not shared
    return f"{text.rstrip(' ')}]" if open_run else text


def _aligned(rows: Sequence[Sequence[str]], *, right: Sequence[int] | set[int] | range, gap: int = 2) -> list[str]:
    """Cells in columns, `right` ones to the right."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
            blank = " " * (width - cell_len(cell))
            cells.append(blank + cell if place in right else cell + blank)
        lines.append((" " * gap).join(cells).rstrip())
    return lines


def _wrapped(text: str, width: int, *, indent: str = "", first: str = "", breaks: str = "") -> list[str]:
    """Lines of at most `width` columns; `first` begins the first line, `indent` the others (and, without `first`, all).

    breaks: a character after which a line may end too, for texts without spaces.
    """
    from rich.cells import cell_len, chop_cells

    text = text.replace("95 %", f"95{_TIED}%").replace("p = ", f"p{_TIED}={_TIED}")  # stay on one line
    pieces = text.replace(breaks, f"{breaks}\n").split("\n") if breaks else [f"{word} " for word in text.split(" ")]
    start = first or indent
    lines, line = [], ""
    for piece in pieces:
        for part in chop_cells(piece, width - len(indent)) if cell_len(piece) > width - len(indent) else [piece]:
            if line and cell_len(line) + cell_len(part.rstrip(" ")) > width - len(start if not lines else indent):
                lines.append(line)
                line = ""
            line += part
    lines.append(line)
    heads = [start] + [indent] * (len(lines) - 1)
    return [(head + line).rstrip().replace(_TIED, " ") for head, line in zip(heads, lines, strict=True)]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
