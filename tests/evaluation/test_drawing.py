"""Attention maps drawn: lines that fit a terminal, pictures that open, a page that holds what it shows and no more."""

from __future__ import annotations

import base64
import builtins
import io
import itertools
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from rich.cells import cell_len

from antiphon.display import map_title, png, shade
from antiphon.errors import ConfigError, printable
from antiphon.evaluation.maps import check_ending, draw, grid_of, lines
from antiphon.evaluation.maps.page import STEPS, page
from antiphon.generation.attention.maps import AttentionMaps
from antiphon.inputs.pictures import Box, SourcePicture

EVIL = ["</script><script>alert(1)</script>", "▁<b>&amp;", "$x^2$", "\x1b[31m", "\u202e", "日本", "é" * 30, "</s>"]


def maps_of(source: list[str], target: list[str], *, layers: int = 2, heads: int = 2, seed: int = 0) -> AttentionMaps:
    """Maps of random weights."""
    dice = torch.Generator().manual_seed(seed)

    def weights(queries: int, keys: int) -> torch.Tensor:
        return torch.randn(layers, heads, queries, keys, generator=dice).softmax(-1)

    special = [[token == "</s>" for token in side] for side in (source, target)]
    sides = (len(source), len(target))
    return AttentionMaps(
        weights(sides[1], sides[0]), weights(sides[0], sides[0]), weights(sides[1], sides[1]),
        source, target, special[0], special[1], "<s>",
    )  # fmt: skip


SMALL = maps_of(["▁one", "▁two", "</s>"], ["▁eins", "</s>"])
LONG = maps_of([f"▁word{i}" for i in range(45)] + ["</s>"], [f"▁wort{i}" for i in range(7)] + ["</s>"])


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("maps", [SMALL, LONG, maps_of(EVIL, EVIL)], ids=["small", "long", "evil"])
@pytest.mark.parametrize("role", ["cross", "encoder", "decoder"])
def test_no_line_is_wider_than_the_terminal(maps: AttentionMaps, role: str, width: int) -> None:
    shown = [line.plain for line in lines(grid_of(maps, role), width=width)]
    assert max(map(cell_len, shown)) <= width
    assert all(line.isprintable() for line in shown)


def numbers(maps: AttentionMaps, label: str, *, width: int = 80) -> list[int]:
    """The percents in the rows of `label`, blocks joined."""
    rows = [line.plain.strip() for line in lines(grid_of(maps, layer=1, head=0), width=width)]
    parts = [re.sub(rf"^{re.escape(label)}\s", "", row) for row in rows if row.startswith(f"{label} ")]
    return [0 if cell == "·" else int(cell) for part in parts for cell in part.split()]


@pytest.mark.parametrize("maps", [SMALL, LONG], ids=["small", "long"])
def test_the_numbers_are_the_weights_in_percent(maps: AttentionMaps) -> None:
    for row, label in enumerate(maps.target_tokens):
        expected = [round(100 * weight) for weight in maps.weights()[1, 0, row].tolist()]
        assert numbers(maps, label) == expected


def test_long_labels_are_written_downwards_and_end_at_their_column() -> None:
    shown = [line.plain for line in lines(grid_of(LONG), width=80)]
    first = next(place for place, line in enumerate(shown) if line.strip().startswith("▁wort0"))
    margin = len("▁wort0") + 1
    # The third key is "▁word2": its letters stand above its cell's right end.
    column = "".join(line[margin + 3 * 3 - 1] if len(line) > margin + 8 else " " for line in shown[2:first])
    assert column.strip() == "▁word2"


def test_shades_go_from_white_to_dark() -> None:
    assert shade(0) == (255, 255, 255) == shade(-1) and shade(1) == shade(2)
    sums = [sum(shade(step / 10)) for step in range(11)]
    assert all(lighter > darker for lighter, darker in itertools.pairwise(sums))


def test_control_characters_are_spelled_out() -> None:
    assert printable("a\x1b\n\u202e日é▁") == "a\\x1b\\n\\u202e日é▁"


@pytest.mark.parametrize("ending", [".png", ".svg", ".html"])
@pytest.mark.parametrize("maps", [SMALL, maps_of(EVIL, EVIL)], ids=["small", "evil"])
def test_files_are_what_their_ending_says(tmp_path: Path, maps: AttentionMaps, ending: str) -> None:
    pytest.importorskip("matplotlib")
    file = draw(maps, tmp_path / f"map{ending}", layer=0, head=1)
    content = file.read_bytes()
    if ending == ".png":
        assert content.startswith(b"\x89PNG") and len(content) > 1000
    elif ending == ".svg":
        texts = {element.text for element in ElementTree.fromstring(content).iter() if element.tag.endswith("text")}
        assert {printable(token) for token in maps.source_tokens} <= texts
    assert content == draw(maps, tmp_path / f"again{ending}", layer=0, head=1).read_bytes()


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"needs the library matplotlib.*pip install 'antiphon\[plots\]'"):
        draw(SMALL, tmp_path / "map.png")
    assert not (tmp_path / "map.png").exists()
    draw(SMALL, tmp_path / "map.html")


@pytest.mark.parametrize("name", ["map", "map.pdf", "map.html.gz", "png"])
def test_an_unknown_ending_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"must be a \.png, \.svg or \.html file, but is"):
        check_ending(name)


