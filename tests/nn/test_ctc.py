"""The CTC loss and alignments against PyTorch's CTCLoss and against all paths, which Python enumerates."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch
from search.test_ctc import random_frames, spelled, texts_of
from torch import Tensor, nn
from torch.nn import functional

from antiphon.batch import Example, Tokens, collate
from antiphon.config import AttentionConfig, ModelConfig
from antiphon.errors import ConfigError
from antiphon.models.build import build_network
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.ctc import CTCHead, JointCTC, align, best_path, ctc_sum, needed_frames
from antiphon.nn.loss import CrossEntropy
from antiphon.training.objectives.r_drop import PairedCrossEntropy, twice

ROWS = [Example([5, 6, 7, 8, 9, 2], [5, 5, 6, 2], 0), Example([5, 6, 7, 2], [9, 2], 1), Example([7, 2], [2], 2)]
END = 2


def network(**settings: object) -> EncoderDecoder:
    model = ModelConfig("tiny", d_model=16, ffn_dim=24, num_heads=2, dropout=0.0, ctc=True, **settings)  # type: ignore[arg-type]
    return build_network(model, AttentionConfig(), source_vocab=12, target_vocab=12, shared=True, seed=4).double()


def by_hand(made: EncoderDecoder, *, weight: float, smoothing: float) -> Tensor:
    """The joint loss of ROWS by torch.nn.CTCLoss and cross_entropy, row by row without padding."""
    total = torch.zeros((), dtype=torch.double)
    for example in ROWS:
        one = collate([example], pad_id=0, start_id=1)
        memory = made.encode(one.source, one.source_tokens)
        hidden, _ = made.decode(one.target_ids, one.target_tokens, memory, None)
        entropy = functional.cross_entropy(
            made.logits(hidden)[0], one.labels[0], label_smoothing=smoothing, reduction="sum"
        )
        assert made.ctc is not None
        log_p = functional.linear(memory.hidden[0], made.ctc.linear.weight, made.ctc.linear.bias).log_softmax(-1)
        text = torch.tensor([id for id in example.target if id != END], dtype=torch.long)
        lengths = torch.tensor(len(log_p)), torch.tensor(len(text))
        loss = nn.CTCLoss(blank=12, reduction="sum")(log_p[:, None], text[None], lengths[0][None], lengths[1][None])
        total = total + (1 - weight) * entropy + weight * loss
    return total


@pytest.mark.parametrize("weight", [0.3, 0.8])
def test_the_joint_loss_and_its_gradient_are_those_by_hand(weight: float) -> None:
    made = network()
    batch = collate(ROWS, pad_id=0, start_id=1)
    found = made(batch, JointCTC(CrossEntropy(0.1), weight=weight, left_out=[END]))
    wanted = by_hand(made, weight=weight, smoothing=0.1)
    torch.testing.assert_close(found.objective, wanted, rtol=1e-10, atol=1e-10)
    weights = list(made.parameters())
    for one, other in zip(*(torch.autograd.grad(loss, weights) for loss in (found.objective, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)
    alone = made(batch, CrossEntropy(0.1))
    assert found.nll == alone.nll and found.labels == alone.labels == 7


def test_two_passes_count_once() -> None:
    made, batch = network(), collate(ROWS, pad_id=0, start_id=1)
    one = made(batch, JointCTC(CrossEntropy(), weight=0.4, left_out=[END]))
    two = made(twice(batch), JointCTC(PairedCrossEntropy(0.0, 1.0), weight=0.4, left_out=[END]))
    torch.testing.assert_close(one.objective, two.objective)


@pytest.mark.parametrize("seed", range(3))
def test_the_sum_is_that_over_all_paths(seed: int) -> None:
    frames = random_frames(seed, [5, 3, 4, 2], 3)
    targets, lengths = torch.tensor([[0, 0, 2], [1, 0, 0], [2, 0, 0], [0, 0, 0]]), torch.tensor([3, 1, 0, 2])
    wanted = 0.0
    for row, length, target, count in zip(frames.log_p, frames.lengths, targets, lengths, strict=True):
        p = texts_of(row[:length]).get(tuple(target[:count].tolist()), 0.0)
        wanted -= math.log(p) if p else 0.0  # the last row has two frames, but needs three
    assert float(ctc_sum(frames, targets, lengths)) == pytest.approx(wanted, abs=1e-9)
    assert needed_frames(targets, lengths).tolist() == [4, 1, 0, 3]
    nothing = ctc_sum(frames, targets[:, :0], torch.zeros(4, dtype=torch.long))
    blanks = sum(float(row[:length, -1].sum()) for row, length in zip(frames.log_p, frames.lengths, strict=True))
    assert float(nothing) == pytest.approx(-blanks)


def test_padding_may_be_anywhere() -> None:
    head, hidden = CTCHead(8, 5).double(), torch.randn(2, 4, 8, dtype=torch.double)
    right = head(hidden, Tokens(torch.tensor([[0, 1, 2, -1], [0, 1, 2, 3]])))
    left = head(hidden.roll(1, 1), Tokens(torch.tensor([[-1, 0, 1, 2], [3, 0, 1, 2]])))
    assert torch.equal(left.log_p[0, :3], right.log_p[0, :3]) and left.lengths.tolist() == [3, 4]


def test_in_bfloat16_the_loss_is_a_float32() -> None:
    made, batch = network().float(), collate(ROWS, pad_id=0, start_id=1)
    criterion = JointCTC(CrossEntropy(), weight=0.5, left_out=[END])
    exact = made(batch, criterion).objective
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = made(batch, criterion).objective
    found.backward()
    assert found.dtype == torch.float32 and float(found.detach() / exact.detach()) == pytest.approx(1, abs=0.02)
    half = network().bfloat16()
    memory = half.encode(batch.source, batch.source_tokens)
    assert half.frames(memory).log_p.dtype == torch.float32


def test_targets_without_enough_frames_are_left_out_and_named() -> None:
    made = network()
    long = [*ROWS[:2], Example([7, 2], [4, 5, 6, 2], 2)]
    criterion = JointCTC(CrossEntropy(), weight=1.0, left_out=[END], warns=True)
    with pytest.warns(UserWarning, match=r"^1 of the 3 targets of the first batch have more tokens .* smaller stride"):
        found = made(collate(long, pad_id=0, start_id=1), criterion)
    criterion.warns = False
    without = made(collate(long[:2], pad_id=0, start_id=1), criterion)
    torch.testing.assert_close(found.objective, without.objective)
    found.objective.backward()
    assert all(torch.isfinite(weight.grad).all() for weight in made.parameters() if weight.grad is not None)


def test_a_network_without_the_head_is_named() -> None:
    made = network()
    made.ctc = None
    with pytest.raises(ConfigError, match="CTC needs a network with a head for it"):
        made(collate(ROWS, pad_id=0, start_id=1), JointCTC(CrossEntropy(), weight=0.5))


@pytest.mark.parametrize("seed", range(6))
def test_an_alignment_is_the_best_of_all_paths(seed: int) -> None:
    draw, blank = random.Random(seed), 3
    log_p = random_frames(seed, [5], blank).log_p[0]
    labels = [draw.randrange(blank) for _ in range(seed % 4)]
    best, path = max(
        (sum(float(row[id]) for row, id in zip(log_p, path, strict=True)), path)
        for path in itertools.product(range(blank + 1), repeat=5)
        if spelled(path, blank) == tuple(labels)
    )
    found = align(log_p, labels)
    assert found is not None and found.score == pytest.approx(best)
    runs, frame = [], 0
    for id, group in itertools.groupby(path):
        size = len(list(group))
        runs += [(frame, frame + size)] if id != blank else []
        frame += size
    assert list(zip(found.starts, found.ends, strict=True)) == runs
    means = [float(log_p[start:end, id].mean()) for (start, end), id in zip(runs, labels, strict=True)]
    assert found.log_p == pytest.approx(means)


def test_alignments_at_the_edges() -> None:
    log_p = random_frames(1, [2], 3).log_p[0]
    assert align(log_p, [1, 1]) is None and align(log_p, [0, 1, 2]) is None
    assert align(log_p, [1, 2]) is not None and align(log_p[:0], []) is not None and align(log_p[:0], [1]) is None
    ids = torch.tensor([3, 1, 1, 3, 1, 2, 2, 3])
    assert best_path(functional.one_hot(ids, 4)) == [1, 1, 2]
