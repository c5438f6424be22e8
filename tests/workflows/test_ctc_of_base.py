"""A CTC head on a base without one: what is new, what stays the base's, and the run, its resumption and its adapter."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from generation.test_timed import timed_model
from parity import sound, trocr
from torch import Tensor
from workflows.test_fine_tuning import NEW, STILL, same, weights
from workflows.test_fine_tuning import tuned as tuned_texts
from workflows.test_image_training import recipe, write_images
from workflows.test_speech_training import clips

import antiphon
from antiphon.errors import ConfigError
from antiphon.generation.model import Model
from antiphon.models.folders.checkpoint import load_weights, named_weights
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.recipe import from_mapping
from antiphon.workflows import train
from antiphon.workflows.base import InitialModel, find_base
from antiphon.workflows.job import TrainingJob

HEAD = {"ctc.linear.weight", "ctc.linear.bias"}
STEPS = {"max_steps": 4, "batch_tokens": 200, "warmup_steps": 1, "lr": 5e-3, "save_every_steps": 2, "ctc_weight": 0.3}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on images without a CTC head; its table is beside it."""
    folder = tmp_path_factory.mktemp("base")
    train(recipe(folder / "run", {"train": {"path": str(write_images(folder, 6))}}), quiet=True)
    return folder / "run"


def tuned(output: Path, base: Path, *, data: Path | None = None, ctc: bool = True, **sections: Any) -> dict[str, Any]:
    """Training from `base`, with a CTC head; `data` is the folder of the table (None: that of the base)."""
    table = str((data or base.parent) / "table.tsv")
    made = recipe(output, {"train": {"path": table}, "valid": {"path": table}})
    del made["tokenizer"]
    made |= {"model": {"base": str(base), "ctc": ctc}, "training": STEPS, "generation": {"ctc_weight": 0.3}}
    return made | {"validation": {"every_steps": 2, "metrics": ["cer"]}} | sections


def begun(config: dict[str, Any], tmp_path: Path) -> InitialModel:
    return find_base(from_mapping(config), tmp_path / "none")


def first_batch(config: dict[str, Any], tmp_path: Path) -> tuple[EncoderDecoder, Any]:
    """The network of a run that has not begun, in evaluation mode, and the first batch."""
    read = from_mapping(config)
    job = TrainingJob(read, tmp_path / "job", torch.device("cpu"), base=find_base(read, tmp_path / "none"), quiet=True)
    return job.network.eval(), job.loop.collate(next(job.loop.parts.batches))


def loaded(folder: Path, **settings: Any) -> Model:
    found = antiphon.load(folder, device="cpu", **settings)
    assert isinstance(found, Model)
    return found


def logits(network: EncoderDecoder, batch: Any) -> Tensor:
    with torch.no_grad():
        return network.logits(batch)


def spelled(model: Model, folder: Path) -> list[str]:
    """Answers of the joint search. Weight 1 leaves the decoder out, so a search without the head would differ."""
    image = str(folder / "0.png")
    joint, decoder, head = (model.generate(image, ctc_weight=weight)[0] for weight in (0.3, 0.0, 1.0))
    assert head.text != decoder.text
    return [joint.text, decoder.text, head.text]


def test_the_head_is_that_of_a_new_model_and_the_rest_the_bases(base: Path, tmp_path: Path) -> None:
    begin = begun(tuned(tmp_path / "run", base), tmp_path)
    made, old = named_weights(begin.parts.network), weights(base)
    assert made.keys() - old.keys() == HEAD and all(torch.equal(made[name], old[name]) for name in old)
    size = begin.parts.target_tokenizer.vocab_size + 1
    assert made["ctc.linear.weight"].shape == (size, 16) and not made["ctc.linear.bias"].any()
    bound = (6 / (size + 16)) ** 0.5  # Glorot and Bengio 2010
    assert 0.9 * bound < float(made["ctc.linear.weight"].abs().max()) <= bound
    again = begun(tuned(tmp_path / "run", base), tmp_path)  # as on another rank
    assert same(made, named_weights(again.parts.network))
    other = tuned(tmp_path / "run", base, training={**STEPS, "seed": 5})
    assert not torch.equal(
        made["ctc.linear.weight"], named_weights(begun(other, tmp_path).parts.network)["ctc.linear.weight"]
    )
    assert begin.changes == (f"the base has no CTC head: a new one of {17 * size:,} parameters",)
    assert begun(tuned(tmp_path / "run", base, ctc=False, generation={}), tmp_path).new_layers == ()


