"""Word-level distillation against its definition in plain loops, and in the training loop."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training.runs import make_loop, rows, same, weights

from antiphon.config import AttentionConfig, ModelConfig
from antiphon.errors import ModelError
from antiphon.generation.ensemble import Ensemble
from antiphon.models.build import build_network
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.loss import MAX_CHUNK_ROWS, CrossEntropy
from antiphon.training.loop import Loop
from antiphon.training.objectives.distillation import DistilledCrossEntropy

IDS = 11
TEACHER = ModelConfig(preset="tiny", d_model=24, ffn_dim=20, num_heads=2, encoder_layers=1, positions="sinusoidal")
DISTIL: dict[str, Any] = {"teacher": "teacher", "weight": 0.6, "temperature": 2.0}


def case(count: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Student's vectors (count, 6) and table, labels, teacher's vectors (count, 9) and table."""
    generator = torch.Generator().manual_seed(count)
    shapes = [(count, 6), (IDS, 6), (count, 9), (IDS, 9)]
    hidden, table, theirs, other = (torch.randn(*shape, generator=generator, dtype=dtype) for shape in shapes)
    labels = torch.randint(0, IDS, (count,), generator=generator)
    return hidden.requires_grad_(), table.requires_grad_(), labels, theirs, other


def softmax(logits: list[float], temperature: float) -> list[float]:
    powers = [math.exp(logit / temperature) for logit in logits]
    return [power / sum(powers) for power in powers]


def definition(
    logits: list[list[float]], labels: list[int], theirs: list[list[float]], smoothing: float, w: float, t: float
) -> float:
    """(1 − w)·cross-entropy + w·T²·KL(p‖q), a word and an id at a time."""
    total = 0.0
    for own, gold, other in zip(logits, labels, theirs, strict=True):
        plain, q, p = softmax(own, 1.0), softmax(own, t), softmax(other, t)
        for id in range(len(own)):
            target = (1 - smoothing) * (id == gold) + smoothing / len(own)
            total -= (1 - w) * target * math.log(plain[id])
            total += w * t**2 * p[id] * (math.log(p[id]) - math.log(q[id]))
    return total


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("count", [1, MAX_CHUNK_ROWS + 5])
def test_equals_the_definition(count: int, smoothing: float, weight: float, temperature: float) -> None:
    hidden, table, labels, theirs, other = case(count)
    criterion = DistilledCrossEntropy(theirs, lambda rows: rows @ other.T, weight, temperature, smoothing)
    ours = criterion(hidden, table, labels)
    found = torch.autograd.grad(ours.objective, (hidden, table))

    def plain(hidden: Tensor, table: Tensor) -> float:
        logits = (hidden @ table.T).tolist()
        return definition(logits, labels.tolist(), (theirs @ other.T).tolist(), smoothing, weight, temperature)

    with torch.no_grad():
        assert float(ours.objective) == pytest.approx(plain(hidden, table), rel=1e-12)
        for part, gradient in zip((hidden, table), found, strict=True):
            for place in [(0, 0), (part.shape[0] - 1, 2), (part.shape[0] // 2, 5)]:
                kept, sums = float(part[place]), []
                for step in (1e-4, -1e-4):
                    part[place] = kept + step
                    sums.append(plain(hidden, table))
                part[place] = kept
                assert float(gradient[place]) == pytest.approx((sums[0] - sums[1]) / 2e-4, rel=1e-5, abs=1e-6)
    whole = torch.nn.functional.cross_entropy(hidden @ table.T, labels, reduction="sum")
    torch.testing.assert_close(ours.nll, whole.detach(), rtol=1e-12, atol=1e-12)
    assert ours.labels == count and not ours.nll.requires_grad


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_all_of_the_gradient_is_autograds(temperature: float) -> None:
    hidden, table, labels, theirs, other = case(MAX_CHUNK_ROWS + 3)
    criterion = DistilledCrossEntropy(theirs, lambda rows: rows @ other.T, 0.4, temperature, 0.1)
    found = torch.autograd.grad(criterion(hidden, table, labels).objective / 3, (hidden, table))
    logits = hidden @ table.T
    entropy = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1, reduction="sum")
    pair = [(part / temperature).log_softmax(-1) for part in (logits, theirs @ other.T)]
    divergence = torch.nn.functional.kl_div(*pair, log_target=True, reduction="sum")
    wanted = torch.autograd.grad((0.6 * entropy + 0.4 * temperature**2 * divergence) / 3, (hidden, table))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_no_row_and_large_logits_and_bfloat16() -> None:
    hidden, table, labels, theirs, other = case(40, torch.float32)
    none = DistilledCrossEntropy(theirs[:0], lambda rows: rows @ other.T, 0.5, 2.0, 0.1)(hidden[:0], table, labels[:0])
    none.objective.backward()
    assert none.objective.item() == 0 and none.labels == 0
    criterion = DistilledCrossEntropy(theirs, lambda rows: rows @ other.T, 0.5, 2.0, 0.1)
    large = DistilledCrossEntropy(theirs * 1e4, lambda rows: rows @ other.T, 0.5, 2.0, 0.1)
    found = large(hidden * 1e4, table, labels)
    found.objective.backward()
    assert torch.isfinite(found.objective) and table.grad is not None and torch.isfinite(table.grad).all()
    exact = criterion(hidden, table, labels).objective.detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = criterion(hidden, table, labels).objective.detach()
    assert near.dtype == torch.float32 and abs(float(near / exact) - 1) < 2e-2


def teacher(*, seed: int = 5, shape: ModelConfig = TEACHER) -> EncoderDecoder:
    """Of another shape than the student, and with dropout, which it must not use."""
    attention = AttentionConfig()
    return build_network(shape, attention, source_vocab=12, target_vocab=12, shared=True, seed=seed)


def distilled(folder: Path, *, by: EncoderDecoder | None = None, distil: dict[str, Any] = DISTIL, **more: Any) -> Loop:
    return make_loop(folder, teacher=by or teacher(), distillation=distil, **more)


def test_the_teacher_reads_the_same_and_stays_as_it_is(tmp_path: Path) -> None:
    by = teacher()
    before = [part.clone() for part in by.parameters()]
    made = distilled(tmp_path / "run", by=by, max_steps=6)
    batch = made.collate(next(made.parts.batches))
    assert made.objective.distillation is not None
    one, other = (made.objective.distillation.criterion(batch).hidden for _ in range(2))
    assert torch.equal(one, other) and len(one) == int(batch.label_mask.sum())  # without dropout
    alone = made.collate(next(made.parts.batches)[:1])
    memory = by.encode(alone.source, alone.source_tokens)
    wanted = by.logits(by.decode(alone.target_ids, alone.target_tokens, memory, None)[0][alone.label_mask])
    found = made.objective.distillation.criterion(alone)
    torch.testing.assert_close(found.logits(found.hidden), wanted)
    made.run()
    assert all(torch.equal(a, b) for a, b in zip(before, by.parameters(), strict=True))
    assert all(part.grad is None and not part.requires_grad for part in by.parameters())
    assert not any("teacher" in name for name, _ in made.network.named_parameters())


def test_a_student_of_the_teacher_alone_comes_near_it(tmp_path: Path) -> None:
    """The objective falls far below where it began, which its data alone would not make it do."""
    still = ModelConfig(preset="tiny", d_model=16, ffn_dim=24, num_heads=2, dropout=0.0)
    made = distilled(
        tmp_path / "run", distil={**DISTIL, "weight": 1.0, "temperature": 1.0}, model=still, max_steps=120, lr=1e-2
    )
    made.run()
    losses = [row["loss"] for row in rows(tmp_path / "run")]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2, "ema": 0.5, "checkpoint_activations": True}])
