"""Texts of nothing but white space count as empty, and names of images and sounds are no texts, where all are such."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import antiphon
from antiphon.config import SourceConfig
from antiphon.data import DataReport, Mixture
from antiphon.data.sources import check_readable
from antiphon.errors import DataError
from antiphon.generation.model import Model
from antiphon.text import load_task
from antiphon.text.kinds import first_media_name, is_blank, is_media_name

TASK = load_task("translation")
BLANK = [
    "",
    " ",
    "\t",
    "\n",
    "\u00a0",
    "\u200b",
    "\u3000",
    " \u200b\u00a0",
    "\ufeff",
    "\u2028",
    "\u200d\u200c",
    "\u2060 ",
    "\x00",
    "\x07\t",
    "\u2800",
    "\u3164\ufe0f",
    "\u034f",
    "\U000e0101",
]


@pytest.mark.parametrize("text", BLANK)
def test_what_is_blank(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize("text", ["a", " a ", ".", "\u200ba", "\u0301", "0", "\ufffd", "👩\u200d👧", "\u00ad-"])
def test_what_is_not(text: str) -> None:
    assert not is_blank(text)


@pytest.mark.parametrize("text", BLANK)
def test_pairs_with_a_blank_side_are_not_learned(text: str) -> None:
    # U2: only "" counted as empty.
    report = DataReport()
    kept = list(Mixture([("a", "b"), (text, "b"), ("a", text), (text, text)], TASK).once(report))
    assert [(item.source, item.target) for item in kept] == [("a", "b")]
    assert (report.read, report.empty) == (4, 3)


def test_nor_ones_with_a_tag_before_it(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text("\u3000\tb\na\tb\n")
    kept = Mixture(SourceConfig(path=str(tmp_path / "x.tsv"), tag="fra"), TASK).once(DataReport())
    assert [item.source for item in kept] == ["<fra> a"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return antiphon.train(recipe(tmp_path_factory.mktemp("run") / "run", [("in 3 hours", "in 3 Stunden")] * 4)).model


def recipe(output: Path, pairs: Any, **more: Any) -> dict[str, Any]:
    return {
        "data": {"train": pairs},
        "tokenizer": {"kind": "bytes", "vocab_size": 260},
        "model": {"preset": "tiny", "d_model": 16, "ffn_dim": 16, "num_heads": 2, "max_length": 64},
        "training": {"max_steps": 1},
        "output": str(output),
        **more,
    }


@pytest.mark.parametrize("text", BLANK)
def test_a_blank_text_has_an_empty_answer(text: str, model: Model) -> None:
    settings: dict[str, Any] = {"beam_size": 1, "max_new_tokens": 5}
    answers = model.generate(["in 3 hours", text], **settings)
    assert answers[0].text and (answers[1].text, answers[1].score, answers[1].finished) == ("", 0.0, True)
    assert "".join(model.stream(text, **settings)) == ""
    assert model.score(text, "") == [0.0]


NAMES = ["a16.wav", "x.png", "B.JPG", "/data/a.flac", "../b.webp", "c.m4a", "d.tar.opus", "ä.tiff"]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_images_and_sounds(name: str) -> None:
    assert is_media_name(name)


@pytest.mark.parametrize("text", ["", ".png", "a.pdf", "see a.png", "a.png ", "a.png.", "png", "http", "wav.", "x.js"])
def test_other_texts(text: str) -> None:
    assert not is_media_name(text)


def test_all_must_be_such() -> None:
    assert first_media_name(["x.png", "y.wav"]) == "x.png"
    assert first_media_name(["x.png", "text"]) is first_media_name(["text", "x.png"]) is first_media_name([]) is None


def test_a_model_that_reads_refuses_them(model: Model) -> None:
    with pytest.raises(
        DataError, match=r"must be text, which this model reads, but is the text `a16\.wav`\. It reads no"
    ):
        model.generate("a16.wav")
    with pytest.raises(DataError, match=r"but are names of files such as the text `a\.png`"):
        model.generate(["a.png", "b.wav"])
    with pytest.raises(DataError, match="It reads no images"):
        antiphon.evaluate(model, [("a.png", "cat")], ["chrf"])
    # One among texts, or in a later part of what is read piece by piece, is a text.
    assert len(model.generate(["a.png", "in 3 hours"], max_new_tokens=2)) == 2
    assert len(model.generate(["a.png"], first_row=4096, max_new_tokens=2)) == 1


def test_they_are_not_learned(tmp_path: Path) -> None:
    pairs = [("a.png", "cat"), ("b.png", "dog")] * 4
    for more in ({}, {"task": "classification"}):
        with pytest.raises(
            DataError, match=r"all of the first are names of files such as `a\.png` \(pairs\[0\]\)"
        ) as caught:
            antiphon.train(recipe(tmp_path / "run", pairs, **more), quiet=True)
        assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()
    (tmp_path / "x.tsv").write_text("".join(f"{one}\t{other}\n" for one, other in pairs))
    with pytest.raises(DataError, match=r"x\.tsv:1\)"):
        check_readable(SourceConfig(path=str(tmp_path / "x.tsv"), tag="img"), TASK)


def test_one_among_texts_is_learned(tmp_path: Path) -> None:
    check_readable([("a.png", "cat"), ("in 3 hours", "b")], TASK)
    check_readable([("in 3 hours", "a.png")], TASK)