def test_the_decoder_begins_as_the_base(base: Path, tmp_path: Path) -> None:
    network, batch = first_batch(tuned(tmp_path / "run", base), tmp_path)
    old = loaded(base).network
    assert network.ctc is not None and torch.equal(logits(network, batch), logits(old, batch))


def test_a_run_is_saved_loaded_and_searched(base: Path, tmp_path: Path) -> None:
    run = train(tuned(tmp_path / "run", base, training={**STEPS, "lr": 5e-2}), quiet=True)
    assert "a new one of" in (run.folder / "base" / "base.json").read_text()
    learned = weights(run.folder)
    start = load_weights(run.folder / "base" / "model.safetensors")
    assert start.keys() == learned.keys() and all(not torch.equal(start[name], learned[name]) for name in HEAD)
    found, image = loaded(run.folder), str(base.parent / "0.png")
    assert found.generation.ctc_weight == 0.3 and found.parts.model.ctc
    assert found.generate(image) == found.generate(image, ctc_weight=0.3)
    assert spelled(found, base.parent) == spelled(run.model, base.parent)
    assert found.ctc_alignment(image, "wo").frames == 10
    on = train(tuned(tmp_path / "on", run.folder, data=base.parent, training={**STEPS, **STILL}), quiet=True)
    assert same(weights(on.folder), learned)  # a base that has a head keeps it
    assert "new_layers" not in (on.folder / "base" / "base.json").read_text()


@pytest.mark.parametrize("training", [{}, {"mixout": 0.2}, {"adapter": {"rank": 2, "dropout": 0.1}}])
def test_resumed_is_uninterrupted_without_the_base(base: Path, tmp_path: Path, training: dict[str, Any]) -> None:
    if "adapter" in training:
        pytest.importorskip("peft")
    there, settings = tmp_path / "there", {**STEPS, **training}
    shutil.copytree(base, there)
    whole = train(tuned(tmp_path / "whole", there, data=base.parent, training=settings), quiet=True)
    half = {**settings, "max_steps": 2}
    train(tuned(tmp_path / "parts", there, data=base.parent, training=half), quiet=True)
    shutil.rmtree(there)
    parts = train(tuned(tmp_path / "parts", there, data=base.parent, training=settings), resume=True, quiet=True)
    assert parts.metrics[-1]["step"] == 4 and same(weights(whole.folder), weights(parts.folder))
    changed = tuned(tmp_path / "parts", there, data=base.parent, ctc=False, training=settings)
    with pytest.raises(ConfigError, match=r"`model.ctc` was True and is False"):
        train(changed, resume=True, quiet=True)


@pytest.mark.parametrize("targets", [["*.q"], ["all-linear"]])
def test_an_adapter_trains_and_saves_the_whole_head(base: Path, tmp_path: Path, targets: list[str]) -> None:
    pytest.importorskip("peft")
    adapter = {"rank": 2, "targets": targets}
    run = train(tuned(tmp_path / "run", base, training={**STEPS, "lr": 5e-2, "adapter": adapter}), quiet=True)
    names = set(load_weights(run.folder / "adapter" / "adapter_model.safetensors"))
    assert {f"base_model.model.{name}" for name in HEAD} <= names
    start, learned = load_weights(run.folder / "base" / "model.safetensors"), weights(run.folder)
    changed = {name for name in learned if not torch.equal(start[name], learned[name])}
    assert changed > HEAD and all(name in HEAD or ".q." in name or targets == ["all-linear"] for name in changed)
    alone = loaded(run.folder / "base", adapter=run.folder / "adapter")
    found = loaded(run.folder)
    assert spelled(alone, base.parent) == spelled(found, base.parent)
    for name in HEAD:
        assert torch.equal(named_weights(alone.network)[name], named_weights(found.network)[name])


