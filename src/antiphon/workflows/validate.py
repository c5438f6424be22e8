"""The validation of a run: the loss without smoothing and dropout, and metrics of generated answers.

On several ranks, batches and chunks of sources are dealt in rounds: each rank computes one, then the ranks exchange
what they have and whether to stop. No rank waits for another within a chunk, so a long answer cannot make them hang.
Rank 0 measures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from antiphon.batch import Example, collate
from antiphon.config import ValidationConfig
from antiphon.data.batching import length_batches
from antiphon.distributed.world import World, current_world
from antiphon.evaluation.metrics import Metric, measure
from antiphon.evaluation.translation import bleu
from antiphon.generation.attention.maps import entropies
from antiphon.generation.model import Model
from antiphon.models.folders.checkpoint import Parts
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.loss import CrossEntropy
from antiphon.training.loop import Validation
from antiphon.training.reporting.record import Sample

W = TypeVar("W")
R = TypeVar("R")
CHUNK_SOURCES = 256  # sources answered between two checks of the stop signal
ATTENTION_PAIRS = 64  # pairs for the mean attention entropy


@dataclass
class Validate:
    """The validator of a run.

    `examples` are the pairs as ids, for the loss, one for each reference. `pairs` are sources with all their references
    as text, for generated answers. `search` are settings of `generate`. `last_answers` are the answers of the last
    validation; without metrics only those to the first of `pairs`. With several ranks in `world` all of them call it,
    and `stop_requested` is a collective.
    """

    parts: Parts
    examples: list[Example]
    pairs: Sequence[tuple[str, Sequence[str]]]
    settings: ValidationConfig
    metrics: list[Metric]
    batch_tokens: int
    search: Mapping[str, Any] = field(default_factory=dict)
    world: World = field(default_factory=current_world)
    last_answers: list[str] = field(default_factory=list, init=False)

    def __call__(self, network: EncoderDecoder, stop_requested: Callable[[], bool]) -> Validation | None:
        """Validate `network`, which is the one in `parts`; None if `stop_requested` returned true on the way."""
        loss = self.loss(network, stop_requested)
        if loss is None:
            return None
        answers: list[str] | None = []
        if self.metrics or self.settings.samples:
            answers = self.answers(stop_requested)
            if answers is None:
                return None
            self.last_answers = answers
        return self.world.broadcast(self._measured(loss, answers) if self.world.main else None)

    def _measured(self, loss: float, answers: list[str]) -> Validation:
        """The figures of this loss and these answers."""
        figures, samples, lower = {"valid_loss": loss}, [], {"valid_loss"}
        if self.metrics or self.settings.samples:
            asked = self.pairs[: len(answers)]
            found = measure(answers, [row for _, row in asked], self.metrics, [source for source, _ in asked])
            figures |= {name: result.score for name, result in found.items()}
            lower |= {name for name, result in found.items() if result.lower_is_better}
            samples = self.samples(answers)
        if self.settings.attention_entropy:
            figures |= self.entropies()
        chosen = figures[self.chooser]
        return Validation(figures, samples, -chosen if self.chooser in lower else chosen)

    @property
    def chooser(self) -> str:
        """The figure that selects the best model: `keep_best`, else the first metric, else the loss."""
        names, asked = [metric.name for metric in self.metrics], self.settings.keep_best
        if not asked:
            return names[0] if names else "valid_loss"
        if asked in (*names, "valid_loss"):
            return asked
        # A metric's name contains its settings only if the metric is used twice; a recipe may write them or not.
        return next(name for name in names if name.split(":")[0] == asked.split(":")[0])

    @property
    def notes(self) -> tuple[str, ...]:
        """A warning for each BLEU that is not meaningful for these references, whatever the answers."""
        first = [row[0] for _, row in self.pairs]
        bleus = [metric for metric in self.metrics if metric.function is bleu] if first else []
        results = [(metric.name, metric(first, [[text] for text in first])) for metric in bleus]
        return tuple(f"validation.metrics, {name}: {result.note}" for name, result in results if result.note)

    @torch.no_grad()
    def loss(self, network: EncoderDecoder, stop_requested: Callable[[], bool]) -> float | None:
        """The mean negative log-likelihood of a target token in nats, end included, without smoothing and dropout."""
        criterion, special = CrossEntropy(), Model.from_parts(self.parts).special_tokens

        def computed(rows: list[Example]) -> tuple[float, int]:
            batch = collate(rows, pad_id=special.pad, start_id=special.start).to(network.device)
            found = network(batch, criterion)
            return float(found.nll), found.labels

        batches = list(length_batches(self.examples, batch_tokens=self.batch_tokens))
        found = self._dealt(batches, computed, stop_requested)
        if found is None:
            return None
        nll, labels = 0.0, 0
        for one, count in found:  # in order, so that the sum has the same bits for any number of ranks
            nll, labels = nll + one, labels + count
        return nll / labels

    def _dealt(
        self, work: Sequence[W], compute: Callable[[W], R], stop_requested: Callable[[], bool]
    ) -> list[R] | None:
        """`compute` of each item of `work`, in order; each rank computes one in every round. None: stopped."""
        found: list[R] = []
        for first in range(0, len(work), self.world.size):
            if stop_requested():
                return None
            own = first + self.world.rank
            rows = self.world.gather([compute(work[own])] if own < len(work) else [])
            found += [result for row in rows for result in row]
        return found

    def entropies(self) -> dict[str, float]:
        """The mean entropy, in nats, of the attention weights of each role on the first pairs."""
        special = Model.from_parts(self.parts).special_tokens
        rows = length_batches(self.examples[:ATTENTION_PAIRS], batch_tokens=self.batch_tokens)
        network = self.parts.network
        batches = (collate(each, pad_id=special.pad, start_id=special.start).to(network.device) for each in rows)
        return entropies(network, batches)

    def answers(self, stop_requested: Callable[[], bool]) -> list[str] | None:
        """The answers to all sources, or only to the samples if there are no metrics."""
        wanted = [source for source, _ in self.pairs]
        if not self.metrics:
            wanted = wanted[: self.settings.samples]
        # Sorted as in the engine, so that a chunk has sources of similar lengths.
        order = sorted(range(len(wanted)), key=lambda i: len(wanted[i]))
        size = min(CHUNK_SOURCES, max(1, -(-len(order) // self.world.size)))
        chunks = [order[i : i + size] for i in range(0, len(order), size)]
        model, answers = Model.from_parts(self.parts), [""] * len(wanted)

        def computed(chunk: list[int]) -> list[str]:
            return [answer.text for answer in model.generate([wanted[i] for i in chunk], **self.search)]

        found = self._dealt(chunks, computed, stop_requested)
        if found is None:
            return None
        for chunk, texts in zip(chunks, found, strict=True):
            for place, text in zip(chunk, texts, strict=True):
                answers[place] = text
        return answers

    def samples(self, answers: list[str]) -> list[Sample]:
        """The first pairs with their answers; the same pairs at each validation."""
        return [
            Sample(source, references[0], answer)
            for (source, references), answer in zip(self.pairs[: self.settings.samples], answers, strict=False)
        ]
