"""Connectionist temporal classification (CTC, Graves et al. 2006) beside a decoder: the head on the encoder, its joint
loss with the decoder's, and alignments.

    network = build_network(replace(model, ctc=True), ...)
    loss = network(batch, JointCTC(CrossEntropy(), weight=0.3, left_out={2}))

Each frame of the encoder's output is a label or a blank; equal labels in a row are one, and blanks are dropped, so many
paths spell the same target, whose probability is the sum over them. The order of a target is that of its frames, which
holds for speech and for lines of text, not for translation between languages of different word order. The weighted sum
of both losses: Watanabe et al. 2017, "Hybrid CTC/Attention Architecture for End-to-End Speech Recognition".

Shapes: N rows, F frames, D features, V ids of the target; the blank is id V. T labels.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.batch import Batch, Tokens
from antiphon.nn.loss import FusedCriterion, LossSum


class CTCFrames(NamedTuple):
    """The log-probabilities (N, F, V + 1) of each frame, float32 or wider, and the number of frames (N,) of each row:
    the frames behind are padding."""

    log_p: Tensor
    lengths: Tensor


class CTCHead(nn.Module):
    """A linear layer from the encoder's output to the target's ids and a blank, the last id.

    It has one bias vector, as the networks of published hybrids do.
    """

    def __init__(self, d_model: int, vocab_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(d_model, vocab_size + 1)
        self.blank = vocab_size

    def forward(self, hidden: Tensor, tokens: Tokens) -> CTCFrames:
        """The frames of the encoder's output `hidden` (N, F, D), in the order of their positions."""
        valid = tokens.valid.expand(hidden.shape[0], -1)
        if not tokens.in_order:  # padding may be anywhere
            order = (~valid).to(torch.uint8).sort(dim=1, stable=True).indices
            hidden = hidden.gather(1, order[..., None].expand_as(hidden))
        logits = self.linear(hidden)
        wide = torch.promote_types(logits.dtype, torch.float32)
        return CTCFrames(logits.to(wide).log_softmax(-1), valid.sum(1))


