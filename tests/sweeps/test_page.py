"""The page and the picture of a sweep: what they show, that texts are escaped, that nothing is requested."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

import antiphon
from antiphon.display import bar_chart, chart_grid, line_chart, number_chart, point_chart


class Tags(HTMLParser):
    """Collects the tags and checks that they are closed in order."""

    VOID = ("meta", "br", "link")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_shows_the_sweep(write_sweep: Callable[..., Path], made_runs, folder: Path) -> None:
    made_runs.codes = {"trial-0003/seed-0": (1, "the disk <is> full.")}
    text = "search: tpe\nprune: none\nname: a <b> & c\ntrials: 8\n"
    text += "space:\n  training.lr: {low: 1e-4, high: 1e-2, log: true}\n"
    result = antiphon.sweep(
        write_sweep(text + "  model: {choices: {'<script>': {dropout: 0}, wide: {dropout: 0.1}}}\n")
    )
    page = (result.definition.folder / "sweep.html").read_text()
    tags = Tags()
    tags.feed(page)
    assert not tags.open and "script" not in tags.seen and tags.seen.count("svg") == 4 and tags.seen.count("h1") == 1
    assert "a &lt;b&gt; &amp; c" in page and "&lt;script&gt;" in page and "the disk &lt;is&gt; full." in page
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", page) and "url(" not in page and "@import" not in page
    assert page.count("<circle") >= 14 and "No winner" in page  # seven settings, by two keys
    picture = ET.fromstring((result.definition.folder / "sweep.svg").read_text())
    assert len(picture.findall("{http://www.w3.org/2000/svg}svg")) == 4
    assert "<svg" in result._repr_html_() and "a &lt;b&gt;" in result._repr_html_()
    assert repr(result).startswith("SweepResult('a <b> & c': 8 settings (7 done, 1 failed), 7 runs; No winner")


def test_a_sweep_without_results_has_a_page_too(write_sweep: Callable[..., Path], made_runs, folder: Path) -> None:
    made_runs.codes = {"trial-0000/seed-0": (1, "no memory.")}
    result = antiphon.sweep(write_sweep("space: {training.lr: [1e-3]}\n"))
    page = (result.definition.folder / "sweep.html").read_text()
    assert "No winner: no setting has finished." in page and "no finished setting yet" in page
    assert result.best is None and result.best_recipe is None and not (result.definition.folder / "best.yaml").exists()


def points_of(svg: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', svg)]


def test_points_are_where_their_numbers_are() -> None:
    drawn = point_chart({"a": [1.0, 3.0], "b": [2.0], "c": []}, title="kind", up="bleu", names={"a": ["<x>", "y"]}).html
    [low, high, middle] = points_of(drawn)
    assert low[1] > middle[1] > high[1] and low[0] < high[0] < middle[0]
    assert "&lt;x&gt;" in drawn and "the best of each: a 3, b 2" in drawn
    logs = number_chart([(1e-4, 1.0), (1e-3, 2.0), (1e-2, 3.0)], title="lr", up="bleu", log=True).html
    xs = [x for x, _ in points_of(logs)]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2) and ">0.001<" in logs
    straight = number_chart([(0.0, 1.0), (1.0, 2.0), (3.0, float("nan"))], title="x", up="y").html
    assert len(points_of(straight)) == 2


def test_bars_have_their_widths_and_grids_their_charts() -> None:
    drawn = bar_chart({"rate": 0.8, "optimizer": 0.2}, title="importance")
    widths = [float(width) for width in re.findall(r'<rect[^>]* width="([\d.]+)"', drawn.html)]
    assert widths[0] == pytest.approx(4 * widths[1], rel=0.01) and "80%" in drawn.html
    grid = ET.fromstring(chart_grid([drawn, drawn, drawn]))
    places = [(child.get("x"), child.get("y")) for child in grid if child.tag.endswith("svg")]
    assert places[0] == ("0", "0") and places[1][1] == "0" and places[2][0] == "0" and float(places[2][1] or 0) > 50
    assert "too few finished settings" in bar_chart({}, title="importance").html


def test_a_logarithmic_axis_and_marks() -> None:
    points = [(10.0**-power, float(power)) for power in range(6)]
    drawn = line_chart({"loss": points}, title="loss", across="rate", log=True, marks={"best": 1e-3}).html
    xs = sorted(x for x, _ in points_of(drawn))
    gaps = [b - a for a, b in itertools.pairwise(xs)]
    assert max(gaps) - min(gaps) < 0.3 and "stroke-dasharray" in drawn and ">best<" in drawn
    assert ">1e-05<" in drawn and ">0.01<" in drawn
