"""LoRA and DoRA: what learns, what is written, merged = unmerged, resumed = uninterrupted, ours = peft's."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import antiphon
from antiphon.batch import Example, collate
from antiphon.config import AdapterConfig
from antiphon.errors import AntiphonError, ConfigError, ModelError
from antiphon.models.folders.checkpoint import load_parts, load_weights, named_weights
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.training.adapters import Adapter
from antiphon.workflows import average_run, train

pytest.importorskip("peft")
PAIRS = [(f"in {n} hours", f"in {n} Stunden") for n in range(1, 60)]
NEW = [(f"{n} hours ago", f"vor {n} Stunden") for n in range(1, 60)]
ROWS = [Example([5, 6, 7, 2], [8, 9, 2], 0), Example([9, 4, 2], [4, 5, 6, 2], 1)]
STEPS = {"max_steps": 6, "batch_tokens": 128, "warmup_steps": 1, "lr": 2e-2, "save_every_steps": 3}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "run"
    made = {
        "data": {"train": PAIRS},
        "tokenizer": {"kind": "bpe", "vocab_size": 330},
        "model": {"preset": "tiny", "d_model": 32, "ffn_dim": 48, "num_heads": 2, "max_length": 64},
        "training": {"max_steps": 4, "batch_tokens": 128, "warmup_steps": 2},
        "output": str(folder),
    }
    train(made, quiet=True)
    return folder


def tuned(output: Path, base: Path, adapter: dict[str, Any] | None = None, **training: Any) -> dict[str, Any]:
    return {
        "data": {"train": NEW},
        "model": {"base": str(base), "dropout": 0.1},
        "training": {**STEPS, "adapter": {"rank": 4, **(adapter or {})}, **training},
        "output": str(output),
    }


def logits(network: Any) -> torch.Tensor:
    """The logits (B, T, V) of two rows."""
    network.eval()
    with torch.no_grad():
        return network.logits(collate(ROWS, pad_id=0, start_id=1))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_weights(run / "model" / "model.safetensors")


@pytest.mark.parametrize(
    ("targets", "patterns"),
    [
        (("q", "v"), ("*.q", "*.v")),
        (("q_proj", "v_proj"), ("*.q", "*.v")),
        (("k_proj", "out_proj"), ("*.k", "*.o")),
        (("o_proj", "o"), ("*.o",)),
        (("fc1", "fc2"), ("*.up", "*.down")),
        (("wi_0", "wi_1", "wo"), ("*.gate", "*.up", "*.down")),
        (("wi",), ("*.up",)),
        (("gate_proj", "up_proj", "down_proj"), ("*.gate", "*.up", "*.down")),
        (("SelfAttention.q", "EncDecAttention.v"), ("*.mixer.q", "*.cross.v")),
        (("self_attn.q_proj", "encoder_attn.out_proj"), ("*.mixer.q", "*.cross.o")),
        (("DenseReluDense.wo",), ("*.ffn.down",)),
        (("encoder.layers.0.mixer.q",), ("encoder.layers.0.mixer.q",)),
        (("layers.1.cross.q",), ("decoder.layers.1.cross.q",)),
        (("all-linear",), ("*",)),
    ],
)
def test_targets_may_be_named_as_in_peft(base: Path, targets: tuple[str, ...], patterns: tuple[str, ...]) -> None:
    named, wanted = (
        Adapter(load_parts(base / "model").network, AdapterConfig(targets=names), seed=1).targets
        for names in (targets, patterns)
    )
    assert named == wanted and named


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_an_adapter_begins_as_nothing_and_merges_into_what_it_computes(base: Path, kind: Any) -> None:
    network = load_parts(base / "model").network
    before = logits(network)
    adapter = Adapter(network, AdapterConfig(kind=kind, rank=3, trained=("*norm*",)), seed=1)
    torch.testing.assert_close(logits(network), before, rtol=0, atol=0 if kind == "lora" else 1e-6)
    learning = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert any(".lora_A." in name for name in learning) and any("norm" in name for name in learning)
    assert all(".lora_" in name or "norm" in name for name in learning)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    apart, merged = logits(network), adapter.merged()
    assert (apart - before).abs().max() > 1e-2  # no projection leaves the adapter out
    adapter.remove()
    assert isinstance(network, EncoderDecoder) and named_weights(network).keys() == merged.keys()
    with torch.no_grad():
        for name, tensor in named_weights(network).items():
            tensor.copy_(merged[name])
    torch.testing.assert_close(logits(network), apart, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("adapter", "training"),
    [
        ({}, {}),
        ({"kind": "dora", "dropout": 0.2, "trained": ["*norm*", "source.table.weight"]}, {"ema": 0.5}),
        ({"targets": ["*.q", "*.v"], "dropout": 0.2}, {"optimizer": "muon", "average_last": 2}),
        ({}, {"layer_decay": 0.5, "groups": [{"match": "*.lora_B.*", "lr_scale": 4}], "checkpoint_activations": True}),
    ],
)
def test_resumed_is_uninterrupted(
    base: Path, tmp_path: Path, adapter: dict[str, Any], training: dict[str, Any]
) -> None:
    there = tmp_path / "there"
    shutil.copytree(base, there)
    whole = train(tuned(tmp_path / "whole", there, adapter, **training), quiet=True).folder
    train(tuned(tmp_path / "parts", there, adapter, **{**training, "max_steps": 3}), quiet=True)
    shutil.rmtree(there)
    parts = train(tuned(tmp_path / "parts", there, adapter, **training), resume=True, quiet=True).folder
    snapshots = [load_weights(run / "snapshots" / "step-6" / "weights.safetensors") for run in (whole, parts)]
    for mine, other in [snapshots, [weights(whole), weights(parts)]]:
        assert mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)
    assert all(".lora_" in name or "norm" in name or "table" in name for name in snapshots[0])
    start = weights(base)
    changed = {name for name, tensor in weights(whole).items() if not torch.equal(tensor, start[name])}
    assert changed and ("source.table.weight" in changed) == ("source.table.weight" in adapter.get("trained", []))


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_the_adapter_folder_is_pefts_and_loads_onto_the_base(base: Path, tmp_path: Path, kind: str) -> None:
    from peft import PeftModel

    made = tuned(tmp_path / "run", base, {"kind": kind, "trained": ["*norm*", "source.table.weight"]})
    run = train(made, quiet=True)
    ours, loaded = antiphon.load(run.folder), antiphon.load(base, adapter=run.folder / "adapter")
    for name, tensor in named_weights(ours.network).items():
        torch.testing.assert_close(named_weights(loaded.network)[name], tensor, rtol=1e-6, atol=1e-6)
    assert torch.equal(
        named_weights(ours.network)["decoder.final.weight"], named_weights(run.model.network)["decoder.final.weight"]
    )
    plain = load_parts(base / "model").network
    theirs = PeftModel.from_pretrained(plain, str(run.folder / "adapter"))
    torch.testing.assert_close(logits(theirs.base_model.model), logits(ours.network), rtol=1e-5, atol=1e-5)
    texts = ["7 hours ago", "in 7 hours", ""]
    assert [a.tokens for a in loaded.generate(texts)] == [a.tokens for a in ours.generate(texts)]


def test_an_adapter_that_does_not_fit_is_one_line(base: Path, tmp_path: Path) -> None:
    folder = train(tuned(tmp_path / "run", base, max_steps=1), quiet=True).folder / "adapter"
    config = json.loads((folder / "adapter_config.json").read_text())
    for changes, words in (
        ({"peft_type": "IA3"}, "must have `peft_type` 'LORA'"),
        ({"r": 0}, "must have numbers `r`"),
        ({"rank_pattern": {"q": 3}}, "must have `rank_pattern` {}"),
    ):
        (folder / "adapter_config.json").write_text(json.dumps({**config, **changes}))
        with pytest.raises(ModelError, match=words):
            antiphon.load(base, adapter=folder)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    made = tuned(tmp_path / "other", base)
    del made["training"]["adapter"]
    other = {**made, "model": {"preset": "tiny", "d_model": 16, "num_heads": 2}, "tokenizer": {"kind": "bytes"}}
    with pytest.raises(ModelError, match=r"does not fit the base: .* has lora_A of .* a model of your own, whose la"):
        antiphon.load(train(other, quiet=True).folder, adapter=folder)
    with pytest.raises(ModelError, match=r"must hold the file adapter_config.json, but does not"):
        antiphon.load(base, adapter=base)
    with pytest.raises(ModelError, match=r"must have snapshots of whole weights, but has an adapter's"):
        average_run(tmp_path / "run", last=1, output=tmp_path / "average")


@pytest.mark.parametrize(
    ("adapter", "training", "message"),
    [
        (
            {"targets": ["*.query"]},
            {},
            r"`training.adapter.targets` must match the name of a linear layer, but `\*.query` matches none. "
            r"For example \*.q, \*.k, \*.v, \*.o, \*.up, \*.gate, \*.down.",
        ),
        ({"targets": ["query"]}, {}, "must match the name of a linear layer, but `query` matches none. For example"),
        ({"trained": ["*.q.weight"]}, {}, "`training.adapter.trained` must match the name of a weight without an adap"),
        ({"kind": "loar"}, {}, "`training.adapter.kind` must be one of lora, dora, .*did you mean `lora`"),
        ({}, {"mixout": 0.1}, "`training.mixout` must be left out beside `adapter`"),
    ],
)
def test_bad_settings_are_one_line(
    base: Path, tmp_path: Path, adapter: dict[str, Any], training: dict[str, Any], message: str
) -> None:
    with pytest.raises(AntiphonError, match=message) as caught:
        train(tuned(tmp_path / "run", base, adapter, **training), quiet=True)
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_an_adapter_needs_a_base_and_peft(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tuned(tmp_path / "run", base)
    with pytest.raises(ConfigError, match=r"`training.adapter` needs a model to adapt"):
        train({**made, "model": {"preset": "tiny"}, "tokenizer": {"kind": "bytes"}}, quiet=True)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"needs the package peft, .*pip install 'antiphon\[peft\]'"):
        train(made, quiet=True)
    assert not (tmp_path / "run").exists()
