"""Models of images by one word in a recipe, from training to `antiphon generate` and `evaluate`, and bad files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from inputs.images import picture, png_head, stored

import antiphon
from antiphon.cli.main import main
from antiphon.errors import DataError
from antiphon.workflows import train

SHAPE = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 16, "ffn_dim": 24, "num_heads": 2, "max_length": 40}


def recipe(output: Path, data: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return {
        "task": "transcription",
        "data": data,
        "tokenizer": {"kind": "bytes"},
        "model": {"input": {"image": {"height": 8, "patch": 4}}, "preset": "tiny", **SHAPE},
        "training": {"max_steps": 2, "batch_tokens": 200, "warmup_steps": 1},
        "validation": {},
        "output": str(output),
        **sections,
    }


def write_images(folder: Path, count: int) -> Path:
    """A table of `count` images of 8 x 20 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}.png").write_bytes(stored(picture(8, 20, seed=number)).getvalue())
    rows = [f"{number}.png\tword {number}" for number in range(count)]
    (folder / "table.tsv").write_text("\n".join(["image\ttext", *rows]) + "\n")
    return folder / "table.tsv"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    train(recipe(folder / "run", {"train": {"path": str(write_images(folder, 6))}}), quiet=True)
    return folder / "run"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.png", b"hello", "`{file}` must be an image (PNG, JPEG, TIFF, WebP, GIF or BMP), but cannot be"),
        ("empty.jpg", b"", "`{file}` must be an image"),
        ("a.svg", b"<svg/>", "`{file}` must be an image"),
        ("a.heic", b"\0\0\0\x18ftypheic", "`{file}` must be an image"),
        ("cut.png", stored(picture(8, 20)).getvalue()[:90], "`{file}` is an image (PNG) that cannot be read"),
        ("bomb.png", png_head(65535, 65535).getvalue(), "`{file}` must have at most 67108864 pixels, but has 4294"),
        ("wide.png", stored(picture(8, 90)).getvalue(), "input 1 (`{file}`) must have at most 40 patches (`model.max_"),
        ("gone.png", None, "`{file}` must be an image, but there is no such file. Check the path."),
        ("names.txt", b"\nhello", "a line must name a file of an image or of sound, but is the text `` ({file}:1)"),
        ("gone.txt", b"gone.png\n", "is the text `gone.png` ({file}:1), and there is no such file. Check the path."),
    ],
)  # fmt: skip
def test_a_bad_file_is_one_line_that_names_it(
    run: Path, name: str, content: bytes | None, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    assert main(["generate", str(run), str(file), "--quiet"]) == 2
    said = capfd.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and message.format(file=file) in said.err


def test_names_of_images_and_a_mistaken_flag(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = run.parent / "0.png"
    (tmp_path / "names.txt").write_text(f"{image}\n{image}\n")
    assert main(["generate", str(run), "--input", str(tmp_path / "names.txt"), "--quiet"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 2
    assert main(["generate", str(run), "--input", str(image), "--quiet"]) == 2
    assert "`--input` must be a table, or a text file that names a file a line" in capfd.readouterr().err


def test_bad_images_of_training_are_named_or_left_out(tmp_path: Path) -> None:
    table = write_images(tmp_path, 6)
    (tmp_path / "2.png").write_bytes(stored(picture(8, 400)).getvalue())
    with pytest.raises(DataError) as error:
        train(recipe(tmp_path / "run", {"train": {"path": str(table)}}), quiet=True)
    said = str(error.value)
    assert "`2.png` (" in said and "table.tsv:4) must have at most 40 patches (`model.max_length`), but has 200" in said
    assert said.endswith("`data.bad_rows: skip` leaves such rows out.")
    cut = stored(picture(8, 20)).getvalue()[:90]
    (tmp_path / "2.png").write_bytes(cut)
    with pytest.raises(DataError, match=r"`2.png` \(.*:4\) is an image .* cannot be read .* `data.bad_rows: skip`"):
        train(recipe(tmp_path / "run", {"train": {"path": str(table)}}), quiet=True)
    (tmp_path / "3.png").write_bytes(stored(picture(8, 400)).getvalue())
    with pytest.warns(UserWarning, match="a bad row is left out"):
        data = {"train": {"path": str(table)}, "bad_rows": "skip"}
        found = train(recipe(tmp_path / "skipped", data), quiet=True)
    assert "4 kept" in (found.folder / "report.html").read_text()


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps on images with a question each, and its table `table.tsv`."""
    folder = tmp_path_factory.mktemp("captions")
    rows = []
    for number in range(6):
        (folder / f"{number}.png").write_bytes(stored(picture(8, 20, seed=number)).getvalue())
        rows.append(f"{number}.png\t{('what', 'which colour')[number % 2]}\tword {number}")
    (folder / "table.tsv").write_text("\n".join(["image\tprompt\tcaption", *rows]) + "\n")
    data = {"train": {"path": str(folder / "table.tsv")}, "valid": {"path": str(folder / "table.tsv")}}
    validation = {"every_steps": 2, "metrics": ["exact_match"]}
    train(recipe(folder / "run", data, task="caption", validation=validation), quiet=True)
    return folder / "run"


def test_captions_with_prompts_from_training_to_evaluation(captions: Path, capfd: pytest.CaptureFixture[str]) -> None:
    table, image = captions.parent / "table.tsv", captions.parent / "1.png"
    model = antiphon.load(captions, device="cpu")
    asked = [model.generate(image, prompt=prompt)[0] for prompt in ("what", "which colour")]
    assert asked[0].score != asked[1].score
    assert main(["generate", str(captions), str(image), "--prompt", "which colour", "--json", "--quiet"]) == 0
    assert json.loads(capfd.readouterr().out)["score"] == pytest.approx(asked[1].score, abs=1e-4)
    out = captions.parent / "answers.txt"
    arguments = [
        "--data",
        str(table),
        "--metrics",
        "exact_match",
        "--source-field",
        "image",
        "--target-field",
        "caption",
    ]
    assert main(["evaluate", str(captions), *arguments, "--output", str(out), "--quiet"]) == 0
    files = [str(captions.parent / f"{number}.png") for number in range(6)]
    answers = model.generate(files, prompt=("what", "which colour") * 3)
    assert out.read_text().split("\n")[:6] == [answer.text for answer in answers]
    assert answers != model.generate(files)
