"""The HTML of tables, charts and maps: well-formed, escaped, without scripts or requests."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from antiphon.display import (
    badge,
    bar,
    clock,
    details,
    fixed,
    heat_map,
    line_chart,
    map_title,
    note,
    panel,
    preformatted,
    table,
    tokens,
)
from antiphon.display.chart import MAX_CURVE_POINTS
from antiphon.display.colours import CURVES
from antiphon.display.heat import MAX_CELLS, MAX_LABEL_COLUMNS

HOSTILE = "<script>alert('1')</script>\" onload=x &amp; \x1b[31m \x00 \ud800 \u202eevil"


def parsed(page: str) -> ElementTree.Element:
    """The page as XML, which it is too; ParseError for a tag that is not closed or text that is not escaped."""
    return ElementTree.fromstring(page)


def texts(page: str) -> list[str]:
    return ["".join(part.itertext()) for part in parsed(page).iter("{http://www.w3.org/2000/svg}text")]


def everything(text: str) -> str:
    """A panel with `text` wherever a text can stand."""
    return panel(
        text,
        table([text], [[text]]),
        note(text),
        badge(text, "#000000"),
        tokens([text]),
        details(text, preformatted(text)),
        line_chart({text: [(0, 1.0), (1, 2.0)], "b": []}, title=text, across=text),
        heat_map([[0.5, 0.5]], rows=[text], columns=[text, "b"]),
    )


def test_whatever_is_shown_is_escaped() -> None:
    page = everything(HOSTILE)
    page.encode("utf-8")  # no lone surrogate is left
    tags = {part.tag.rsplit("}", 1)[-1] for part in parsed(page).iter()}
    assert tags.isdisjoint({"script", "img", "iframe", "link", "style", "object"})
    assert page.count("&lt;script") == everything("harmless").count("harmless")
    for part in parsed(page).iter():
        assert not [name for name in part.attrib if name.startswith("on") or name in ("href", "src")]
    assert not set("\x1b\x00\u202e") & set(page)


def test_nothing_is_fetched_and_the_page_keeps_its_colours() -> None:
    page = everything("text")
    assert set(re.findall(r"https?://[^\"' ]*", page)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in page and "@import" not in page
    # Text takes the theme's colour: black and white stand only in cells of a map, which have a ground of their own.
    assert 'fill="currentColor"' in page and "color:#" not in page


def test_text_of_any_script_stays_as_it_is() -> None:
    text = "שלום, 3 שעות\nمی\u200cخواهم 今日は\u3000👩\u200d🚀"
    assert text in "".join(parsed(panel("x", table([], [[text]]))).itertext())
    assert f"<bdi>{text}</bdi>" in table([], [[text]]).html


def test_a_chart_has_its_curves_axes_and_names() -> None:
    chart = line_chart(
        {"loss": [(0, 4.0), (50, 2.0), (100, 1.0)], "valid_loss": [(100, 1.5)]}, title="nats", across="step"
    )
    assert {"nats", "loss", "valid_loss", "step", "0", "100", "2", "4"} <= set(texts(chart.html))
    (line,) = re.findall(r'<polyline points="(.*?)"', chart.html)
    places = [tuple(map(float, place.split(","))) for place in line.split()]
    assert [x for x, _ in places] == sorted(x for x, _ in places) and len(places) == 3
    assert [y for _, y in places] == sorted(y for _, y in places), "a falling loss falls"
    assert chart.html.count(f'fill="{CURVES[1]}"') == 1, "one value is a dot"


@pytest.mark.parametrize(
    "points",
    [
        [],
        [(1, math.nan)],
        [(1, 2.0)],
        [(1, 0.0), (2, 0.0)],
        [(1, 1e300), (2, -1e300)],
        [(5, 1e-12), (6, 2e-12)],
        [(0, 1.0), (1, math.inf), (2, 3.0)],
        [(0, -1e308), (1, 1e308)],
    ],
    ids=str,
)
def test_a_chart_of_odd_values(points: list[tuple[float, float]]) -> None:
    chart = line_chart({"loss": points}, title="loss")
    parsed(chart.html)
    assert not re.search(r'="[^"]*\b(nan|inf)\b', chart.html)
    numbers = [float(x) for places in re.findall(r'points="(.*?)"', chart.html) for x in re.findall(r"[-\d.]+", places)]
    assert all(0 <= number <= 400 for number in numbers)


def test_a_gap_stands_where_a_value_is_not_finite() -> None:
    points = [(0, 1.0), (1, 2.0), (2, math.nan), (3, 3.0), (4, 4.0)]
    assert line_chart({"loss": points}, title="loss").html.count("<polyline") == 2


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    points = [(step, float(step)) for step in range(100_001)]
    (line,) = re.findall(r'points="(.*?)"', line_chart({"loss": points}, title="loss").html)
    places = line.split()
    assert len(places) == MAX_CURVE_POINTS
    whole = line_chart({"loss": [points[0], points[-1]]}, title="loss").html
    (ends,) = re.findall(r'points="(.*?)"', whole)
    assert ends.split() == [places[0], places[-1]]


def test_a_map_has_a_cell_a_weight_with_its_percent() -> None:
    found = heat_map([[0.9, 0.1, 0.0], [0.2, math.nan, 0.8]], rows=["a", "b"], columns=["x", "y", "▁東京"]).html
    titles = ["".join(part.itertext()) for part in parsed(found).iter("{http://www.w3.org/2000/svg}title")]
    assert titles == ["a → x: 0.9000", "a → y: 0.1000", "a → ▁東京: 0.0000", "b → x: 0.2000", "b → ▁東京: 0.8000"]
    shown = re.findall(r'font-size="10"[^>]*>(\d+)<', found)
    assert shown == ["90", "10", "20", "80"], "nothing stands in a cell of zero percent"
    assert 'fill="#0b3c8c"' in found and 'fill="#ffffff" stroke' in found, "the largest is darkest, none is white"


def test_labels_stay_inside_of_the_picture() -> None:
    long = "averyveryverylongtokenindeed"
    found = heat_map([[0.5, 0.5]], rows=[long], columns=["a", long]).html
    assert long not in re.sub("<title>.*?</title>", "", found) and long[: MAX_LABEL_COLUMNS - 1] + "…" in found
    width = float(re.findall(r'width="(\d+)"', found)[0])
    places = re.findall(r"translate\(([\d.]+)", found)
    assert max(map(float, places)) + MAX_LABEL_COLUMNS * 6.9 / 2 < width


def test_a_large_map_is_cut_and_says_so() -> None:
    count = MAX_CELLS + 10
    values = [[1 / count] * count for _ in range(count)]
    labels = [f"t{place}" for place in range(count)]
    found = heat_map(values, rows=labels, columns=labels).html
    assert found.count("<rect") == MAX_CELLS * MAX_CELLS
    assert f"the first {MAX_CELLS} of {count} rows and {MAX_CELLS} of {count} columns" in found


@pytest.mark.parametrize(
    ("layer", "head", "said"), [(None, None, "mean of 2 layers, mean of 4 heads"), (0, 3, "layer 1 of 2, head 4 of 4")]
)
def test_the_title_of_a_map(layer: int | None, head: int | None, said: str) -> None:
    assert map_title("cross", layer, head, 2, 4) == f"cross attention, {said}"


def test_a_bar_is_as_long_as_its_share() -> None:
    assert [re.findall(r"width:([\d.]+)%;height", bar(share).html)[-1] for share in (0.25, 2.0, -1.0)] == [
        "25.0",
        "100.0",
        "0.0",
    ]
    assert "repeating-linear-gradient" in bar(None).html


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, ""),
        (1200, "1,200"),
        (3.14159, "3.142"),
        (0.0, "0.000"),
        (2e-5, "2.00e-05"),
        (math.nan, "nan"),
        ("x", "x"),
        (True, "True"),
    ],
)
def test_figures(value: object, said: str) -> None:
    assert fixed(value) == said


def test_clock() -> None:
    assert [clock(seconds) for seconds in (0, 61.4, 3725)] == ["0:00", "1:01", "1:02:05"]
