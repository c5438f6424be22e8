"""The joint CTC loss in the training step: micro-batches, other objectives, other kinds of sources, wrong settings.

That ranks train as one process does: tests/distributed/test_equal_runs.py, whose recipe `most` has a CTC head.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from generation.test_speech import SPEECH
from torch import Tensor, nn
from torch.nn import functional
from training.runs import MODEL, make_loop

from antiphon.batch import Batch, Example, LazyFeatures, collate
from antiphon.config import AttentionConfig, FamilyConfig, TrainConfig, TrainingConfig
from antiphon.config.distillation import DistillationConfig
from antiphon.errors import ConfigError
from antiphon.models.build import build_network
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.ctc import JointCTC
from antiphon.nn.loss import CrossEntropy
from antiphon.settings import build

SHAPE = replace(MODEL, dropout=0.0, attention_dropout=0.0, layer_drop=0.0, ctc=True)
END = 2


def ctc_by_hand(network: EncoderDecoder, batch: Batch) -> Tensor:
    """The sum of the CTC losses by torch.nn.CTCLoss."""
    memory = network.encode(batch.source, batch.source_tokens)
    assert network.ctc is not None
    log_p = functional.linear(memory.hidden, network.ctc.linear.weight, network.ctc.linear.bias).log_softmax(-1)
    texts = [
        [id for id in row[mask].tolist() if id != END] for row, mask in zip(batch.labels, batch.label_mask, strict=True)
    ]
    loss = nn.CTCLoss(blank=log_p.shape[2] - 1, reduction="sum", zero_infinity=True)
    targets, lengths = torch.tensor([id for text in texts for id in text]), torch.tensor([len(text) for text in texts])
    return loss(log_p.transpose(0, 1), targets, memory.tokens.valid.sum(1), lengths)


@pytest.mark.parametrize(("setting", "weight"), [(None, 0.3), (0.6, 0.6)])
def test_the_gradient_of_a_step_is_that_of_all_its_micro_batches(
    tmp_path: Path, setting: float | None, weight: float
) -> None:
    loop = make_loop(tmp_path / "run", model=SHAPE, accumulate=3, label_smoothing=0.1, ctc_weight=setting)
    network = loop.network.double().train()
    micro_batches = loop.make()
    labels = sum(len(example.target) for rows, _ in micro_batches for example in rows)
    losses = loop.gradients(micro_batches, labels)
    found = {name: weight.grad for name, weight in network.named_parameters()}
    network.zero_grad()
    total = torch.zeros((), dtype=torch.double)
    for _, batch in micro_batches:
        assert batch is not None
        entropy = network(batch, CrossEntropy(0.1)).objective
        total = total + (1 - weight) * entropy + weight * ctc_by_hand(network, batch)
    (total / labels).backward()
    assert sum(float(loss.objective.detach()) for loss in losses) == pytest.approx(float(total.detach()))
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-8, atol=1e-10)


def test_it_stands_beside_r_drop_and_distillation(tmp_path: Path) -> None:
    teacher = build_network(SHAPE, AttentionConfig(), source_vocab=12, target_vocab=12, shared=True, seed=5)
    cases: dict[str, dict[str, Any]] = {
        "r_drop": {"r_drop": 1.0},
        "distilled": {"teacher": teacher, "distillation": DistillationConfig("teacher", weight=0.5)},
    }
    for name, settings in cases.items():
        loop = make_loop(tmp_path / name, model=SHAPE, max_steps=2, **settings)
        batch = loop.make()[0][1]
        assert batch is not None
        found = float(loop.loss(batch, number=0).objective.detach())
        loop.objective.ctc.weight = 0.0
        decoder = float(loop.loss(batch, number=0).objective.detach())
        wanted = 0.7 * decoder + 0.3 * float(ctc_by_hand(loop.network, batch).detach())
        assert found == pytest.approx(wanted, rel=1e-5)
        loop.objective.ctc.weight = 0.3
        loop.run()


def test_sources_of_features_have_the_frames_of_their_front() -> None:
    """Sound, read lazily, whose convolutions halve the frames."""
    family = FamilyConfig(name="whisper", pad_id=2, start_id=10, end_id=END, speech=SPEECH)
    model = replace(SHAPE, family=family, positions="sinusoidal", max_length=24)
    network = build_network(model, AttentionConfig(), source_vocab=12, target_vocab=12, shared=False, seed=3)
    sound = torch.randn(8, SPEECH.mel_bins, generator=torch.Generator().manual_seed(1))
    examples = [Example(sound, [5, 5, END], 0), Example(LazyFeatures(8, lambda: sound * 2), [6, 7, 8, END], 1)]
    batch = collate(examples, pad_id=2, start_id=10)
    memory = network.encode(batch.source, batch.source_tokens)
    assert network.frames(memory).lengths.tolist() == memory.tokens.valid.sum(1).tolist() == [4, 4]
    loss = network(batch, JointCTC(CrossEntropy(), weight=1.0, left_out=[END])).objective
    torch.testing.assert_close(loss, ctc_by_hand(network, batch))
    loss.backward()
    first = next(network.source.parameters())
    assert first.grad is not None and float(first.grad.abs().max()) > 0


def test_ids_of_a_prompt_are_no_part_of_the_target() -> None:
    network = build_network(SHAPE, AttentionConfig(), source_vocab=12, target_vocab=12, shared=True)
    example = Example([5, 6, 7, 8, END], [9, 9, END], 0, prompt=(4, 3))
    criterion = JointCTC(CrossEntropy(), weight=0.5, left_out=[1, END])
    targets, lengths = criterion.targets(collate([example], pad_id=0, start_id=1))
    assert targets[0, : int(lengths)].tolist() == [9, 9]
    assert network(collate([example], pad_id=0, start_id=1), criterion).labels == 3


def test_a_weight_needs_a_head(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`training.ctc_weight` needs a network with a CTC head, but it is 0.3"):
        make_loop(tmp_path / "run", ctc_weight=0.3)
    recipe = {"data": {"train": [("a", "b")]}, "training": {"max_steps": 1}}
    for section in ("training", "generation"):
        wrong = {**recipe, section: {**recipe.get(section, {}), "ctc_weight": 0.3}}
        with pytest.raises(ConfigError, match=rf"`{section}.ctc_weight` needs `model.ctc: true`, .* is 0.3. Set that"):
            build(TrainConfig, wrong)
    for weight in (0.0, 1.2):
        with pytest.raises(ConfigError, match="ctc_weight"):
            TrainingConfig(max_steps=1, ctc_weight=weight)
