"""A folder is read in eight bits weight by weight: the same numbers as of one that is quantized when it is there."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from generation.test_model import model
from models.test_hub import FAMILIES, parts_of
from runtime.test_stepper import KINDS, network_of
from safetensors.torch import load_file, save_file

from antiphon import Model, load
from antiphon.config import AttentionConfig, ModelConfig
from antiphon.generation.quantize import quantize
from antiphon.models.build import build_network
from antiphon.models.folders.checkpoint import Parts, load_parts, save_model_folder
from antiphon.models.folders.hub import load_pretrained, save_pretrained
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.runtime.int8_loading import fill_int8
from antiphon.runtime.quantized import Int8Linear, is_quantized
from antiphon.text import train_tokenizer

TEXTS = ["in 3 hours", "in 4 hours we go", ""]


def numbers(network: EncoderDecoder) -> dict[str, list[torch.Tensor | None]]:
    """All that a network computes with, by the name of its place: packed weights, scales, biases, other weights."""
    found: dict[str, list[torch.Tensor | None]] = {name: [weight] for name, weight in network.state_dict().items()}
    for name, part in network.named_modules():
        if isinstance(part, Int8Linear):
            packed = part.packed
            found[name] = [part.bias, part.rounded] if packed is None else [part.bias, packed.data, packed.scales]
    return found


def check_equal(found: EncoderDecoder, expected: EncoderDecoder) -> None:
    mine, theirs = numbers(found), numbers(expected)
    assert is_quantized(found) and mine.keys() == theirs.keys()
    for name, tensors in mine.items():
        for one, other in zip(tensors, theirs[name], strict=True):
            assert (one is None and other is None) or torch.equal(one, other), name
    assert [name for name, _ in found.named_parameters()] == [name for name, _ in expected.named_parameters()]


def check_folder(folder: Path) -> None:
    """Read so = quantized afterwards, in all numbers and all answers."""
    found, expected = load(folder, quantize="int8"), load(folder, device="cpu")
    quantize(expected.network)
    check_equal(found.network, expected.network)
    assert found.account == expected.account
    for settings in ({"beam_size": 1}, {"beam_size": 3, "n_best": 2}):
        answers = (each.generate(TEXTS, max_new_tokens=9, **settings) for each in (found, expected))
        assert len({str([(one.text, one.score, one.tokens) for one in each]) for each in answers}) == 1


@pytest.mark.parametrize("separate", [False, True])
def test_a_folder_of_ours(separate: bool, tmp_path: Path) -> None:
    check_folder(model(separate=separate).save(tmp_path / "model"))


@pytest.mark.parametrize("name", ["shaw", "linear", "delta", "additive", "differential", "sinks", "relative"])
def test_a_network_of_each_kind(name: str, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, kind="bytes", vocab_size=300)
    settings = ModelConfig("tiny", d_model=16, num_heads=2, ffn_dim=24, max_length=40)
    attention = AttentionConfig(**KINDS[name])
    size = tokenizer.vocab_size
    network = build_network(settings, attention, source_vocab=size, target_vocab=size, shared=True, seed=3)
    parts = Parts(network.eval(), settings, attention, tokenizer, tokenizer, "text", model().generation)
    check_folder(Model.from_parts(parts).save(tmp_path / "model"))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("shared", "tied"), [(True, True), (False, False)])
def test_a_family_in_their_folder_and_in_ours(name: str, shared: bool, tied: bool, tmp_path: Path) -> None:
    theirs = save_pretrained(tmp_path / "theirs", parts_of(name, shared=shared, tied=tied))
    ours = save_model_folder(tmp_path / "ours", load_pretrained(theirs))
    for read, folder in ((load_pretrained, theirs), (load_parts, ours)):
        found, expected = read(folder, filler=fill_int8).network, read(folder).network
        assert is_quantized(found)
        quantize(expected)
        quantize(found)  # nothing is left to do
        check_equal(found, expected)


def test_weights_in_half_precision(tmp_path: Path) -> None:
    folder = save_pretrained(tmp_path / "theirs", parts_of("bart"))
    file = folder / "model.safetensors"
    save_file({name: tensor.bfloat16() for name, tensor in load_file(file).items()}, file)
    check_folder(folder)


def test_an_ensemble_and_an_attention_of_ones_own(tmp_path: Path) -> None:
    folders = [model(seed=seed).save(tmp_path / f"{seed}") for seed in (1, 2)]
    found, expected = load(folders, quantize="int8"), load(folders, device="cpu")
    quantize(expected.network)
    check_equal(found.network, expected.network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that weights are new
        found, expected = (
            load(folders[0], device="cpu", attention={"decoder": "shaw"}, quantize=kind) for kind in ("int8", None)
        )
    quantize(expected.network)
    check_equal(found.network, expected.network)


def test_hooks_keep_a_layer_whole() -> None:
    network = network_of("full")
    linear = next(part for part in network.modules() if type(part) is torch.nn.Linear)
    linear.register_forward_hook(lambda *_: None)
    quantize(network)
    assert any(part is linear for part in network.modules())


@pytest.mark.skipif(sys.platform != "linux", reason="the most memory held is read from /proc")
def test_the_whole_model_is_never_in_memory(tmp_path: Path) -> None:
    """One of 56 MB in float32 and 14 in int8 takes 56 + 14 where it is there whole before it is rounded."""
    tokenizer = train_tokenizer(TEXTS, kind="bytes", vocab_size=260)
    folders = []
    for name, width in (("first", 64), ("large", 512)):
        settings = ModelConfig("tiny", d_model=width, ffn_dim=4 * width, encoder_layers=2, decoder_layers=1)
        network = build_network(settings, AttentionConfig(), source_vocab=260, target_vocab=260, shared=True)
        parts = Parts(network.eval(), settings, AttentionConfig(), tokenizer, tokenizer, "text", model().generation)
        folders.append(str(save_model_folder(tmp_path / name, parts)))
    size = (Path(folders[1]) / "model.safetensors").stat().st_size / 1e6
    script = (
        "import json, sys, antiphon\n"
        "held = []\n"
        "for folder in sys.argv[1:]:\n"  # the first brings the code into memory
        "    model = antiphon.load(folder, quantize='int8')\n"
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    held.append(next(int(line.split()[1]) / 1000 for line in lines if line.startswith('VmHWM')))\n"
        "print(json.dumps(held[1] - held[0]))\n"
    )
    made = subprocess.run([sys.executable, "-c", script, *folders], capture_output=True, text=True, check=True)
    more = json.loads(made.stdout)
    assert size > 50 and size / 5 < more < 0.75 * size, f"{more:.0f} MB more for a file of {size:.0f} MB"
