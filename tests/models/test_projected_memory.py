"""A linear layer between encoder and decoder: the memory, its padding, and what else knows of the layer.

That it equals transformers' `enc_to_dec_proj`: tests/parity/test_trocr.py. That a network made by hand is saved with
it: test_describe.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from export.onnx_models import TEXTS, small_model
from torch import nn

from antiphon.batch import Example, Tokens, collate
from antiphon.config import AttentionConfig, FamilyConfig, ModelConfig, TrainingConfig
from antiphon.errors import ConfigError, ModelError
from antiphon.export.ctranslate2 import export_ctranslate2
from antiphon.export.onnx import OnnxModel, export_onnx
from antiphon.models.build import build_network
from antiphon.models.families import Inexpressible
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import Decoder, Encoder, Shape, count_parameters
from antiphon.models.summary import summary
from antiphon.nn.ctc import JointCTC
from antiphon.nn.loss import CrossEntropy
from antiphon.training.groups import parameter_groups
from antiphon.training.parallel.skipped import leave_unused

FAMILY: dict[str, Any] = {"name": "custom", "pad_id": 0, "start_id": 1, "end_id": 2, "shared_tables": False}
ROWS = [Example([5, 6, 7, 2], [8, 9, 2], 0), Example([9, 2], [4, 2], 1)]


def network(*, cross: Any = "full", width: int | None = 12, **settings: Any) -> EncoderDecoder:
    family = FamilyConfig(**FAMILY, memory_projection=True, decoder_d_model=width, decoder_heads=2)
    sizes = {"d_model": 16, "num_heads": 2, "ffn_dim": 24, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0}
    model = ModelConfig("small", **{**sizes, "tie_embeddings": False, "family": family, **settings})
    made = build_network(model, AttentionConfig(cross=cross), source_vocab=20, target_vocab=20, shared=False).double()
    with torch.no_grad():
        made.encoder.project.bias.uniform_(-1, 1)  # type: ignore[union-attr]
    return made.eval()


@pytest.mark.parametrize("cross", ["full", "delta", "additive"])
def test_the_memory_is_projected_and_zero_at_padding(cross: str) -> None:
    """Any cross-attention reads it, since it has the decoder's width."""
    made = network(cross=cross)
    batch = collate(ROWS, pad_id=0, start_id=1)
    memory, heard = made.encode(batch.source, batch.source_tokens), []
    made.encoder.final.register_forward_hook(lambda _, __, output: heard.append(output))
    made.encode(batch.source, batch.source_tokens)
    project = made.encoder.project
    assert isinstance(project, nn.Linear) and memory.hidden.shape == (2, 4, 12)
    torch.testing.assert_close(memory.hidden[0], heard[0][0] @ project.weight.T + project.bias)
    assert not memory.hidden[1, 2:].any()
    alone = collate(ROWS[1:], pad_id=0, start_id=1)
    torch.testing.assert_close(made.logits(batch)[1, :2], made.logits(alone)[0])
    state = made.begin(memory, width=1, capacity=3)
    steps = []
    for i in range(3):
        hidden, state = made.decode(batch.target_ids[:, i : i + 1], Tokens(torch.tensor([[i]])), memory, state)
        steps.append(made.logits(hidden))
    torch.testing.assert_close(torch.cat(steps, 1)[0], made.logits(batch)[0])


def test_a_ctc_head_reads_it() -> None:
    made, batch = network(ctc=True), collate(ROWS, pad_id=0, start_id=1)
    memory = made.encode(batch.source, batch.source_tokens)
    assert made.ctc is not None and made.ctc.linear.weight.shape == (21, 12)
    assert made.frames(memory).log_p.shape == (2, 4, 21)
    made(batch, JointCTC(CrossEntropy(), weight=1.0, left_out=[2])).objective.backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in made.encoder.project.parameters())


def test_the_summary_and_the_groups_have_it() -> None:
    made = network()
    [row] = [row for row in summary(made) if row.part.startswith("projection")]
    assert (row.layers, row.shape, row.parameters) == ("encoder", "16 → 12", 16 * 12 + 12)
    assert sum(row.parameters * row.times for row in summary(made)) == count_parameters(made)
    groups = parameter_groups(made, TrainingConfig(max_steps=1, layer_decay=0.5))
    [scale] = {g["lr_scale"] for g in groups for p in g["params"] if p is made.encoder.project.weight}
    assert scale == 1.0


def test_its_gradient_stays_where_a_layer_of_the_decoder_is_not_skipped() -> None:
    made = network(layer_drop=0.5).train()
    seen = set()
    for step in range(8):
        for parameter in made.parameters():
            parameter.grad = torch.zeros_like(parameter)
        leave_unused(made, seed=0, step=step, count=1)
        with made.noise.held((0, step, 0)):
            reads = any(not layer.skip.dropped() for layer in made.decoder.layers)  # type: ignore[operator, union-attr]
        seen.add(reads)
        assert all((weight.grad is not None) == reads for weight in made.encoder.project.parameters())
    assert seen == {True, False}


def test_exports(tmp_path: Path) -> None:
    family = FamilyConfig(**FAMILY, memory_projection=True, decoder_d_model=24)
    model = small_model(family=family, tie_embeddings=False, shared=False)
    export_onnx(model, tmp_path / "onnx")
    wanted = [each.text for each in model.generate(TEXTS, beam_size=1, max_new_tokens=9)]
    assert OnnxModel.load(tmp_path / "onnx", threads=1).generate(TEXTS, max_new_tokens=9) == wanted and any(wanted)
    published = FamilyConfig(**dict(FAMILY, name="marian"), memory_projection=True, decoder_d_model=24)
    other = small_model(family=published, tie_embeddings=False, shared=False)
    with pytest.raises(Inexpressible, match="`memory_projection` False"):
        other.save(tmp_path / "hf", format="huggingface")
    pytest.importorskip("ctranslate2")
    with pytest.raises(ModelError, match=r"does not support this model's `family.memory_projection`"):
        export_ctranslate2(model, tmp_path / "ct2")


def test_parts_of_other_widths_are_named() -> None:
    shape = Shape(d_model=16, num_heads=2)
    source, target = network().source, network(width=16).target
    with pytest.raises(ConfigError, match=r"decoder's cross-attention must have the width of the encoder \(12\), but"):
        EncoderDecoder(
            source, Encoder(["full"], shape=shape, project_to=12), target, Decoder(["full"], ["full"], shape=shape)
        )
