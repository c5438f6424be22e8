"""The demo of images: trains on image files, evaluates, shows some, and answers names of files."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from antiphon.errors import ConfigError
from antiphon.workflows import demo_images

pytest.importorskip("sklearn")
Image = pytest.importorskip("PIL.Image")


def test_it_trains_shows_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "digits-data"
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert demo_images(steps=2, output=tmp_path / "digits") == 0
    said = capsys.readouterr().err
    assert "1,797 handwritten digits" in said and "held-out digits: accuracy" in said
    assert said.count("\n  |") == 3 * 8 and "%" in said
    tables = {name: (data / f"{name}.tsv").read_text().splitlines() for name in ("train", "valid", "test")}
    assert {name: len(rows) - 1 for name, rows in tables.items()} == {"train": 1257, "valid": 180, "test": 360}
    files = [row.split("\t")[0] for rows in tables.values() for row in rows[1:]]
    assert len(set(files)) == 1797 == len(list((data / "images").iterdir()))
    with Image.open(data / files[0]) as image:
        assert image.size == (8, 8) and image.mode == "L" and image.getextrema()[1] > 200  # light paper
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{data / files[0]}\n{data / files[1]}\n"))
    assert demo_images(steps=2, output=tmp_path / "digits") == 0  # it is complete, and answers
    assert all(line in "0123456789" for line in capsys.readouterr().out.splitlines())


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ConfigError, match=r"there is no sklearn.*Run pip install 'antiphon\[digits\]'"):
        demo_images(steps=2, output=tmp_path / "digits")
