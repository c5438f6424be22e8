"""`overwrite=True`: a new run in the place of an old one, and all that must not be lost by it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from workflows.test_train import PAIRS, recipe

import antiphon
from antiphon.errors import ConfigError, DataError, DiskError
from antiphon.training.lease import is_lease
from antiphon.workflows import folder as run_folder
from antiphon.workflows import train


def content(folder: Path) -> dict[str, bytes]:
    """The files of a run but those of its lock, which a killed process leaves until the next one."""
    files = [file for file in folder.rglob("*") if file.is_file() and not is_lease(file.name)]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run, with another vocabulary and another seed than the ones that replace it."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    made = recipe(folder, tokenizer={"vocab_size": 290}, training={"max_steps": 3, "seed": 7})
    return train(made, quiet=True).folder


@pytest.fixture
def old(trained: Path, tmp_path: Path) -> Path:
    """The short run, in a folder of the test."""
    return shutil.copytree(trained, tmp_path / "run")


def test_a_run_is_replaced_and_equals_one_in_a_new_folder(old: Path, tmp_path: Path) -> None:
    (old / "adapter").mkdir()  # of an older run
    (old / "config.yaml.tmp").write_text("cut short")
    replaced = train(recipe(old), overwrite=True, quiet=True)
    fresh = train(recipe(tmp_path / "fresh"), quiet=True)
    one, other = content(replaced.folder), content(fresh.folder)
    assert set(one) == set(other)
    for name in (name for name in one if name.endswith((".safetensors", ".jsonl", "tokenizer.json", "source.json"))):
        assert name == "metrics.jsonl" or one[name] == other[name], name
    assert [row["step"] for row in replaced.metrics] == [row["step"] for row in fresh.metrics]


@pytest.mark.parametrize("state", ["absent", "empty", "unfinished"])
def test_a_folder_without_a_run_is_used(tmp_path: Path, state: str) -> None:
    if state != "absent":
        (tmp_path / "run").mkdir()
    if state == "unfinished":
        (tmp_path / "run" / "tokenizers").mkdir()
        (tmp_path / "run" / "tokenizers" / "target.json").write_text("{}")
    run = train(recipe(tmp_path / "run"), overwrite=True, quiet=True)
    assert run.reason == "20 steps are done" and not (run.folder / "tokenizers" / "target.json").exists()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"data": {"train": [("", "")]}}, DataError),
        ({"data": {"train": {"path": "absent.tsv"}}}, DataError),
        ({"training": {"optimizer": "nadam"}}, ConfigError),
        ({"training": {"precision": "float16"}}, ConfigError),
        ({"attention": {"encoder": "none-such"}}, ConfigError),
    ],
)
def test_bad_input_loses_nothing(old: Path, change: dict[str, Any], error: type[Exception]) -> None:
    before = content(old)
    with pytest.raises(error):
        train(recipe(old, **change), overwrite=True, quiet=True)
    assert content(old) == before


def test_a_device_that_is_not_there_loses_nothing_and_is_named(old: Path, tmp_path: Path) -> None:
    before = content(old)
    for device in ("cuda:99", "tpu"):
        with pytest.raises(ConfigError, match=r"`device` must be one"):
            train(recipe(old), overwrite=True, device=device, quiet=True)
        with pytest.raises(ConfigError, match=r"`device` must be one"):
            train(recipe(tmp_path / "new"), device=device, quiet=True)
    assert content(old) == before and not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["thesis.txt", "data", ".git", "mine.py"])
def test_a_folder_that_holds_other_things_is_refused(old: Path, name: str) -> None:
    (old / name).write_text("mine")
    before = content(old)
    with pytest.raises(ConfigError, match=rf"`overwrite=True` replaces only the folder of a run.*holds `{name}`"):
        train(recipe(old), overwrite=True, quiet=True)
    assert content(old) == before


@pytest.mark.parametrize("kept", ["config.yaml", "tokenizers", "model"])
def test_half_a_run_is_no_run(old: Path, kept: str) -> None:
    for path in old.iterdir():
        if path.name != kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if kept == "tokenizers":
        train(recipe(old), overwrite=True, quiet=True)  # a making that was cut short
        return
    with pytest.raises(ConfigError, match="replaces only the folder of a run"):
        train(recipe(old), overwrite=True, quiet=True)
    assert [path.name for path in old.iterdir()] == [kept]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(ConfigError, match="replaces only the folder of a run"):
        train(recipe(tmp_path / "run"), overwrite=True, quiet=True)
    assert (tmp_path / "run").read_text() == "mine"


def test_not_together_with_resume(old: Path) -> None:
    before = content(old)
    with pytest.raises(ConfigError, match=r"`resume=True` and `overwrite=True` must not both be given"):
        train(recipe(old), True, overwrite=True, quiet=True)
    assert content(old) == before


def test_what_the_run_is_made_from_must_lie_outside(old: Path, tmp_path: Path) -> None:
    (old / "tokenizers" / "data.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS))
    os.symlink(old, tmp_path / "link")
    before = content(old)
    data = {"train": {"path": str(tmp_path / "link" / "tokenizers" / "data.tsv")}}
    with pytest.raises(ConfigError, match=r"`data.train` must lie outside the folder that `overwrite=True` replaces"):
        train(recipe(old, data=data), overwrite=True, quiet=True)
    tokenizer = next((old / "tokenizers").glob("source*"))
    with pytest.raises(ConfigError, match="`tokenizer` must lie outside"):
        train(recipe(old, tokenizer={"kind": str(tokenizer)}), overwrite=True, quiet=True)
    for base in (old, old / "model"):
        made = recipe(old)
        del made["tokenizer"]
        with pytest.raises(ConfigError, match=r"`model.base` must lie outside"):
            train({**made, "model": {"base": str(base)}}, overwrite=True, quiet=True)
    assert content(old) == before


def test_a_run_that_another_process_trains_is_left_alone(old: Path) -> None:
    before = content(old)
    code = (
        f"import sys\nfrom pathlib import Path\nfrom antiphon.training.lock import exclusive_lock\n"
        f"with exclusive_lock(Path({str(old)!r})):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdin is not None and other.stdout is not None
    try:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError, match="must be free, but another process is training in it"):
            train(recipe(old), overwrite=True, quiet=True)
    finally:
        other.kill()
        other.wait()
    assert content(old) == before


def test_a_clearing_that_is_cut_short_can_be_repeated(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = shutil.rmtree

    def fails(path: Path) -> None:
        if path.name == "tokenizers":
            raise OSError(5, "Input/output error")
        remove(path)

    monkeypatch.setattr(run_folder.shutil, "rmtree", fails)
    with pytest.raises(DiskError, match="cannot be made"):
        train(recipe(old), overwrite=True, quiet=True)
    monkeypatch.undo()
    assert train(recipe(old), overwrite=True, quiet=True).reason == "20 steps are done"


def test_the_first_lines_say_on_what_is_computed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from antiphon.cli.main import main

    antiphon.train(recipe(tmp_path / "run"), device="cpu")
    assert capsys.readouterr().err.splitlines()[0].startswith("antiphon: cpu, float32, ")
    (tmp_path / "a.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS))
    file = tmp_path / "recipe.yaml"
    file.write_text(
        f"data: {{train: {{path: a.tsv}}}}\ntokenizer: {{kind: characters}}\nmodel: {{preset: tiny, d_model: 16}}\n"
        f"training: {{max_steps: 1}}\noutput: {tmp_path / 'run'}\n"
    )
    words = ["train", str(file), "--device", "cpu"]
    assert main(words) == 2
    assert "replace it with --overwrite, or choose another --output." in capsys.readouterr().err
    assert main([*words, "--overwrite", "--resume"]) == 2
    assert "--resume and --overwrite must not both be given" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    assert capsys.readouterr().err.count("antiphon: cpu, float32, ") == 1
