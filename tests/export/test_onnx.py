"""What onnxruntime computes from exported files is what the model computes."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from counts import count
from export.onnx_models import TEXTS, small_model
from models.test_hub import SETTINGS, T5GEMMA2, parts_of
from parity import reference
from torch import Tensor

import antiphon
from antiphon.cli.main import main
from antiphon.config import AttentionConfig, ModelConfig
from antiphon.errors import ConfigError, DataError, ModelError, WorkError
from antiphon.export.onnx import OnnxModel, export_onnx, exporting, storing
from antiphon.export.onnx.real_inputs import run_sources
from antiphon.generation.load import load
from antiphon.generation.model import Model
from antiphon.models.build import build_network

FAMILIES = list(reference.FAMILIES)[:: -(-len(reference.FAMILIES) // count("onnx_families"))]
# A layer takes seconds to trace: of the first seeds those with few. The model of all rules and mixers has more layers.
SEEDS = {"t5": 6, "t5gemma": 4, "blenderbot": 2}
# Each built-in rule and each mixer that can be exported, in one layer or another of a model.
ENCODERS = [
    {"all": ["alibi", {"window": 3}, "qk_norm", {"soft_cap": 5.0}]}, "linear", {"shaw": 4},
    {"all": [{"block_local": {"size": 2, "global_tokens": 1}}, "sinks", "relative"]},
]  # fmt: skip
DECODERS = [{"all": ["relative", {"window": 4}, "temperature"]}, "sigmoid", "differential", "additive"]
CROSSES = ["cosine", "linear", {"all": ["inverse_d", {"prefix_lm": 3}]}, {"additive": {"scorer": "mlp"}}]


@pytest.fixture(scope="module")
def sessions(exported: Path) -> OnnxModel:
    return OnnxModel.load(exported, threads=1)


def test_the_program_answers_as_the_model(model: Model, sessions: OnnxModel) -> None:
    texts = [*TEXTS, "", "  "]
    wanted = [each.text for each in model.generate(texts, beam_size=1, max_new_tokens=9)]
    assert sessions.generate(texts, max_new_tokens=9) == wanted and any(wanted)
    rows = model.source_tokenizer.encode_batch(TEXTS)
    together, alone = sessions.generate_ids(rows), [sessions.generate_ids([row])[0] for row in rows]
    assert together == alone and sessions.generate_ids([]) == []


def test_the_python_of_the_page(exported: Path, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "onnx.md"
    (code,) = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(exported.parent)  # the folder is called `out` there too
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["answers"] == [each.text for each in model.generate(["in 3 hours", "in 4 hours"], beam_size=1)]


def test_padding_on_the_left_changes_nothing(model: Model, sessions: OnnxModel) -> None:
    row = model.source_tokenizer.encode(TEXTS[0])
    ids, mask = sessions.pad([row])
    left = np.pad(ids, ((0, 0), (3, 0)))
    hidden = sessions.encode(left, np.pad(mask, ((0, 0), (3, 0))))
    np.testing.assert_allclose(hidden[:, 3:], sessions.encode(ids, mask), atol=1e-5)
    assert not hidden[:, :3].any()


def test_several_tokens_at_once_are_as_one_by_one(model: Model, sessions: OnnxModel) -> None:
    ids, mask = sessions.pad(model.source_tokenizer.encode_batch(TEXTS[:2]))
    hidden, target = sessions.encode(ids, mask), np.array([[1, 9, 17, 30, 8], [1, 12, 5, 6, 7]])
    whole, _ = sessions.first_step(target, hidden, mask)
    logits, cache = sessions.first_step(target[:, :2], hidden, mask)
    rest, cache = sessions.next_step(target[:, 2:], hidden, mask, cache)
    np.testing.assert_allclose(np.concatenate([logits, rest], 1), whole, atol=1e-5)
    assert cache["past_key_values.0.decoder.key"].shape == (2, 2, 5, 8)
    assert cache["past_key_values.0.encoder.value"].shape == (2, 2, ids.shape[1], 8)


def test_every_rule_and_mixer(tmp_path: Path) -> None:
    model = small_model(
        {"encoder": ENCODERS, "decoder": DECODERS, "cross": CROSSES},
        encoder_layers=len(ENCODERS), decoder_layers=len(DECODERS),
        activation="geglu", norm_placement="sandwich", output_cap=30.0,
    )  # fmt: skip
    report = export_onnx(model, tmp_path / "out", sources=TEXTS)
    assert report.difference < 1e-4 and report.equal == report.answers == len(TEXTS)
    assert report.sources == "texts of the run"


@pytest.mark.parametrize("name", FAMILIES)
def test_families_compute_the_same(name: str, tmp_path: Path) -> None:
    """Checkpoints of the parity tests, written by transformers, read by us."""
    reference.make(reference.FAMILIES[name], SEEDS.get(name, 0), tmp_path / "theirs")
    model = load(tmp_path / "theirs", device="cpu")
    report = export_onnx(model, tmp_path / "out")
    assert report.difference < 1e-4 * max(1, report.largest) and report.equal == report.answers == 16
    # Beside the files stands what transformers.js and optimum read.
    ours = OnnxModel.load(tmp_path / "out", threads=1)
    assert (tmp_path / "out" / "config.json").is_file() and (tmp_path / "out" / "generation_config.json").is_file()
    wanted = [each.text for each in model.generate(TEXTS, beam_size=1, no_repeat_ngram=0, max_new_tokens=5)]
    assert ours.generate(TEXTS, max_new_tokens=5) == wanted


def test_names_of_tensors(exported: Path, model: Model, tmp_path: Path, traced_once: None) -> None:
    export_onnx(model, tmp_path / "out", decoder="separate")
    found = {file.stem: onnx.load(file) for file in [*(tmp_path / "out").glob("*.onnx"), *exported.glob("*.onnx")]}
    past = [f"past_key_values.0.{side}.{leaf}" for side in ("decoder", "encoder") for leaf in ("key", "value")]
    present = [name.replace("past_key_values", "present") for name in past]
    wanted = {
        "encoder_model": (["input_ids", "attention_mask"], ["last_hidden_state"]),
        "decoder_model": (
            ["encoder_attention_mask", "input_ids", "encoder_hidden_states"], ["logits", *present]),
        "decoder_with_past_model": (["encoder_attention_mask", "input_ids", *past], ["logits", *present[:2]]),
        "decoder_model_merged": (
            ["encoder_attention_mask", "input_ids", "encoder_hidden_states", *past, "use_cache_branch"],
            ["logits", *present]),
    }  # fmt: skip
    for name, (inputs, outputs) in wanted.items():
        graph = found[name].graph
        assert [each.name for each in graph.input] == inputs and [each.name for each in graph.output] == outputs
        onnx.checker.check_model(found[name], full_check=True)
    # Both branches of the merged decoder read the same weights.
    sizes = {name: storing.weight_bytes(each) for name, each in found.items()}
    assert sizes["decoder_model_merged"] < 1.2 * sizes["decoder_model"]


def test_separate_steps_in_eight_bits(model: Model, sessions: OnnxModel, tmp_path: Path, traced_once: None) -> None:
    report = export_onnx(model, tmp_path / "out", decoder="separate", quantize="int8", sources=TEXTS)
    ours = OnnxModel.load(tmp_path / "out", threads=1)
    assert ours.metadata.weights == "int8" and all("_quantized" in file for file in ours.metadata.files.values())
    assert report.difference < 1e-4 < report.quantized_difference < 1.0  # type: ignore[operator]
    ids, mask = ours.pad(model.source_tokenizer.encode_batch(TEXTS))
    assert np.abs(ours.encode(ids, mask) - sessions.encode(ids, mask)).max() < 0.2
    graph = onnx.load(tmp_path / "out" / ours.metadata.files["next_step"]).graph
    largest = {tensor.name: len(tensor.raw_data) for tensor in graph.initializer}
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    table = model.network.output.weight.numel()
    assert all(
        kinds[name] in (onnx.TensorProto.UINT8, onnx.TensorProto.INT8) for name in largest if largest[name] >= table
    )
    assert len(ours.generate(TEXTS, max_new_tokens=4)) == len(TEXTS)


def test_large_weights_stand_in_a_file_beside(
    model: Model, sessions: OnnxModel, tmp_path: Path, traced_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "MAX_BYTES", 1000)
    export_onnx(model, tmp_path / "out")
    ours = OnnxModel.load(tmp_path / "out", threads=1)
    assert ours.metadata.external_data == {role: f"{file}_data" for role, file in ours.metadata.files.items()}
    assert (tmp_path / "out" / "encoder_model.onnx_data").stat().st_size > (
        tmp_path / "out" / "encoder_model.onnx"
    ).stat().st_size / 2
    assert ours.generate(TEXTS, max_new_tokens=6) == sessions.generate(TEXTS, max_new_tokens=6)


def test_labels(model: Model, tmp_path: Path, traced_once: None) -> None:
    labels = {"pos": "in 3 hours", "neg": "4 days ago", "none": "a"}
    model = Model.from_parts(replace(model.parts, task="classification", labels=labels))
    export_onnx(model, tmp_path / "out", sources=TEXTS)
    ours = OnnxModel.load(tmp_path / "out", threads=1)
    answers = model.generate(TEXTS)
    assert ours.generate(TEXTS) == [each.text for each in answers]
    scores = ours.label_scores(model.source_tokenizer.encode_batch(TEXTS))
    np.testing.assert_allclose(scores.max(1), [each.score for each in answers], atol=1e-4)


def fade(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    scores = torch.fft.fft(q).real @ k.transpose(-1, -2)
    return scores.masked_fill(~mask, float("-inf")).softmax(-1) @ v


@pytest.mark.parametrize(
    ("attention", "named"),
    [
        ({"encoder": "delta"}, "`Delta` of the encoder cannot be written in ONNX: it solves a triangular system"),
        ({"decoder": "linear"}, "`LinearAttention` of the decoder cannot be written in ONNX: its number of chunks"),
        ({"cross": "torch_multihead"}, "`TorchAttention` of the cross-attention cannot"),
        ({"decoder": fade}, "the attention function `fade` cannot be written in ONNX"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name(attention: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=named) as caught:
        export_onnx(small_model(attention), tmp_path / "deep" / "out")
    assert "Supported are dot-product attention under every built-in rule" in str(caught.value)
    assert "\n" not in str(caught.value) and not list(tmp_path.rglob("*.onnx"))


def test_models_that_are_refused(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="own weights, but it was quantized"):
        export_onnx(model.quantize(), tmp_path / "out")
    half = small_model()
    half.network.to(torch.bfloat16)
    with pytest.raises(ModelError, match="exported in float32, but this one is bfloat16"):
        export_onnx(half, tmp_path / "out")
    with pytest.raises(ModelError, match="must not be there yet"):
        export_onnx(model, tmp_path)
    with pytest.raises(ConfigError, match="`decoder` must be one of merged, separate, but is 'both'"):
        export_onnx(model, tmp_path / "out", decoder="both")
    with pytest.raises(ConfigError, match="`quantize` must be int8"):
        export_onnx(model, tmp_path / "out", quantize="int4")
    small_model().save(tmp_path / "a")
    with pytest.raises(ModelError, match="this is an ensemble"):
        export_onnx(antiphon.load([tmp_path / "a", tmp_path / "a"]), tmp_path / "out")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"onnxruntime is not installed. Install them: pip install 'antiphon\[onnx\]'"):
        export_onnx(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_difference_ends_the_export(
    model: Model, tmp_path: Path, traced_once: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong weight in the files is found, and nothing is left of them."""
    monkeypatch.setattr(exporting, "check_supported", lambda _: model)
    model.save(tmp_path / "model")
    keep = storing.save_model

    def spoil(made: onnx.ModelProto, file: Path, **given: Any) -> None:
        tensor = max(made.graph.initializer, key=lambda each: len(each.raw_data))
        values = np.frombuffer(tensor.raw_data, np.float32).copy()
        values[values.size // 2 :] += 1e-2
        tensor.raw_data = values.tobytes()
        keep(made, file, **given)

    monkeypatch.setattr(storing, "save_model", spoil)
    with pytest.raises(WorkError, match=r"must give the model's numbers to \d\.\de-04, but one differs by"):
        export_onnx(model, tmp_path / "out")
    assert main(["export", str(tmp_path / "model"), "--to", "onnx", "--output", str(tmp_path / "out")]) == 1
    assert "Nothing was written" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_the_command(model: Model, tmp_path: Path, traced_once: None, monkeypatch: pytest.MonkeyPatch,
                     capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setattr(exporting, "check_supported", lambda _: model)
    model.save(tmp_path / "run" / "model")
    (tmp_path / "run" / "config.yaml").write_text(
        "task: translation\ndata: {train: '<python: 9 pairs>', valid: {path: v.tsv}}\n"
    )
    (tmp_path / "run" / "samples.jsonl").write_text('{"step": 1, "source": "in 3 hours"}\n{"step": 2, "sou')
    command = ["export", str(tmp_path / "run"), "--to", "onnx", "--output", str(tmp_path / "out")]
    assert main([*command, "--decoder", "separate"]) == 0
    said = capsys.readouterr().err
    assert "checked on 1 sources (texts of the run)" in said and "greedy answers equal to the model's: 1 of 1" in said
    assert main(command) == 2 and "must not be there yet" in capsys.readouterr().err
    assert main([*command, "--dtype", "bfloat16"]) == 2
    assert main([*command[:-4], "--to", "huggingface", "--output", "x", "--decoder", "merged"]) == 2
    assert "`--decoder merged` goes with `--to onnx`" in capsys.readouterr().err


def test_sources_of_a_run(tmp_path: Path) -> None:
    recipe = "task: translation\ndata: {{train: '<python: 9 pairs>', valid: {valid}}}\n"
    (tmp_path / "valid.tsv").write_text("one\teins\ntwo\tzwei\n")
    (tmp_path / "config.yaml").write_text(recipe.format(valid=f"{{path: {tmp_path / 'valid.tsv'}}}"))
    assert run_sources(tmp_path) == run_sources(tmp_path / "model") == ["one", "two"]
    (tmp_path / "config.yaml").write_text(recipe.format(valid="null"))
    assert run_sources(tmp_path) == [] == run_sources(tmp_path / "no" / "where")


def test_the_program_refuses(exported: Path, sessions: OnnxModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no onnx\.json"):
        OnnxModel.load(tmp_path)
    (tmp_path / "onnx.json").write_text('{"format": "antiphon-onnx", "format_version": 9}')
    with pytest.raises(ModelError, match="must have `format` antiphon-onnx and `format_version` 1"):
        OnnxModel.load(tmp_path)
    with pytest.raises(DataError, match=r"at most 64 tokens \(end included\), but one has 71"):
        sessions.generate_ids([[5] * 71])


def test_the_vision_encoder_is_left_out_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"num_hidden_layers": 1}
    encoder = T5GEMMA2["encoder"] | {"text_config": T5GEMMA2["encoder"]["text_config"] | one}
    monkeypatch.setitem(SETTINGS, "t5gemma2", T5GEMMA2 | {"encoder": encoder, "decoder": T5GEMMA2["decoder"] | one})
    model = Model.from_parts(parts_of("t5gemma2"))
    with pytest.warns(UserWarning, match="the vision encoder is left out of the ONNX files, which answer texts alone"):
        export_onnx(model, tmp_path / "out")
    assert OnnxModel.load(tmp_path / "out").generate(["in 3"], max_new_tokens=4) == [
        model.generate("in 3", beam_size=1, max_new_tokens=4)[0].text
    ]


def test_a_model_of_images_is_refused(tmp_path: Path) -> None:
    images: dict[str, Any] = {"image": {"height": 8, "patch": 4}}
    config = ModelConfig(preset="tiny", d_model=16, num_heads=2, ffn_dim=20, max_length=24, input=images)
    network = build_network(config, AttentionConfig(), source_vocab=260, target_vocab=260, shared=True)
    parts = replace(parts_of("t5"), network=network, model=config)
    with pytest.raises(ModelError, match="a model of images or sound cannot be written in ONNX: its source is no text"):
        export_onnx(Model.from_parts(parts), tmp_path / "out")