def test_an_added_word_has_a_row_of_the_new_head(base: Path, tmp_path: Path) -> None:
    bare, grown = (
        begun(tuned(tmp_path / "run", base, tokenizer={"add": words}), tmp_path).parts.network
        for words in ([], ["word"])
    )
    assert bare.ctc is not None and grown.ctc is not None and grown.ctc.blank == bare.ctc.blank + 1
    assert torch.equal(grown.ctc.linear.weight[:-2], bare.ctc.linear.weight[:-1])


def test_published_readers_of_lines_and_of_speech_learn_with_it(tmp_path: Path) -> None:
    trocr.make(3, tmp_path / "trocr")
    sound.make("speech_to_text", 1, tmp_path / "speech2text")
    sound.make("moonshine", 1, tmp_path / "moonshine")
    rows = clips(tmp_path, rate=16000, seconds=0.6, count=6)
    (tmp_path / "clips.tsv").write_text("\n".join(["audio\ttext", *["\t".join(row) for row in rows]]) + "\n")
    write_images(tmp_path, 6)
    cases = [
        ("trocr", "table.tsv", "0.png"),
        ("speech2text", "clips.tsv", "0.wav"),
        ("moonshine", "clips.tsv", "0.wav"),
    ]
    for name, table, source in cases:
        config = tuned(tmp_path / name / "run", tmp_path / name, data=tmp_path)
        config["data"] = {"train": {"path": str(tmp_path / table)}}
        config |= {"validation": {}, "training": {**STEPS, "batch_tokens": 2000, "max_steps": 2}}
        config["generation"] |= {"max_new_tokens": 8}
        network, batch = first_batch(config, tmp_path / name)
        old = loaded(tmp_path / name).network
        assert torch.equal(logits(network, batch), logits(old, batch))
        memory = network.encode(batch.source, batch.source_tokens)
        assert (
            network.frames(memory).lengths.tolist() == memory.tokens.valid.expand(len(batch.index), -1).sum(1).tolist()
        )
        train(config, quiet=True)
        model = loaded(tmp_path / name / "run")
        path = str(tmp_path / source)
        assert model.generate(path)[0].tokens != model.generate(path, ctc_weight=1.0)[0].tokens
        found = model.ctc_alignment(path)
        assert (found.times is None) == (name == "trocr") and found.frames > 1


def test_what_has_no_head_is_one_line(base: Path, tmp_path: Path) -> None:
    whisper = timed_model(tasks=(("transcribe", 268),))
    whisper.network.float()
    config = tuned(tmp_path / "run", whisper.save(tmp_path / "whisper"))
    config |= {"data": {"train": clips(tmp_path, rate=1000, seconds=1, count=2)}, "validation": {}}
    with pytest.raises(
        ConfigError, match=r"`model.ctc` cannot be used: this base reads sound in windows of .* silence"
    ):
        train(config, quiet=True)
    with pytest.raises(ConfigError, match=r"`model.ctc` must be true or false"):
        train(tuned(tmp_path / "run", base) | {"model": {"base": str(base), "ctc": "yes"}}, quiet=True)
    with pytest.raises(
        ConfigError, match=r"`training.ctc_weight` needs `model.ctc: true`, which is not set, but is 0.3. Set that"
    ):
        train(tuned(tmp_path / "run", base, ctc=False), quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_base_of_texts_gets_one_too(tmp_path: Path) -> None:
    first = tuned_texts(
        tmp_path / "first", "", tokenizer={"kind": "bytes"}, training={"max_steps": 1, "batch_tokens": 99}
    )
    first["model"] = {"preset": "tiny", "d_model": 16, "num_heads": 2, "ffn_dim": 16}
    base = train(first, quiet=True).folder
    data = {"train": [(target, source) for source, target in NEW]}  # targets are shorter than sources
    settings = {"data": data, "model": {"base": str(base), "ctc": True}}
    settings["training"] = {"max_steps": 1, "batch_tokens": 99}
    run = train(tuned_texts(tmp_path / "run", base, **settings), quiet=True)
    assert run.model.network.ctc is not None and run.model.generate("vor 7 Stunden", ctc_weight=0.3)
