"""An ensemble: the probability of the next token is the mean of the members' probabilities, not of their logarithms.

    network = Ensemble([first, second])         # a `Seq2Seq`: for every search, for streams, scores and labels

The members' hidden vectors are concatenated, (..., D1 + D2), and `logits` splits them. The members read the same source
ids and score the same target ids. Mean of probabilities: Sutskever et al. 2014, section 3.6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from antiphon.batch import Batch, Tokens
from antiphon.errors import ModelError
from antiphon.models.folders.checkpoint import Parts
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.mixers import Memory
from antiphon.nn.state import DecoderState
from antiphon.settings import show
from antiphon.text import Tokenizer


class EnsembleMemory(Memory):
    """The members' memories; their rows are the same sources."""

    def __init__(self, parts: Sequence[Memory]) -> None:
        super().__init__(parts[0].hidden, parts[0].tokens)
        self.parts = list(parts)

    def select(self, rows: Tensor) -> EnsembleMemory:
        return EnsembleMemory([part.select(rows) for part in self.parts])

    def padded(self, length: int) -> EnsembleMemory:
        return EnsembleMemory([part.padded(length) for part in self.parts])

    def with_rows_of(self, others: Sequence[Memory]) -> EnsembleMemory:
        pairs = zip(*(other.parts for other in others if isinstance(other, EnsembleMemory)), strict=True)
        return EnsembleMemory([part.with_rows_of(own) for part, own in zip(self.parts, pairs, strict=True)])

    def with_own_positions(self) -> EnsembleMemory:
        return EnsembleMemory([part.with_own_positions() for part in self.parts])


class EnsembleState(DecoderState):
    """The members' states, reordered together; `layers` are the layers of all members."""

    def __init__(self, parts: Sequence[DecoderState]) -> None:
        self.parts, self.width = list(parts), parts[0].width
        self.layers = [pair for part in parts for pair in part.layers]

    @property
    def leaves(self) -> list[Tensor]:
        return [leaf for part in self.parts for leaf in part.leaves]

    def expand_rows(self, sources: int) -> None:
        for part in self.parts:
            part.expand_rows(sources)

    def enlarge(self, sources: int) -> None:
        for part in self.parts:
            part.enlarge(sources)

    def filled(self, count: int) -> None:
        for part in self.parts:
            part.filled(count)

    def reorder(self, index: Tensor) -> None:
        for part in self.parts:
            part.reorder(index)

    def move(self, to: Tensor, of: Tensor) -> None:
        for part in self.parts:
            part.move(to, of)

    def drop(self, keep: Tensor) -> None:
        for part in self.parts:
            part.drop(keep)

    def copy_from(self, other: DecoderState) -> None:
        assert isinstance(other, EnsembleState)
        for mine, theirs in zip(self.parts, other.parts, strict=True):
            mine.copy_from(theirs)

    def part(self, sources: slice) -> EnsembleState:
        return EnsembleState([part.part(sources) for part in self.parts])

    def write(self, slots: Tensor, other: DecoderState) -> None:
        assert isinstance(other, EnsembleState)
        for mine, theirs in zip(self.parts, other.parts, strict=True):
            mine.write(slots, theirs)


class Ensemble(nn.Module):
    """Several networks as one `Seq2Seq`; it cannot be trained."""

    frozen = False  # as in `EncoderDecoder`

    def __init__(self, members: Sequence[EncoderDecoder]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.max_length = min(member.max_length for member in members)
        self.eval()  # with its members
        self.widths = [member.output.weight.shape[1] for member in members]

    @property
    def parts(self) -> list[EncoderDecoder]:
        """The members, with their type, which a ModuleList does not have."""
        return list(self.members)  # type: ignore[arg-type]

    @property
    def vocab_size(self) -> int:
        return self.parts[0].vocab_size

    @property
    def device(self) -> torch.device:
        return self.parts[0].device

    def train(self, mode: bool = True) -> Self:
        self.frozen = self.frozen and not mode
        return super().train(mode)

    def encode(self, source: Tensor, tokens: Tokens, *, window: int | None = None) -> Memory:
        window = min(window or self.max_length, self.max_length)  # one for all, so that their positions agree
        return EnsembleMemory([part.encode(source, tokens, window=window) for part in self.parts])

    def begin(self, memory: Memory, *, width: int, capacity: int) -> DecoderState:
        assert isinstance(memory, EnsembleMemory)
        pairs = zip(self.parts, memory.parts, strict=True)
        return EnsembleState([part.begin(own, width=width, capacity=capacity) for part, own in pairs])

    def decode(
        self, target_ids: Tensor, tokens: Tokens, memory: Memory, state: DecoderState | None = None
    ) -> tuple[Tensor, DecoderState | None]:
        assert isinstance(memory, EnsembleMemory) and (state is None or isinstance(state, EnsembleState))
        states = [None] * len(self.parts) if state is None else state.parts
        members = zip(self.parts, memory.parts, states, strict=True)
        return torch.cat([part.decode(target_ids, tokens, own, past)[0] for part, own, past in members], -1), state

    def logits(self, hidden: Tensor | Batch) -> Tensor:
        """The logarithms of the mean probabilities (..., V), of hidden vectors (..., D1 + D2) or of a whole batch."""
        if isinstance(hidden, Batch):
            memory = self.encode(hidden.source, hidden.source_tokens)
            hidden = self.decode(hidden.target_ids, hidden.target_tokens, memory, None)[0]
        each = []
        for part, own in zip(self.parts, hidden.split(self.widths, -1), strict=True):
            logits = part.logits(own.to(part.output.weight.dtype))
            each.append((logits if logits.dtype == torch.float64 else logits.float()).log_softmax(-1))
        return torch.stack(each).logsumexp(0) - math.log(len(each))


def join_parts(members: Sequence[tuple[str, Parts]]) -> Parts:
    """The parts of an ensemble, from its members with their folders; all but the network is the first member's.

    ModelError if a tokenizer or the template of the training data differs, naming both folders.
    """
    (name, first), *others = members
    for other, found in others:
        for side in ("source", "target"):
            mine, theirs = (getattr(part, f"{side}_tokenizer") for part in (first, found))
            if not same_tokenizer(mine, theirs):
                raise ModelError(
                    f"an ensemble needs one {side} tokenizer, but those of `{name}` and `{other}` differ. "
                    "Train its members with `tokenizer` set to the same file."
                )
        if first.template != found.template:
            raise ModelError(
                f"an ensemble needs one template of the training data, but that of `{name}` is {show(first.template)} "
                f"and that of `{other}` {show(found.template)}. Train its members on the same template."
            )
    network, limit = Ensemble([part.network for _, part in members]), first.generation.max_source_tokens
    if limit is not None and limit > network.max_length:
        first = replace(first, generation=replace(first.generation, max_source_tokens=None))
    return replace(first, network=network)


def check_one(parts: Parts, folder: str | Path) -> None:
    """ModelError if the network is an ensemble, which cannot be saved."""
    if isinstance(parts.network, Ensemble):
        raise ModelError(f"`{folder}` must be for one model, but this is an ensemble. Save its members.")


def same_tokenizer(mine: Tokenizer, theirs: Tokenizer) -> bool:
    """Whether both map every text to the same ids."""
    return mine.ends == theirs.ends and mine.vocabulary.files == theirs.vocabulary.files
