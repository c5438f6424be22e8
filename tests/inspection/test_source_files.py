"""`antiphon inspect` of images and sound: files that cannot be read, repeats, lengths, and what a run would
take."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch
from generation.test_timed import timed_model
from inputs.images import picture, stored, write_pictures
from inputs.test_sound import write_wav
from models.test_hub import parts_of

import antiphon
from antiphon.data.checks.languages import PairSample
from antiphon.data.media.references import Spool
from antiphon.inspection import source_files
from antiphon.inspection.report import Inspection
from antiphon.models.folders.checkpoint import save_model_folder
from antiphon.workflows.trying import recipe as trying

WORDS = ("north", "south", "east", "west")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 images in training and 8 in validation, in tables: image, text."""
    for split, count, first in (("train", 40, 0), ("valid", 8, 100)):
        (tmp_path / split).mkdir()
        rows = ["image\ttext"]
        for number in range(count):
            image = picture(8, 8 + 4 * (number % 5), seed=first + number)
            (tmp_path / split / f"{number}.png").write_bytes(stored(image).getvalue())
            rows.append(f"{number}.png\t{WORDS[number % 4]}")
        (tmp_path / split / "table.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path


def recipe(folder: Path, **sections: Any) -> dict[str, Any]:
    data = {"train": {"path": str(folder / "train/table.tsv")}, "valid": {"path": str(folder / "valid/table.tsv")}}
    image = {"height": 8, "width": None, "channels": 1, "patch": 4}
    return {
        "task": "transcription",
        "data": {**data, **sections.pop("data", {})},
        "tokenizer": {"kind": "bytes"},
        "model": {"preset": "tiny", "d_model": 16, "num_heads": 2, "ffn_dim": 16, "input": {"image": image}},
        "training": {"batch_tokens": 200, "max_steps": 40, "lr": 1e-3},
        "validation": {"every_steps": 20, "metrics": ["cer"]},
        **sections,
    }


def found(report: Inspection) -> dict[tuple[str, str], Any]:
    return {(finding.kind.name, finding.split): finding for finding in report.findings}


def test_clean_images_have_lengths_tokens_and_an_estimate(folder: Path) -> None:
    report = antiphon.inspect(recipe(folder))
    assert report.findings == [] and report.problem == ""
    split = report.splits[0]
    assert split.source_unit == "patches" and (split.source_lengths.median, split.source_lengths.longest) == (8, 12)
    assert report.tokens is not None and report.tokens.sides[0] is None
    assert report.tokens.sides[1] is not None and report.tokens.sides[1].words == 40
    assert report.estimate is not None and report.estimate.steps == 40 and report.estimate.measured.pairs == 40
    said = report.text()
    assert "longest 12 patches" in said and "patches and tokens/s" in said
    assert "source, patches" in report.to_html(folder / "report.html").read_text()
    written = json.loads(report.to_json())
    assert written["tokens"]["source"] is None and written["splits"][0]["source_unit"] == "patches"


def test_planted_faults_are_found_and_the_filters_remove_them(folder: Path) -> None:
    train, valid = folder / "train", folder / "valid"
    shutil.copy(valid / "3.png", train / "7.png")  # a validation image under another name
    shutil.copy(train / "1.png", train / "21.png")  # an equal pair: both are `south`
    (train / "12.png").write_bytes((train / "12.png").read_bytes()[:60])  # its head is whole
    (train / "13.png").unlink()
    (train / "14.png").write_bytes(b"no image")
    report = antiphon.inspect(recipe(folder, model={**recipe(folder)["model"], "max_length": 64}))
    at = found(report)
    assert sorted(at) == [("duplicates", "train"), ("overlap_exact", "train"), ("unreadable", "train")]
    assert at["unreadable", "train"].count == 3 and report.splits[0].kept == 37
    notes = [row.note for row in at["unreadable", "train"].examples]
    assert all(f"{number}.png" in note for number, note in zip((12, 13, 14), notes, strict=True))
    [overlap], [copy] = at["overlap_exact", "train"].examples, at["duplicates", "train"].examples
    assert overlap.place.endswith("table.tsv:9") and overlap.note.endswith("valid/table.tsv:5")
    assert copy.place.endswith("table.tsv:23") and copy.note.endswith("table.tsv:3")
    assert report.estimate is not None and report.estimate.measured.pairs == 37  # bad rows are left out of the trial
    cleaned = antiphon.inspect(recipe(folder, data={"filters": ["overlap", "duplicates"], "bad_rows": "skip"}))
    assert sorted(found(cleaned)) == [("unreadable", "train")]
    assert cleaned.splits[0].dropped == {"overlap": 1, "duplicates": 1} and cleaned.splits[0].kept == 35


def test_equal_images_with_different_labels_are_conflicts(folder: Path) -> None:
    table = folder / "train/table.tsv"
    table.write_text(table.read_text().replace("text", "label", 1))
    shutil.copy(folder / "train/1.png", folder / "train/22.png")
    settings = {"task": "classification", "data": {"valid": None}, "validation": {}}
    at = found(antiphon.inspect(recipe(folder, **settings)))
    assert sorted(at) == [("conflicts", "train")]
    assert at["conflicts", "train"].examples[0].place.endswith("table.tsv:24")


def test_a_source_that_is_too_long_for_the_model_is_found_before_training(folder: Path) -> None:
    (folder / "train/5.png").write_bytes(stored(picture(8, 4000)).getvalue())
    at = found(antiphon.inspect(recipe(folder), data_only=True))
    assert sorted(at) == [("unreadable", "train")]
    assert "must have at most" in at["unreadable", "train"].examples[0].note


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sample_is_tried_as_the_whole(folder: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """Also with the processes that load images beside the training."""
    whole = antiphon.inspect(recipe(folder, data={"workers": workers}))
    monkeypatch.setattr(trying, "WHOLE_PAIRS", 10)
    sampled = antiphon.inspect(recipe(folder, data={"workers": workers}))
    for report in (whole, sampled):
        assert report.problem == "" and report.estimate is not None
        assert report.estimate.measured.pairs == 40 and report.estimate.measured.timed_steps >= 6
        assert report.estimate.measured.conditions.notes == []
    assert whole.tokens == sampled.tokens
    assert "one in ten" not in str(whole)
    monkeypatch.setattr(source_files, "WHOLE_FILES", 10)
    files = source_files.SourceFiles(_media(folder))
    assert files.unit == "patches"


def _media(folder: Path) -> Any:
    from antiphon.recipe import from_mapping
    from antiphon.workflows.media import media_of

    media = media_of(from_mapping(recipe(folder)), None)
    assert media is not None
    return media["train"]


def test_a_base_says_what_its_sources_are(tmp_path: Path) -> None:
    """Fine-tuning of Whisper: the recipe itself does not say that sources are sound."""
    base = timed_model(tasks=(("transcribe", 268),))
    base.network.float()
    base.save(tmp_path / "whisper")
    tones = [[(37 * i * (n + 1)) % 2000 for i in range(900)] for n in range(4)]
    rows = [(str(write_wav(tmp_path / f"{n}.wav", tone, rate=1000)), "in") for n, tone in enumerate(tones)]
    (tmp_path / "4.wav").write_bytes(b"RIFF")
    rows.append((str(tmp_path / "4.wav"), "hours"))
    report = antiphon.inspect(
        {
            "task": "transcription",
            "data": {"train": rows},
            "model": {"base": str(tmp_path / "whisper")},
            "generation": {"source_language": "de", "max_new_tokens": 8},
            "training": {"batch_tokens": 400, "max_steps": 4},
        }
    )
    assert report.splits[0].source_unit == "frames" and sorted(found(report)) == [("unreadable", "train")]
    assert report.estimate is not None, report.problem


def test_texts_with_images_are_read_as_texts_and_images(tmp_path: Path) -> None:
    parts = parts_of("t5gemma2")
    save_model_folder(tmp_path / "base", parts)
    rows = ["image\tprompt\tcaption"]
    for number, name in enumerate(write_pictures(tmp_path, 8)):
        rows.append(f"{name}\twhat {number}\tword {number}")
    rows.append("0.png\twhat 0\tword 0")
    (tmp_path / "table.tsv").write_text("\n".join(rows) + "\n")
    report = antiphon.inspect(
        {
            "task": "caption",
            "data": {"train": {"path": str(tmp_path / "table.tsv")}},
            "model": {"base": str(tmp_path / "base")},
            "training": {"batch_tokens": 90, "max_steps": 4},
            "generation": {"max_new_tokens": 6},
        }
    )
    assert report.problem == "" and sorted(found(report)) == [("duplicates", "train")]
    assert report.splits[0].source_unit == "characters" and report.splits[0].source_lengths.longest == 6
    assert report.tokens is not None and report.tokens.sides[0] is not None
    model = antiphon.load(tmp_path / "base")
    assert report.tokens.sides[0].lengths.longest == model.input_kind.joined_length("what 0")
    assert report.estimate is not None


def test_a_base_that_cannot_be_read_is_a_note(folder: Path) -> None:
    report = antiphon.inspect(recipe(folder, model={"base": str(folder / "none")}, tokenizer={}), data_only=True)
    assert any("The base was not read" in note and "there is no model at" in note for note in report.notes)


def test_a_plan_for_other_devices_is_refused_in_a_note(folder: Path) -> None:
    report = antiphon.inspect(recipe(folder), world="8xH100")
    assert report.world is None and any("not planned for other devices" in note for note in report.notes)


def test_names_of_files_for_a_model_of_texts_are_refused(folder: Path) -> None:
    known = recipe(folder)
    del known["model"]["input"]
    at = found(antiphon.inspect(known, data_only=True))
    assert [row.note[:40] for row in at["refused", "train"].examples] == [
        "the sources are names of sound or image f"[:40]
    ]


def test_images_that_differ_in_the_middle_alone_are_not_equal(folder: Path) -> None:
    """Pages without compression have margins in common: the whole content counts."""
    for split, at in (("train", 900), ("valid", 1000)):
        page = torch.full((1, 1800, 1200), 255, dtype=torch.uint8)
        page[:, at : at + 50, 100:] = 0
        (folder / split / "3.png").write_bytes(stored(page, "BMP").getvalue())
    assert antiphon.inspect(recipe(folder), data_only=True).findings == []


def test_cells_of_tables_leave_no_copies(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the bytes in a table, only those of the sample stay on the disk."""
    rows = [{"image": (folder / "train" / f"{n}.png").read_bytes(), "text": WORDS[n % 4]} for n in range(40)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "cells.parquet")
    kept: list[int] = []
    keep = Spool.keep
    monkeypatch.setattr(Spool, "keep", lambda self, one: (kept.append(id(self)), keep(self, one))[1])
    report = antiphon.inspect(recipe(folder, data={"train": {"path": str(folder / "cells.parquet")}}), data_only=True)
    assert report.splits[0].kept == 40 and report.findings == []
    assert len(kept) > 40  # a spool that passes, and that of the sample
    monkeypatch.setattr(PairSample, "add", lambda self, pair, keep=None: None)
    before = len(kept)
    antiphon.inspect(recipe(folder, data={"train": {"path": str(folder / "cells.parquet")}}), data_only=True)
    assert len(set(kept[before:])) <= 2 and len(kept) - before == 48
