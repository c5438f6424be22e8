"""The validation of a run: the loss without smoothing and dropout, and metrics of generated answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from antiphon.batch import Example, collate
from antiphon.config import ValidationConfig
from antiphon.data.batching import length_batches
from antiphon.evaluation.metrics import Metric, measure
from antiphon.evaluation.translation import bleu
from antiphon.generation.attention.maps import entropies
from antiphon.generation.model import Model
from antiphon.models.folders.checkpoint import Parts
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.loss import CrossEntropy
from antiphon.training.loop import Validation
from antiphon.training.reporting.record import Sample

CHUNK_SOURCES = 256  # sources answered between two checks of the stop signal
ATTENTION_PAIRS = 64  # pairs for the mean attention entropy


@dataclass
class Validate:
    """The validator of a run.

    `examples` are the pairs as ids, for the loss, one for each reference. `pairs` are sources with all their references
    as text, for generated answers. `search` are settings of `generate`. `last_answers` are the answers of the last
    validation; without metrics only those to the first of `pairs`.
    """

    parts: Parts
    examples: list[Example]
    pairs: Sequence[tuple[str, Sequence[str]]]
    settings: ValidationConfig
    metrics: list[Metric]
    batch_tokens: int
    search: Mapping[str, Any] = field(default_factory=dict)
    last_answers: list[str] = field(default_factory=list, init=False)

    def __call__(self, network: EncoderDecoder, stop_requested: Callable[[], bool]) -> Validation | None:
        """Validate `network`, which is the one in `parts`; None if `stop_requested` returned true on the way."""
        loss = self.loss(network, stop_requested)
        if loss is None:
            return None
        figures, samples, lower = {"valid_loss": loss}, [], {"valid_loss"}
        if self.metrics or self.settings.samples:
            answers = self.answers(stop_requested)
            if answers is None:
                return None
            self.last_answers = answers
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
        criterion, nll, labels = CrossEntropy(), 0.0, 0
        special = Model.from_parts(self.parts).special_tokens
        for rows in length_batches(self.examples, batch_tokens=self.batch_tokens):
            if stop_requested():
                return None
            found = network(collate(rows, pad_id=special.pad, start_id=special.start).to(network.device), criterion)
            nll, labels = nll + float(found.nll), labels + found.labels
        return nll / labels

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
        model, answers = Model.from_parts(self.parts), [""] * len(wanted)
        for chunk in (order[i : i + CHUNK_SOURCES] for i in range(0, len(order), CHUNK_SOURCES)):
            if stop_requested():
                return None
            found = model.generate([wanted[i] for i in chunk], **self.search)
            for place, answer in zip(chunk, found, strict=True):
                answers[place] = answer.text
        return answers

    def samples(self, answers: list[str]) -> list[Sample]:
        """The first pairs with their answers; the same pairs at each validation."""
        return [
            Sample(source, references[0], answer)
            for (source, references), answer in zip(self.pairs[: self.settings.samples], answers, strict=False)
        ]