def test_resumed_is_uninterrupted(tmp_path: Path, settings: dict[str, Any]) -> None:
    whole = distilled(tmp_path / "whole", max_steps=15, **settings)
    whole.run()
    for end in (7, 12, 15):
        part = distilled(tmp_path / "parts", max_steps=end, **settings)
        part.resume()
        part.run()
    assert same(whole, part)


def test_another_teacher_is_refused(tmp_path: Path) -> None:
    distilled(tmp_path / "run", max_steps=10).run()
    with pytest.raises(ModelError, match="must find its teacher as it was, but the weights in `teacher`") as caught:
        distilled(tmp_path / "run", by=teacher(seed=6)).resume()
    assert "\n" not in str(caught.value)
    plain = make_loop(tmp_path / "plain", max_steps=10)
    plain.run()
    with pytest.raises(ModelError, match="must find its teacher as it was"):
        distilled(tmp_path / "plain").resume()


def test_accumulated_micro_batches_are_one_batch(tmp_path: Path) -> None:
    results = []
    for accumulate in (1, 3):
        made = distilled(tmp_path / str(accumulate), accumulate=accumulate, max_steps=1)
        made.network.double()
        for part in made.network.modules():
            if type(part).__name__ in ("Dropout", "LayerDrop"):
                part.p = 0.0
        stream = made.parts.batches
        parts = [next(stream), next(stream)[:1], next(stream)[:4]]
        queue = [[example for part in parts for example in part]] if accumulate == 1 else parts
        made.parts.batches.__class__ = type(
            "Fixed", (type(stream),), {"__next__": lambda self, queue=queue: queue.pop(0)}
        )
        made.step()
        results.append([parameter.detach().clone() for parameter in made.network.parameters()])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)  # the teacher is in float32


def test_an_ensemble_teaches_the_mean_of_its_probabilities(tmp_path: Path) -> None:
    members = [teacher(seed=1), teacher(seed=2, shape=ModelConfig(preset="tiny", d_model=16, ffn_dim=16, num_heads=2))]
    made = distilled(tmp_path / "run", by=Ensemble(members))
    batch = made.collate(next(made.parts.batches))
    assert made.objective.distillation is not None
    found = made.objective.distillation.criterion(batch)
    each = []
    for member in members:
        memory = member.encode(batch.source, batch.source_tokens)
        hidden, _ = member.decode(batch.target_ids, batch.target_tokens, memory, None)
        each.append(member.logits(hidden[batch.label_mask]).softmax(-1))
    torch.testing.assert_close(found.logits(found.hidden).exp(), sum(each) / 2)
    made.step()
    assert made.progress.step == 1


def test_the_cross_entropy_alone_is_the_plain_criterion() -> None:
    hidden, table, labels, theirs, other = case(20)
    ours = DistilledCrossEntropy(theirs, lambda rows: rows @ other.T, 0.0, 3.0, 0.1)(hidden, table, labels)
    torch.testing.assert_close(ours.objective, CrossEntropy(0.1)(hidden, table, labels).objective)


def test_a_snapshot_holds_nothing_of_the_teacher(tmp_path: Path) -> None:
    one, two = make_loop(tmp_path / "plain", max_steps=10), distilled(tmp_path / "distilled", max_steps=10)
    one.run()
    two.run()
    assert [part.shape for part in weights(one)] == [part.shape for part in weights(two)]
    sizes = [
        sum(file.stat().st_size for file in (tmp_path / name / "snapshots" / "step-10").glob("*.safetensors"))
        for name in ("plain", "distilled")
    ]
    assert sizes[0] == sizes[1]