class JointCTC(FusedCriterion):
    """(1 - weight) · criterion + weight · CTC, both sums over the batch; `nll` and `labels` are those of `criterion`.

    `left_out` are ids that are no part of a CTC target, such as the end token. A target that needs more frames than its
    source has (a frame for each label, and a blank between equal ones) is left out of the CTC part; `warns`: say so.
    """

    def __init__(
        self, criterion: FusedCriterion, *, weight: float, left_out: Collection[int] = (), warns: bool = False
    ) -> None:
        self.criterion, self.weight, self.left_out, self.warns = criterion, weight, tuple(left_out), warns

    def join(self, found: LossSum, frames: CTCFrames, batch: Batch) -> LossSum:
        """The joint loss of `batch`, from that of the decoder and the frames of the CTC head."""
        targets, lengths = self.targets(batch)
        if self.warns:
            warn_of_long_targets(frames, targets, lengths)
        # R-Drop has each row twice, and counts its labels once.
        share = found.labels / max(1, batch.label_places.numel())
        ctc = share * ctc_sum(frames, targets, lengths)
        return LossSum((1 - self.weight) * found.objective + self.weight * ctc, found.nll, found.labels)

    def targets(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The CTC targets (N, T) of a batch, each in front of its row, and their lengths (N,)."""
        chosen = batch.label_mask
        for id in self.left_out:
            chosen = chosen & (batch.labels != id)
        order = (~chosen).to(torch.uint8).sort(dim=1, stable=True).indices
        return batch.labels.gather(1, order), chosen.sum(1)


def ctc_sum(frames: CTCFrames, targets: Tensor, lengths: Tensor) -> Tensor:
    """The sum over rows of -log p of `targets` (N, T), of which the first `lengths` (N,) count; 0 for those of a row
    with too few frames. (Graves et al. 2006, section 4.1.)"""
    log_p = frames.log_p
    device = torch.device("cpu") if log_p.device.type == "mps" else log_p.device  # PyTorch has none for Apple's GPUs
    blank, width = log_p.shape[2] - 1, max(1, targets.shape[1])
    targets = functional.pad(targets, (0, width - targets.shape[1]))  # an empty table is refused
    with torch.autocast(device.type, enabled=False):
        return functional.ctc_loss(
            log_p.transpose(0, 1).to(device),
            targets.to(device),
            frames.lengths.to(device),
            lengths.to(device),
            blank=blank,
            reduction="sum",
            zero_infinity=True,
        ).to(log_p.device)


def needed_frames(targets: Tensor, lengths: Tensor) -> Tensor:
    """The least number of frames (N,) that spell `targets` (N, T): one a label, and a blank between equal ones."""
    counted = torch.arange(1, targets.shape[1], device=targets.device) < lengths[:, None]
    return lengths + ((targets[:, 1:] == targets[:, :-1]) & counted).sum(1)


def warn_of_long_targets(frames: CTCFrames, targets: Tensor, lengths: Tensor) -> None:
    """Warn if targets have more labels than their sources have frames."""
    long = int((needed_frames(targets, lengths) > frames.lengths).sum())
    if long:
        warnings.warn(
            f"{long} of the {len(lengths)} targets of the first batch have more tokens than their source has frames, "
            "so the CTC loss leaves them out. Take longer tokens, or a smaller stride of the source's front.",
            stacklevel=2,
        )


class CTCPath(NamedTuple):
    """The most probable path of a target through the frames of one source.

    `starts` and `ends` (one a label): its frames are from `starts` up to, without, `ends`. `log_p`: the mean
    log-probability of each label over its frames. `score`: that of the whole path, blanks included.
    """

    starts: list[int]
    ends: list[int]
    log_p: list[float]
    score: float


def align(log_p: Tensor, labels: list[int]) -> CTCPath | None:
    """The most probable path (Viterbi) of `labels` through log_p (F, V + 1); None if there are too few frames."""
    frames, blank, count = log_p.shape[0], log_p.shape[1] - 1, len(labels)
    states = torch.full((2 * count + 1,), blank, device=log_p.device)  # blanks between, before and behind the labels
    states[1::2] = torch.tensor(labels, dtype=torch.long, device=log_p.device)
    emitted = log_p.index_select(1, states).double().cpu()
    states = states.cpu()
    skips = torch.zeros(len(states), dtype=torch.bool)  # whether the blank before a label may be left out
    skips[3::2] = states[3::2] != states[1:-2:2]
    best = torch.full((len(states),), -torch.inf, dtype=torch.double)
    best[:2] = emitted[0, :2] if frames else -torch.inf
    steps = []
    for frame in range(1, frames):
        one, two = functional.pad(best, (2, 0), value=-torch.inf).unfold(0, len(states), 1)[[1, 0]]
        ways = torch.stack([best, one, two.masked_fill(~skips, -torch.inf)])
        value, step = ways.max(0)
        best = value + emitted[frame]
        steps.append(step)
    if frames == 0:
        return CTCPath([], [], [], 0.0) if not labels else None
    place = max(range(max(0, len(states) - 2), len(states)), key=lambda state: float(best[state]))
    score = float(best[place])
    if score == -torch.inf:
        return None
    path = [place]
    for step in reversed(steps):
        path.append(path[-1] - int(step[path[-1]]))
    path.reverse()
    starts, ends, means = [], [], []
    for state in range(1, len(states), 2):
        start, end = path.index(state), frames - path[::-1].index(state)
        starts.append(start)
        ends.append(end)
        means.append(float(emitted[start:end, state].mean()))
    return CTCPath(starts, ends, means, score)


def best_path(log_p: Tensor) -> list[int]:
    """The labels of the most probable id of each frame of log_p (F, V + 1): equal ones in a row are one, without
    blanks."""
    ids = log_p.argmax(-1).unique_consecutive().tolist()
    return [id for id in ids if id != log_p.shape[1] - 1]