class Page(HTMLParser):
    """The elements of a page with their attributes, and the text of each script and of the title."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.title = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        if self._inside == "title":
            self.title += data

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.scripts[0])


def test_no_text_becomes_part_of_the_page() -> None:
    made = Page(page(maps_of(EVIL, EVIL)))
    assert [tag for tag, _ in made.elements].count("script") == 2
    assert not [tag for tag, _ in made.elements if tag in ("b", "img", "iframe")]
    assert made.title.startswith("Attention: </script><script>alert(1)</script>")
    assert made.data["maps"]["cross"]["columns"] == [printable(token) for token in EVIL]
    assert "<" not in made.scripts[0] and "alert" not in made.scripts[1]


def test_a_text_with_the_pages_own_marks_changes_nothing() -> None:
    made = Page(page(maps_of(["{{data}}", "{{title}}"], ["a"])))
    assert made.title == "Attention: {{data}}{{title}}"
    assert made.data["maps"]["cross"]["columns"] == ["{{data}}", "{{title}}"]


def test_the_title_is_the_text() -> None:
    title = Page(page(maps_of(["▁in", "<0xE6>", "<0x97>", "<0xA5>", "▁x", "</s>"], ["a"]))).title
    assert title == "Attention: in日 x"
    assert Page(page(LONG)).title.endswith("…")


def test_the_page_asks_for_nothing_outside_it() -> None:
    text = page(LONG)
    made = Page(text)
    assert not [1 for _, attributes in made.elements if {"src", "href", "srcset"} & set(attributes)]
    policy = next(attributes for _, attributes in made.elements if attributes.get("http-equiv"))
    assert str(policy["content"]).startswith("default-src 'none'")
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest|innerHTML", text)


def test_the_page_holds_the_weights_of_all_heads() -> None:
    maps = maps_of(["a", "b", "</s>"], ["c", "</s>"], layers=3, heads=2)
    maps.weights("decoder")[1] = torch.nan
    data = Page(page(maps, role="decoder", layer=2)).data
    assert data["first"] == {"role": "decoder", "layer": 2, "head": "mean"}
    assert data["maps"]["decoder"]["columns"] == ["<s>", "c"]
    assert data["maps"]["decoder"]["weights"][1] == [None, None]
    for role in ("cross", "encoder"):
        wanted = maps.weights(role).flatten(2)
        for layer, heads in enumerate(data["maps"][role]["weights"]):
            for head, found in enumerate(heads):
                steps = torch.frombuffer(bytearray(base64.b64decode(found["bytes"])), dtype=torch.uint8)
                weights = found["least"] + steps.float() / STEPS * (found["largest"] - found["least"])
                near = 0.5 / STEPS * float(wanted[layer, head].max()) + 1e-6
                torch.testing.assert_close(weights, wanted[layer, head], rtol=0, atol=near)


def test_a_role_without_weights_is_not_in_the_page() -> None:
    cross = SMALL.weights()
    maps = AttentionMaps(cross, None, None, SMALL.source_tokens, SMALL.target_tokens, [False] * 3, [False] * 2, "<s>")
    assert set(Page(page(maps)).data["maps"]) == {"cross"}
    with pytest.raises(ConfigError, match="encoder attention has no weights"):
        draw(maps, "never.html", role="encoder")


def picture_of(*, beneath: bool) -> SourcePicture:
    """Four places in a row, the first of a prefix token."""
    pixels = torch.arange(8 * 30, dtype=torch.uint8).view(1, 8, 30)
    boxes = [None, Box(0, 0, 10, 8), Box(10, 0, 10, 8), Box(20, 0, 10, 8)]
    return SourcePicture(pixels, boxes, ["[1]", "1,1", "1,2", "1,3"], beneath)


@pytest.mark.parametrize("beneath", [False, True])
def test_maps_of_images_and_sound_are_on_the_picture_and_below_it(beneath: bool, tmp_path: Path) -> None:
    maps = maps_of(["[1]", "1,1", "1,2", "1,3"], [*EVIL])
    maps = replace(maps, picture=picture_of(beneath=beneath))
    shown = maps._repr_html_()
    assert shown.count("data:image/png;base64,") == 1 and "<script" not in shown
    svg = re.findall(r"<svg.*?</svg>", shown)
    for each in svg:
        ElementTree.fromstring(each)
    assert len(svg) == (1 if beneath else len(EVIL) + 1)  # the picture is stored once
    weights = maps.map("cross")
    cells = [len(re.findall("<rect", each)) for each in svg if "<rect" in each]
    drawn = weights[:, 1:] / (weights.max() if beneath else weights[:, 1:].amax(1, keepdim=True)) >= 0.03
    assert cells == ([int(drawn.sum())] if beneath else drawn.sum(1).tolist())
    data = base64.b64decode(re.search(r"base64,([^\"]*)", shown)[1])  # type: ignore[index]
    opened = Image.open(io.BytesIO(data))
    assert list(opened.tobytes()) == picture_of(beneath=beneath).pixels.flatten().tolist()
    for ending in (".png", ".svg", ".html"):
        draw(maps, tmp_path / f"map{ending}", layer=0, head=1)
    assert Image.open(tmp_path / "map.png").size[0] > 300
    ElementTree.parse(tmp_path / "map.svg")
    page = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert "img-src data:" in page and "<script" not in page and map_title("cross", 0, 1, 2, 2) in page


def test_a_picture_in_colour_is_a_png() -> None:
    pixels = torch.arange(2 * 3 * 3, dtype=torch.uint8).view(2, 3, 3)
    content = png(pixels.numpy().tobytes(), width=3, height=2, channels=3)
    opened = Image.open(io.BytesIO(content))
    assert opened.mode == "RGB" and opened.size == (3, 2) and list(opened.tobytes()) == pixels.flatten().tolist()
