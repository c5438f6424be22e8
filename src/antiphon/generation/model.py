"""The model that a user holds: text in, text out.

    model = load("runs/demo")
    model.generate(["in 3 hours"], beam_size=4)[0].text      # 'in 3 Stunden'
    for piece in model.stream("in 3 hours"): ...             # pieces that are never taken back
    model.score(["in 3 hours"], ["in 3 Stunden"])            # [-0.02]
    model.attention("in 3 hours").cross                      # (layer, head, target position, source position)

Search settings are keyword arguments; those not given come from the model's `generation.json`. An empty text, or one of
nothing but white space, has an empty answer.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from torch import nn

from antiphon.config import GenerationConfig
from antiphon.errors import ModelError
from antiphon.generation.answering import answers_of, pieces_of
from antiphon.generation.answers import Answers
from antiphon.generation.assemble import assemble
from antiphon.generation.attention.ctc_alignment import CTCAlignment, ctc_alignment_of
from antiphon.generation.attention.maps import AttentionMaps
from antiphon.generation.attention.of_texts import maps_of_pair
from antiphon.generation.ensemble import check_one
from antiphon.generation.languages import speaking, target_special_tokens
from antiphon.generation.model_repr import ModelRepr
from antiphon.generation.other_names import OtherToolkitNames
from antiphon.generation.quantize import check_quantize, check_whole
from antiphon.generation.quantize import quantize as quantize_network
from antiphon.generation.requests import listed, read_inputs, with_limits
from antiphon.generation.restricting import ConstraintBuilder
from antiphon.generation.scoring import scores_of
from antiphon.inputs import InputKind, input_kind
from antiphon.inputs.text import texts_of
from antiphon.models.families import Inexpressible
from antiphon.models.folders.account import LoadReport
from antiphon.models.folders.checkpoint import Parts, save_model_folder
from antiphon.models.folders.hub import save_pretrained
from antiphon.runtime.runtime import Runtime
from antiphon.settings import override, show
from antiphon.text import Tokenizer

Input = str | Path | Iterable[object]  # a text; of speech the path of a .wav file, or samples
Inputs = Input | Iterable[Input]
MAX_OTHERS = 8  # models for other languages that are kept


class Model(ModelRepr, OtherToolkitNames):
    """A network with its tokenizers and search settings.

        model = Model(network, tokenizer)                       # a network built by hand; one tokenizer for both sides
        model = Model(network, source_tokenizer, target_tokenizer, generation={"beam_size": 4})

    `labels` are the answers of a classification; `generation` are the default search settings. The network is not
    copied: further training of it changes the answers. Raises ModelError if the tokenizers have more ids than the
    network's tables have rows.
    """

    def __init__(
        self,
        network: nn.Module,
        tokenizer: Tokenizer | Sequence[Tokenizer],
        target_tokenizer: Tokenizer | None = None,
        *,
        task: str = "text",
        labels: Sequence[str] | Mapping[str, str] = (),
        generation: GenerationConfig | Mapping[str, object] | None = None,
    ) -> None:
        task = "classification" if labels and task == "text" else task
        made = assemble(network, tokenizer, target_tokenizer, task=task, labels=labels, generation=generation)
        self._hold(made)

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        """The model with the parts of a model folder."""
        model = cls.__new__(cls)
        model._hold(parts)
        return model

    def _hold(self, parts: Parts) -> None:
        self._base_parts, self.parts, self.network = parts, speaking(parts), parts.network
        self.runtime = Runtime(parts.network)
        self.source_tokenizer, self.target_tokenizer = self.parts.source_tokenizer, self.parts.target_tokenizer
        self.special_tokens = target_special_tokens(self.parts)
        self.restrictor = ConstraintBuilder(self.target_tokenizer, self.special_tokens, self.network.vocab_size)
        kind = input_kind(self.parts.model.family, self.parts.model.input_settings)
        self.input_kind: InputKind[Any] = kind.with_tokenizer(
            self.source_tokenizer, template=parts.template, prefixes=parts.prefixes
        )
        self._others: dict[tuple[str | None, str | None], Model] = {}  # for other languages

    @property
    def tokenizer(self) -> Tokenizer:
        """The source's tokenizer, which is the target's too unless the model has two."""
        return self.source_tokenizer

    @property
    def labels(self) -> list[str]:
        """The answers of a classification, in the order of the data's labels; empty for every other task."""
        return list(dict.fromkeys(self.parts.labels.values()))

    @property
    def task(self) -> str:
        """The task that the model was trained for, by its name in a recipe."""
        return self.parts.task

    @property
    def label_texts(self) -> Mapping[str, str]:
        """The answer for each label of a classification's data; empty for every other task."""
        return self.parts.labels

    @property
    def account(self) -> LoadReport | None:
        """The weights that were loaded from the folder, are new, or were dropped; None if none were loaded."""
        return self.parts.account

    @property
    def generation(self) -> GenerationConfig:
        """The default search settings."""
        return self.parts.generation

    def speaking(self, source_language: str | None = None, target_language: str | None = None) -> Model:
        """The same model for sources and answers in these languages, to score or save; None: the folder's default.

        ConfigError, with the nearest codes, for an unknown language.
        """
        return self.in_languages_of(
            override(self.generation, {"source_language": source_language, "target_language": target_language})
        )

    def in_languages_of(self, config: GenerationConfig) -> Model:
        """The model for the languages in `config`: `self`, another one that was made before, or a new one."""
        languages = config.source_language, config.target_language
        if languages == (self.generation.source_language, self.generation.target_language):
            return self
        with self.runtime.lock:
            if languages not in self._others:
                own = replace(self.generation, source_language=languages[0], target_language=languages[1])
                made = Model.from_parts(replace(self._base_parts, generation=own))
                made.runtime = self.runtime
                if len(self._others) >= MAX_OTHERS:
                    self._others.pop(next(iter(self._others)))
                self._others[languages] = made
            return self._others[languages]

    def generate(self, texts: Inputs, *, first_row: int = 0, **settings: object) -> Answers:
        """One answer for each input, in their order; a model of speech takes paths of .wav files and arrays of samples.

        `first_row` is the row of the first text in a larger input that is processed in parts: sampling depends on the
        row, and errors name it. Raises ConfigError for a wrong setting, DataError for a text that is too long.
        """
        with self.runtime.lock:
            return Answers(answers_of(self, texts, settings, first_row=first_row))

    def stream(self, text: Input, *, first_row: int = 0, **settings: object) -> Iterator[str]:
        """The answer's text in pieces as soon as they are final, with beam search too; joined they are `.text`."""
        self.input_kind.check_single(text)
        return pieces_of(self, text, settings, first_row=first_row)

    def score(
        self,
        sources: Inputs,
        targets: str | Sequence[str],
        *,
        overflow: str | None = None,
        max_source_tokens: int | None = None,
        prompt: str | Sequence[str | None] | None = None,
    ) -> list[float]:
        """For each pair the sum of the log-probabilities of the target's tokens and its end token, in nats.

        `overflow` and `max_source_tokens` are those of `generate` (None: the model's own), except that a source is
        never split. `prompt` is the text before each target, or one for each, which the scores leave out.
        """
        config = with_limits(self.generation, overflow, max_source_tokens)
        if prompt is not None:
            config = override(config, {"prompt": prompt if isinstance(prompt, str) else tuple(prompt)})
        sources = listed(sources)
        rows, prompts = read_inputs(self, sources, "sources", config)
        return scores_of(self, rows, texts_of(targets, "targets"), config=config, prompts=prompts)

    def attention(
        self,
        source: object,
        target: str | None = None,
        *,
        overflow: str | None = None,
        max_source_tokens: int | None = None,
        prompt: str | None = None,
    ) -> AttentionMaps:
        """The attention weights of every layer and head for one pair; without a target, for the model's own answer.
        The source is a text, or an image of a model of images.

        They are available with every back end. `overflow` and `max_source_tokens` are those of `generate` (None: the
        model's own), except that a source is never split. `truncate` cuts a source that is too long. With `window` the
        maps cover the whole source, and in the encoder's map a token's row is zero outside of its window. `prompt` is
        the text before the answer to an image or a recording, whose tokens have rows too. DataError for an empty
        source, or a text that is too long, ModelError for an ensemble.
        """
        limits: dict[str, Any] = {"overflow": overflow, "max_source_tokens": max_source_tokens}
        return maps_of_pair(self, source, target, prompt=prompt, **limits)

    def ctc_alignment(self, source: Input, target: str | None = None) -> CTCAlignment:
        """Which frames of the encoder's output belong to which tokens of `target`, by the CTC head (`model.ctc`).

        Without a target, of the text that the frames spell without the decoder. DataError for a target of more tokens
        than frames, ModelError for a model without the head, or an ensemble.
        """
        return ctc_alignment_of(self, source, target, config=self.generation)

    def quantize(self, kind: str = "int8") -> Model:
        """The same model with a copy of the network with 8-bit weights, for faster answers on a CPU.

        The copy cannot be trained, saved or exported; this model does not change. ConfigError for another `kind` or
        device.
        """
        dtype = next(self.network.parameters()).dtype
        check_quantize(kind, device=self.network.device, dtype=dtype)
        network = copy.deepcopy(self.network).eval()
        network.frozen = True
        quantize_network(network)
        return Model.from_parts(replace(self._base_parts, network=network))

    def save(self, folder: str | Path, format: str = "antiphon") -> Path:
        """Write a model folder that `load` reads; with `format` "huggingface", one that transformers reads too.

        ModelError if no family of checkpoints can express it, or no setting describes a network built by hand.
        """
        if format not in ("antiphon", "huggingface"):
            raise ModelError(f"`format` must be antiphon or huggingface, but is {show(format)}.")
        check_one(self.parts, folder)
        check_whole(self.network, "saving a model")
        if format == "antiphon":
            return save_model_folder(folder, self.parts)
        try:
            return save_pretrained(folder, self.parts)
        except Inexpressible as error:
            raise Inexpressible(error.what, "Save it without `format`.") from error
