"""One source and its answer, made ready to explain: ids, tokens, the words of the answer, and their scores.

    pair = ExplainedPair(model, "in 3 hours", None)
    pair.units                              # [AnswerUnit('in', (0,)), AnswerUnit('3', (1,)), ...]
    pair.scores_without(~pair.removable[None])      # (1, U): the scores if every token of the source is deleted

The score of a unit is the sum of the log-probabilities of its tokens, in nats, with the answer before them given to the
decoder (teacher forcing). For a classification there is one unit, the label, and its score is the log-probability of
the label among all labels. Shapes: S source positions, T target positions, U units, B rows, D features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.errors import ConfigError, ModelError
from antiphon.generation.attention.of_texts import ids_of_pair
from antiphon.generation.attention.token_spans import token_spans
from antiphon.generation.languages import answer_ids
from antiphon.generation.model import Model
from antiphon.generation.requests import with_limits
from antiphon.generation.translator import Translator
from antiphon.models.front import InputEmbedding
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.mixers import Memory
from antiphon.runtime.inference import as_rows, evaluating, log_probabilities
from antiphon.settings import override, show
from antiphon.words import joins

UNITS = ("words", "tokens")
MAX_BATCH_TOKENS = 4096  # source and target tokens of one forward pass; a gradient stores all activations of it


class AnswerUnit(NamedTuple):
    """A word or token of the answer, with the places of its tokens in the target."""

    text: str
    places: tuple[int, ...]


class ExplainedPair:
    """A source and its answer for explanations; `target` None: the model's own answer, by the settings `search`.

    `units`: whether the answer is cut into words or tokens. ModelError, which names what is missing, for a model of
    speech, an ensemble, and one that transformers computes; DataError for an empty or too long text.
    """

    def __init__(
        self, model: Translator, source: str, target: str | None, *, units: str = "words", **search: object
    ) -> None:
        self.model = checked_model(model)
        if units not in UNITS:
            raise ConfigError(f"`units` must be words or tokens, but is {show(units)}.")
        config = with_limits(override(self.model.generation, search), None, None)
        ids = ids_of_pair(self.model, source, target, config, what="an explanation needs")
        self.source, self.window = str(source), ids.window
        self.source_ids, self.network = ids.source, self.model.network
        self.target_ids = self.model.special_tokens.with_first(ids.target)
        left_out = self.model.source_tokenizer.vocabulary.specials.control - {self.model.source_tokenizer.unk_id}
        self.source_tokens = self.model.source_tokenizer.pieces(self.source_ids, specials=True)
        self.removable = torch.tensor([id not in left_out for id in self.source_ids])
        self.answer = self.model.target_tokenizer.decode(self.target_ids)
        self.units = _units(self.model, self.target_ids, self.answer, units=units)
        self._labels = self._label_rows() if self.model.labels else []
        if self._labels:
            self.units = [
                AnswerUnit(self.answer, self.units[0].places + tuple(p for u in self.units[1:] for p in u[1]))
            ]
            self._label = self.model.labels.index(self.answer)

    @property
    def is_label(self) -> bool:
        """Whether the answer is the label of a classification."""
        return bool(self._labels)

    @property
    def row_tokens(self) -> int:
        """The tokens of a row of a batch: source, and target or all labels."""
        targets = sum(map(len, self._labels)) if self._labels else len(self.target_ids)
        return len(self.source_ids) + targets

    def encode(self, ids: Tensor, tokens: Tokens) -> Memory:
        """Source ids (B, S) to the memory."""
        return self.network.encode(ids, tokens, window=self.window)

    def scores(self, memory: Memory) -> Tensor:
        """The scores (B, U) of the units for the rows of `memory`, differentiable, in float32 or wider."""
        if self._labels:
            return self._label_scores(memory)
        rows, device = memory.hidden.shape[0], self.network.device
        labels = torch.tensor(self.target_ids, device=device)
        log_p = self._log_p(memory, labels[None].expand(rows, -1), [place for unit in self.units for place in unit[1]])
        sizes = [len(unit.places) for unit in self.units]
        return torch.stack([part.sum(1) for part in log_p.split(sizes, 1)], 1)

    def scores_without(self, kept: Tensor) -> Tensor:
        """The scores (B, U), float64 on the processor, of sources without some tokens: `kept` (B, S), bool, has the
        tokens that remain. Special tokens always remain."""
        kept = kept.cpu() | ~self.removable
        lengths = kept.sum(1)
        found = torch.empty(kept.shape[0], len(self.units), dtype=torch.float64)
        with evaluating(self.network):
            for rows in self._batches(lengths):
                ids = [
                    [id for id, stays in zip(self.source_ids, kept[row].tolist(), strict=True) if stays] for row in rows
                ]
                source, tokens = as_rows(ids, self.network.device)
                found[rows] = self.scores(self.encode(source, tokens)).double().cpu()
        return found

    def _batches(self, lengths: Tensor) -> Iterator[list[int]]:
        """Rows of equal length, as many as one forward pass takes: without padding their scores do not depend on the
        others."""
        most = max(1, MAX_BATCH_TOKENS // self.row_tokens)
        for length in lengths.unique().tolist():
            rows = (lengths == length).nonzero()[:, 0].tolist()
            yield from (rows[first : first + most] for first in range(0, len(rows), most))

    def _log_p(self, memory: Memory, labels: Tensor, places: Sequence[int]) -> Tensor:
        """The log-probabilities (B, P) of the labels (B, T) at `places`, each row after its own labels."""
        start = labels.new_full((labels.shape[0], 1), self.model.special_tokens.start)
        tokens = Tokens(torch.arange(labels.shape[1], device=labels.device)[None])
        hidden, _ = self.network.decode(torch.cat([start, labels[:, :-1]], 1), tokens, memory, None)
        log_p = log_probabilities(self.network, hidden[:, places])
        return log_p.gather(-1, labels[:, places, None])[..., 0]

    def _label_rows(self) -> list[list[int]]:
        return answer_ids(self.model.labels, self.model.target_tokenizer, self.model.special_tokens)

    def _label_scores(self, memory: Memory) -> Tensor:
        """The log-probability (B, 1) of the answer among all labels."""
        rows, width = memory.hidden.shape[0], len(self._labels)
        labels, tokens = as_rows(self._labels, self.network.device)
        each = memory.select(torch.arange(rows, device=labels.device).repeat_interleave(width))
        first = len(self.model.special_tokens.first)
        log_p = self._log_p(each, labels.repeat(rows, 1), range(first, labels.shape[1])).view(rows, width, -1)
        valid = tokens.valid.expand(width, -1)[:, first:]
        return log_p.masked_fill(~valid, 0).sum(2).log_softmax(1)[:, self._label, None]


def checked_model(model: Translator) -> Model:
    """`model`, if its answers can be explained; ModelError, which says why, if not."""
    if not isinstance(model, Model):
        raise ModelError(
            f"an explanation needs a network of this toolkit, but this is a {type(model).__name__}. Load a model "
            "of our own families."
        )
    if not model.input_kind.has_tokens:
        raise ModelError(
            "an explanation needs sources of tokens, but this model reads images or sound. Load a model of text."
        )
    network = model.network
    if isinstance(network, EncoderDecoder) and not isinstance(network.source, InputEmbedding):
        raise ModelError(
            f"an explanation needs embeddings of tokens, but the source has a {type(network.source).__name__}."
        )
    return model


def _units(model: Model, target: Sequence[int], answer: str, *, units: str) -> list[AnswerUnit]:
    """The words or tokens of an answer. A token of several words belongs to the first; special tokens are left out."""
    tokenizer = model.target_tokenizer
    if units == "tokens":
        pieces, seen = tokenizer.pieces(target, specials=True), set(tokenizer.visible(target))
        return [AnswerUnit(pieces[place], (place,)) for place, id in enumerate(target) if id in seen]
    words = word_spans(answer)
    places: dict[int, list[int]] = {}
    for place, span in enumerate(token_spans(tokenizer, target, answer)):
        word = None if span is None else next((i for i, (_, end) in enumerate(words) if end >= span[1]), None)
        if word is not None:
            places.setdefault(word, []).append(place)
    found = [AnswerUnit(answer[slice(*words[word])], tuple(own)) for word, own in sorted(places.items())]
    return found or [AnswerUnit("(empty)", tuple(range(len(target))))]


def word_spans(text: str) -> list[tuple[int, int]]:
    """[start, end) of each word, and of each other character but white space; combining marks belong to their word.

    >>> word_spans("a t͡ʃ, 日本")
    [(0, 1), (2, 5), (5, 6), (7, 8), (8, 9)]
    """
    found: list[tuple[int, int]] = []
    inside = False
    for place, char in enumerate(text):
        if joins(char):
            if inside:
                found[-1] = (found[-1][0], place + 1)
            else:
                found.append((place, place + 1))
        elif not char.isspace():
            found.append((place, place + 1))
        inside = joins(char)
    return found
