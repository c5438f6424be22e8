"""Checkpoints that are only there as pickles: refused, and converted by a process of its own where asked for."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from models.test_hub import logits, parts_of
from safetensors.torch import load_file

import antiphon
from antiphon.cli.main import main
from antiphon.errors import ModelError
from antiphon.models.folders import pickled_process
from antiphon.models.folders.hub import load_pretrained, save_pretrained
from antiphon.models.folders.pickled import convert_pickled


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A BART whose weights are a pickle, its tables one tensor under four names, as old libraries wrote it."""
    folder = save_pretrained(tmp_path / "old", parts_of("bart"))
    weights: dict[str, Any] = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    shared = weights["model.shared.weight"]
    aliases = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight")
    torch.save(weights | dict.fromkeys(aliases, shared), folder / "pytorch_model.bin")
    (folder / "modeling.py").write_text("raise SystemExit")
    return folder


def test_refused_then_converted_by_the_command(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match=r"a pickle, .* antiphon convert .* --allow-pickle"):
        antiphon.load(folder, device="cpu")
    assert main(["convert", str(folder), str(tmp_path / "new")]) == 2
    said = capsys.readouterr().err
    assert "`--allow-pickle` must be given" in said and said.count("\n") == 1 and not (tmp_path / "new").exists()
    assert main(["convert", str(folder), str(tmp_path / "new"), "--allow-pickle"]) == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert torch.equal(logits(load_pretrained(tmp_path / "new")), logits(parts_of("bart")))
    assert load_pretrained(tmp_path / "new").model.tie_embeddings
    assert not [*tmp_path.glob("*.tmp")]


def test_shards_views_and_types(folder: Path, tmp_path: Path) -> None:
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    (folder / "pytorch_model.bin").unlink()
    names = sorted(weights)
    weights[names[0]] = weights[names[0]].to(torch.bfloat16)
    weights["view"] = torch.arange(12.0).view(3, 4).T[1:]
    shards = {
        "pytorch_model-00001-of-00002.bin": names[::2],
        "pytorch_model-00002-of-00002.bin": [*names[1::2], "view"],
    }
    for file, own in shards.items():
        torch.save({name: weights[name] for name in own}, folder / file)
    index = {"metadata": {}, "weight_map": {name: file for file, own in shards.items() for name in own}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    convert_pickled(folder, tmp_path / "new")
    made = json.loads((tmp_path / "new" / "model.safetensors.index.json").read_text())["weight_map"]
    assert made.keys() == weights.keys()
    for name, file in made.items():
        found = load_file(tmp_path / "new" / file)[name]
        assert found.dtype == weights[name].dtype and torch.equal(found, weights[name])
    index["weight_map"][names[0]] = "../old/pytorch_model-00001-of-00002.bin"
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="must map tensors to at most 4096 files of its own folder"):
        convert_pickled(folder, tmp_path / "other")


class Hostile:
    """Runs a command where an unrestricted reader meets it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("form", ["zip", "plain"])
def test_a_hostile_pickle_does_not_run(form: str, folder: Path, tmp_path: Path) -> None:
    file, ran = folder / "pytorch_model.bin", tmp_path / "ran"
    content = {"model.shared.weight": Hostile(ran)}
    if form == "zip":
        torch.save(content, file)
    else:
        file.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ModelError, match="must hold tensors and nothing else, but cannot be converted") as caught:
        convert_pickled(folder, tmp_path / "new")
    assert "\n" not in str(caught.value) and not ran.exists() and not (tmp_path / "new").exists()
    assert not [*tmp_path.glob("*.tmp")]
    # The artifact has teeth: an unrestricted reader runs it.
    torch.load(file, weights_only=False) if form == "zip" else pickle.loads(file.read_bytes())
    assert ran.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"a": 5}, "must hold tensors by name, but `a` is int"),
        ({"a": torch.ones(1).expand(2**36)}, "cannot be converted"),  # 256 GB in a file of 1 kB
    ],
)
def test_what_is_no_state_dict_is_one_line(content: object, said: str, folder: Path, tmp_path: Path) -> None:
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=said) as caught:
        convert_pickled(folder, tmp_path / "new")
    assert "\n" not in str(caught.value) and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"a": 5}, "must hold tensors by name, but `a` is int"),
        ([torch.ones(2)], "must hold tensors by name, but holds list"),
        ({}, "must hold tensors by name, but holds dict"),
        ({"a": torch.ones(2).to_sparse()}, "must be dense, but `a` is not"),
    ],
)
def test_the_process_takes_tensors_by_name_alone(
    content: object, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its program in this process, but for the limits: it takes seconds to start, and the test above has started it."""
    torch.save(content, tmp_path / "pytorch_model.bin")
    monkeypatch.setattr(pickled_process, "limit", lambda size: None)
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path / "pytorch_model.bin"), str(tmp_path / "model.safetensors")])
    with pytest.raises(SystemExit, match=said) as caught:
        pickled_process.main()
    assert "\n" not in str(caught.value) and not (tmp_path / "model.safetensors").exists()


def test_what_is_not_converted(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ModelError, match="must be a new folder, but is there already"):
        convert_pickled(folder, tmp_path / "there")
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match=r"must hold pytorch_model.bin or pytorch_model.bin.index.json"):
        convert_pickled(folder, tmp_path / "new")
    (folder / "pytorch_model.bin").symlink_to("/etc/passwd")
    with pytest.raises(ModelError, match="is a link to"):
        convert_pickled(folder, tmp_path / "new")
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="must hold only pickled weights, but has safetensors"):
        convert_pickled(folder, tmp_path / "new")
