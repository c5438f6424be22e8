"""A checkpoint of a family that is not ours, computed by transformers (extra `[hf]`): text, sound or images in, text
out, as a Model.

    model = load_wrapped(Path("led-base"), device=torch.device("cpu"), dtype=torch.float32)
    model.generate(["in 3 hours"], beam_size=4)[0].text

Only data of the folder is read, by the library's own classes: safetensors, JSON, vocabularies; never code, another
folder or the network. Features that the library lacks (constraints, streaming in pieces, maps) raise an error.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from antiphon.config import GenerationConfig
from antiphon.display import panel
from antiphon.errors import ConfigError, DataError, ModelError, one_line
from antiphon.generation.answers import Answers, Generation
from antiphon.generation.hf.network import HFNetwork, read_foreign
from antiphon.generation.hf.readers import HFRow, HFTokenizer
from antiphon.generation.other_names import OtherToolkitNames
from antiphon.generation.scoring import check_pairs
from antiphon.inputs.text import texts_of
from antiphon.settings import override, show

# Ours -> theirs, for settings with the same meaning; the others are mapped below, or refused.
_SAME = {
    "beam_size": "num_beams",
    "n_best": "num_return_sequences",
    "length_penalty": "length_penalty",
    "no_repeat_ngram": "no_repeat_ngram_size",
    "repetition_penalty": "repetition_penalty",
}
_KNOWN = {
    *_SAME,
    "min_new_tokens",
    "max_new_tokens",
    "patience",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "seed",
    "batch_size",
}
_ROWS = 16  # the default number of sources in a batch
_MOST_NEW_TOKENS = 256  # the default limit of an answer to sound or an image


class HFModel(OtherToolkitNames):
    """`generate`, `stream`, `score` and `save` of a Model, computed by the library's network."""

    labels: Sequence[str] = ()
    task = "text"
    label_texts: Mapping[str, str] = {}

    def __init__(self, foreign: HFNetwork) -> None:
        self._foreign, self.network, self.generation = foreign, foreign.network, foreign.search
        self.reader = foreign.reader
        self.tokenizer = self.source_tokenizer = self.target_tokenizer = HFTokenizer(foreign.tokenizer)

    def __repr__(self) -> str:
        numbers = sum(parameter.numel() for parameter in self.network.parameters())
        reads = f"reads {self.reader.reads}, "
        return f"Model({type(self.network).__name__} by transformers, {reads}{numbers:,} parameters)"

    def _repr_html_(self) -> str:
        """The `repr` as HTML; the layers are the library's own."""
        return panel(repr(self))

    def generate(self, texts: object, *, first_row: int = 0, **settings: object) -> Answers:
        """One answer for each text, recording or image, in their order; ConfigError for a setting that the library does
        not support, DataError for an input that is too long or of another kind."""
        config = override(self.generation, settings)
        _check_known(config)
        rows = self.reader.read(texts, "texts", names=first_row > 0)
        for row, source in enumerate(rows):
            self._check_length(source.tokens, f"input {first_row + row + 1}")
        asked = [row for row in range(len(rows)) if not rows[row].empty]
        answers = [Generation(text="", tokens=[], score=0.0, confidence=1.0, finished=True) for _ in rows]
        with torch.random.fork_rng():
            torch.manual_seed(config.seed + first_row)
            for some in _batches(asked, rows, config, alone=self.reader.alone):
                for row, answer in zip(some, self._answers([rows[row] for row in some], config), strict=True):
                    answers[row] = answer
        return Answers(answers)

    def stream(self, text: object, *, first_row: int = 0, **settings: object) -> Iterator[str]:
        """The whole answer, as one piece."""
        return iter([self.generate(text, first_row=first_row, **settings)[0].text])

    def score(self, sources: object, targets: str | Sequence[str], *, overflow: str | None = None) -> list[float]:
        """For each pair the sum of the log-probabilities of the target's tokens and its end, in nats."""
        if overflow not in (None, "error"):
            raise ConfigError(f"`overflow` must be error for a model that transformers computes, but is {overflow}.")
        inputs, outputs = self.reader.read(sources, "sources", names=True), texts_of(targets, "targets")
        check_pairs(inputs, outputs)
        pairs = [(source, self.tokenizer.target(target)) for source, target in zip(inputs, outputs, strict=True)]
        for row, (source, target) in enumerate(pairs):
            self._check_length(source.tokens, f"source {row + 1}")
            self._check_length(len(target), f"target {row + 1}")
        return [self._score(source, target) if source.given and target else 0.0 for source, target in pairs]

    def attention(
        self, source: str, target: str | None = None, *, overflow: str | None = None, prompt: str | None = None
    ) -> NoReturn:
        """Not supported: attention maps are available for our own networks only."""
        raise ModelError("attention maps need a model of our own families, but transformers computes this one.")

    def save(self, folder: str | Path, format: str = "antiphon") -> Path:
        """Write the folder that transformers and `load` read; `format` must be "huggingface"."""
        if format != "huggingface":
            raise ModelError(
                f"`format` must be huggingface for a model that transformers computes, but is {show(format)}."
            )
        self.network.save_pretrained(folder)
        self._foreign.tokenizer.save_pretrained(folder)
        return Path(folder)

    def _check_length(self, tokens: int, what: str) -> None:
        most = self._foreign.most
        if most is not None and tokens > most:
            raise DataError(f"{what} must have at most {most} tokens, but has {tokens}. Shorten it.")

    def _answers(self, rows: Sequence[HFRow], config: GenerationConfig) -> list[Generation]:
        """The answers of a batch of rows, each with its alternatives."""
        found = self._settings(config, max(row.tokens for row in rows))
        try:
            with torch.no_grad():
                made = self.network.generate(**self._placed(self.reader.joined(rows)), **found).tolist()
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            reason = one_line(error)
            raise ModelError(
                f"transformers cannot answer with this model ({type(error).__name__}: {reason:.200}). Try other "
                "settings of the search, or another version of it."
            ) from error
        each = len(made) // len(rows)
        return [self._answer(row, made[each * i : each * (i + 1)]) for i, row in enumerate(rows)]

    def _settings(self, config: GenerationConfig, longest: int) -> dict[str, Any]:
        first = len(self._foreign.special_tokens.first)
        limit = config.max_new_tokens or (2 * longest + 32 if not self.reader.alone else _MOST_NEW_TOKENS)
        if self._foreign.most is not None:
            limit = min(limit, self._foreign.most - 1 - first)
        found = {theirs: getattr(config, ours) for ours, theirs in _SAME.items()}
        found |= {"max_new_tokens": limit + first, "min_new_tokens": config.min_new_tokens + first}
        stops = True if config.patience == 1 else "never"
        found |= {"early_stopping": stops if config.beam_size > 1 else False, "max_length": None, "min_length": None}
        if config.temperature is None:
            return found | {"do_sample": False, "temperature": None, "top_k": None, "top_p": None, "min_p": None}
        sampled = {"temperature": config.temperature, "top_k": config.top_k or 0, "top_p": config.top_p or 1.0}
        return found | sampled | {"do_sample": True, "num_beams": 1, "early_stopping": False, "min_p": config.min_p}

    def _placed(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Arguments of the network on its device, features in its type."""
        device, dtype = self.network.device, self.network.dtype
        return {
            name: value.to(device, dtype if value.is_floating_point() else value.dtype) for name, value in given.items()
        }

    def _answer(self, source: HFRow, rows: Sequence[Sequence[int]]) -> Generation:
        """The first of the hypotheses `rows`, which begin with the start token, with the others as alternatives."""
        end, found = self._foreign.special_tokens.end, []
        for row in rows:
            ids = list(row[1:])
            finished = end in ids
            ids = ids[: ids.index(end) + 1] if finished else ids
            score, count = self._score(source, ids), len(self._foreign.special_tokens.without_first(ids))
            confidence = float(torch.tensor(score / max(count, 1)).exp())
            found.append(
                Generation(self.tokenizer.decode(ids), self.tokenizer.pieces(ids), score, confidence, finished)
            )
        first, *others = found
        return Generation(first.text, first.tokens, first.score, first.confidence, first.finished, others)

    def _score(self, source: HFRow, target: Sequence[int]) -> float:
        """The log-probability of `target`, without a start or a forced first token before it."""
        special = self._foreign.special_tokens
        if len(target) > 1 and target[0] == special.start and special.first != (special.start,):
            # Some tokenizers put the start token before a target.
            target = target[1:]
        device = self.network.device
        ids = torch.tensor([list(target)], device=device)
        begun = torch.tensor([[special.start, *target[:-1]]], device=device)
        with torch.no_grad():
            logits = self.network(
                **self._placed(source.given),
                decoder_input_ids=begun,
                use_cache=False,
            ).logits
        log_p = logits.float().log_softmax(-1).gather(-1, ids[..., None])[0, :, 0]
        return float(log_p[len(target) - len(special.without_first(target)) :].sum())


def load_wrapped(folder: Path, config: Mapping[str, Any], *, device: torch.device, dtype: torch.dtype) -> HFModel:
    """The model in `folder`, whose config.json is `config`, with a warning that transformers computes it; ModelError if
    the folder contains more than data, or the library cannot read it."""
    foreign = read_foreign(folder, config, device=device, dtype=dtype)
    warnings.warn(
        f"`{folder}` is of the family {config['model_type']}, which is not one of ours: transformers computes it. It "
        f"reads {foreign.reader.reads}.",
        stacklevel=3,
    )
    return HFModel(foreign)


def _check_known(config: GenerationConfig) -> None:
    default = GenerationConfig()
    for field in fields(GenerationConfig):
        if field.name not in _KNOWN and getattr(config, field.name) != getattr(default, field.name):
            raise ConfigError(
                f"`{field.name}` must be left out for a model that transformers computes, but is "
                f"{show(getattr(config, field.name))}. It takes {', '.join(sorted(_KNOWN))}."
            )
    if config.patience not in (None, 1):
        raise ConfigError(
            f"`patience` must be 1 or left out for a model that transformers computes, but is {show(config.patience)}."
        )


def _batches(
    asked: Sequence[int], rows: Sequence[HFRow], config: GenerationConfig, *, alone: bool
) -> Iterator[list[int]]:
    """Batches of rows: of equal length if the limit of an answer depends on it, and of one row each if `alone`."""
    lengths = {rows[row].tokens for row in asked} if config.max_new_tokens is None and not alone else {0}
    count = 1 if alone else config.batch_size or _ROWS
    for length in sorted(lengths):
        some = [row for row in asked if length in (0, rows[row].tokens)]
        yield from (some[place : place + count] for place in range(0, len(some), count))
