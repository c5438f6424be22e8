"""Lines drawn from fonts: each text is there, in ratio, the same for a seed, in a font that has its characters."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.data import find_fonts, lines_of_text
from antiphon.data.drawn_lines import TABLE
from antiphon.errors import ConfigError, DataError

Image = pytest.importorskip("PIL.Image")
TEXTS = ["in 3 hours", "Straße 12, am Fluss", "i", "in 3 hours"]


@pytest.fixture(scope="module")
def fonts() -> list[Path]:
    matplotlib = pytest.importorskip("matplotlib")  # it brings fonts
    found = find_fonts("Straße in 3", folders=[Path(matplotlib.get_data_path()) / "fonts" / "ttf"])
    assert len(found) >= 4
    return found


def test_each_text_is_an_image_in_ratio_and_a_row(fonts: list[Path], tmp_path: Path) -> None:
    table = lines_of_text(TEXTS, tmp_path / "lines", fonts=fonts)
    assert table == tmp_path / "lines" / TABLE
    rows = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()]
    assert rows[0] == ["image", "text", "font"] and [row[1] for row in rows[1:]] == TEXTS
    sizes = []
    for name, _, font in rows[1:]:
        assert font in {each.stem for each in fonts}
        with Image.open(table.parent / name) as image:
            assert image.mode == "L"
            darkest, lightest = image.getextrema()
            assert darkest <= 100 and lightest >= 200
            sizes.append(image.size)
    assert sizes[1][0] > 3 * sizes[1][1] and sizes[2][0] < sizes[2][1]  # long texts are wide, and one letter is not
    assert all(30 <= height <= 75 for _, height in sizes)


def test_nothing_of_a_letter_is_cut_off(fonts: list[Path], tmp_path: Path) -> None:
    """The ink does not touch the border, with letters above and below the line."""
    table = lines_of_text(["ÄgjpÇ|"] * len(fonts), tmp_path, fonts=fonts)
    for line in table.read_text(encoding="utf-8").splitlines()[1:]:
        with Image.open(tmp_path / line.split("\t")[0]) as image:
            paper = image.getpixel((0, 0))
            width, height = image.size
            border = [image.getpixel((x, y)) for x in range(width) for y in (0, height - 1)]
            border += [image.getpixel((x, y)) for y in range(height) for x in (0, width - 1)]
            assert set(border) == {paper}, line


def test_a_seed_draws_the_same_lines_and_another_one_others(fonts: list[Path], tmp_path: Path) -> None:
    def content(seed: int, folder: str) -> list[bytes]:
        table = lines_of_text(TEXTS, tmp_path / folder, fonts=fonts, seed=seed)
        return [file.read_bytes() for file in sorted(table.parent.iterdir())]

    assert content(1, "a") == content(1, "b") != content(2, "c")


def test_a_font_without_the_characters_is_not_chosen(fonts: list[Path]) -> None:
    folder = fonts[0].parent
    assert find_fonts("\u4f60", folders=[folder]) == []  # matplotlib's fonts have no Chinese
    assert find_fonts("a", folders=[folder / "nothing"]) == []


def test_each_text_has_a_font_with_its_characters(fonts: list[Path], tmp_path: Path) -> None:
    some = [file for file in fonts if file.stem.startswith("cmr") or file.stem == "DejaVuSans"]
    few = [file for file in find_fonts("a", folders=[fonts[0].parent]) if not find_fonts_draws(file, "\u0416")]
    assert few, "all fonts have Cyrillic letters"
    table = lines_of_text(["\u0416\u0438\u0437\u043d\u044c"] * 6, tmp_path, fonts=[*few[:3], *some])
    chosen = {line.split("\t")[2] for line in table.read_text(encoding="utf-8").splitlines()[1:]}
    assert chosen and not chosen & {file.stem for file in few}
    with pytest.raises(DataError, match=r"text 2, .*, has characters that no font draws together"):
        lines_of_text(["a", "\u4f60"], tmp_path, fonts=fonts)


def find_fonts_draws(file: Path, characters: str) -> bool:
    return file in find_fonts(characters, folders=[file.parent])


def test_wrong_texts_and_fonts_are_one_line(fonts: list[Path], tmp_path: Path) -> None:
    for texts, message in (
        (["a", "two\nlines"], "must be texts of one line, but number 2"),
        ([" "], "must be texts of one line, but number 1"),
        (["a" * 5000], "must be at most 32768 pixels wide"),
    ):
        with pytest.raises(DataError, match=message):
            lines_of_text(texts, tmp_path, fonts=fonts)
    broken = tmp_path / "no.ttf"
    broken.write_bytes(b"no font")
    assert find_fonts("a", folders=[tmp_path]) == []
    for given in ([broken], []):
        with pytest.raises(ConfigError, match="`fonts` must"):
            lines_of_text(["a"], tmp_path, fonts=given)
