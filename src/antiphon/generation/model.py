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
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from torch import Tensor, nn

from antiphon.config import GenerationConfig
from antiphon.errors import ConfigError, DataError, ModelError
from antiphon.generation.answers import Answers, Generation
from antiphon.generation.assemble import assemble
from antiphon.generation.classification import classify
from antiphon.generation.ensemble import Ensemble, check_one
from antiphon.generation.inputs import check_pairs, texts_of
from antiphon.generation.languages import answer_ids, marks_of, speaking
from antiphon.generation.long_inputs.joining import join_answers, stream_texts
from antiphon.generation.long_inputs.leading_text import asks_nothing, framed
from antiphon.generation.long_inputs.overflow import pieces_of, prepare
from antiphon.generation.maps import AttentionMaps, attention_maps
from antiphon.generation.model_repr import ModelRepr
from antiphon.generation.other_names import OtherToolkitNames
from antiphon.generation.quantize import check_quantize, check_whole
from antiphon.generation.quantize import quantize as quantize_network
from antiphon.generation.restricting import ConstraintBuilder, check_parts, restrict
from antiphon.models.families import Inexpressible
from antiphon.models.folders.account import LoadReport
from antiphon.models.folders.checkpoint import Parts, save_model_folder
from antiphon.models.folders.hub import save_pretrained
from antiphon.search import engine
from antiphon.search.hypotheses import Hypothesis
from antiphon.search.limits import check_source, source_limit
from antiphon.settings import override, show
from antiphon.text import Tokenizer, clean_text

if TYPE_CHECKING:
    from antiphon.generation.hearing import SpeechFeatures

Input = str | Path | Iterable[object]  # a text; to a model that hears the path of a .wav file, or samples
Inputs = Input | Iterable[Input]
Part = list[int] | Tensor


class Model(ModelRepr, OtherToolkitNames):
    """A network with its tokenizers and search settings.

        model = Model(network, tokenizer)                       # a network made by hand; one tokenizer for both sides
        model = Model(network, source_tokenizer, target_tokenizer, generation={"beam_size": 4})

    `labels` are the answers of a classification; `generation` are search settings, used where none are given. The
    network is not copied: what it learns later shows in the answers. Raises ModelError where the tokenizers have ids
    that the network's tables do not.
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
        """The model of what a model folder holds."""
        model = cls.__new__(cls)
        model._hold(parts)
        return model

    def _hold(self, parts: Parts) -> None:
        self._silent, self.parts, self.network = parts, speaking(parts), parts.network
        self.source_tokenizer, self.target_tokenizer = self.parts.source_tokenizer, self.parts.target_tokenizer
        self.marks = marks_of(self.parts)
        family = self.parts.model.family
        self.hearing: SpeechFeatures | None = None
        if family is not None and family.speech is not None:
            from antiphon.generation.hearing import (
                SpeechFeatures,  # not above: it brings the data's part, which few need
            )

            self.hearing = SpeechFeatures(family.speech)
        self._other: Model | None = None

    @property
    def tokenizer(self) -> Tokenizer:
        """The source's tokenizer, which is the target's too unless the model has two."""
        return self.source_tokenizer

    @property
    def labels(self) -> list[str]:
        """What a classification may answer, in the order of the data's labels; empty for every other task."""
        return list(dict.fromkeys(self.parts.labels.values()))

    @property
    def task(self) -> str:
        """What the model was trained for, as a recipe names it."""
        return self.parts.task

    @property
    def label_texts(self) -> Mapping[str, str]:
        """The answer that stands for each label of a classification's data; empty for every other task."""
        return self.parts.labels

    @property
    def account(self) -> LoadReport | None:
        """Which weights of the folder were kept, which are new, which dropped; None where none was loaded."""
        return self.parts.account

    @functools.cached_property
    def restrictor(self) -> ConstraintBuilder:
        """Makes what `allowed`, `required` and `forbidden` say of an answer."""
        return ConstraintBuilder(self.target_tokenizer, self.marks, self.network.vocab_size)

    @property
    def generation(self) -> GenerationConfig:
        """The search settings that are used where none are given."""
        return self.parts.generation

    def speaking(self, source_language: str | None = None, target_language: str | None = None) -> Model:
        """The same model for texts or speech in these languages, to score or save; None: as its folder says.

        ConfigError, with the nearest codes, for a language that the model lacks.
        """
        return self._speaking(
            override(self.generation, {"source_language": source_language, "target_language": target_language})
        )

    def _speaking(self, config: GenerationConfig) -> Model:
        """The model for the languages in `config`: itself, the last other one, or a new one."""

        def languages(of: GenerationConfig) -> tuple[str | None, str | None]:
            return of.source_language, of.target_language

        if languages(config) == languages(self.generation):
            return self
        if self._other is None or languages(config) != languages(self._other.generation):
            source, target = languages(config)
            kept = replace(self.generation, source_language=source, target_language=target)
            self._other = Model.from_parts(replace(self._silent, generation=kept))
        return self._other

    def generate(self, texts: Inputs, *, first_row: int = 0, **settings: object) -> Answers:
        """One answer for each text, in their order; a model that hears takes paths of .wav files and arrays of samples.

        `first_row` is the place of the first text in what is read piece by piece: sampling depends on the row, and
        errors name it. Raises ConfigError for a wrong setting, DataError for a text that is too long.
        """
        config = override(self.generation, settings)
        return Answers(self._speaking(config)._answers(texts, config, first_row))

    def _answers(self, texts: Inputs, config: GenerationConfig, first_row: int) -> list[Generation]:
        """The answers of `generate`, in this model's languages."""
        rows = self._inputs(texts, "texts", config, names=first_row > 0)
        if self.labels:
            return classify(self, [str(row) for row in rows], self.labels, config, first_row=first_row)
        sources = self._sources(rows, config, first_row)
        if self.hearing is None:
            found = engine.answer(self.network, sources, config, self.marks)
        else:
            found = self.hearing.answer(self.network, sources, config, self.marks)
        parts: list[list[list[Hypothesis]]] = [[] for _ in rows]
        gaps: list[list[str]] = [[] for _ in rows]
        for source, hypotheses in zip(sources, found, strict=True):
            parts[source.row - first_row].append(hypotheses)
            gaps[source.row - first_row].append(source.gap)
        prompt = 0 if self.hearing is None else self.hearing.speech.prompt_length
        pairs = zip(parts, gaps, strict=True)
        return [join_answers(*pair, tokenizer=self.target_tokenizer, prompt_length=prompt) for pair in pairs]

    def stream(self, text: Input, *, first_row: int = 0, **settings: object) -> Iterator[str]:
        """The answer's text in pieces as they become certain, under beam search too; joined they are `.text`."""
        if not isinstance(text, str) and self.hearing is None:
            raise DataError(f"`text` must be one text, but is {show(text)}. Call `generate` for several.")
        config = override(self.generation, settings)
        if self.labels:
            return iter([answer.text for answer in self.generate(text, first_row=first_row, **settings)])
        model = self._speaking(config)
        sources = model._sources(model._inputs([text], "text", config), config, first_row)
        each = [model.marks] * len(sources)
        if model.hearing is not None:
            each = model.hearing.marks(model.network, sources, model.marks)
        pairs = zip(sources, each, strict=True)
        runs = [(engine.stream(model.network, one, config, marks), one.gap) for one, marks in pairs]
        return stream_texts(runs, model.target_tokenizer)

    def score(
        self,
        sources: Inputs,
        targets: str | Sequence[str],
        *,
        overflow: str | None = None,
        max_source_tokens: int | None = None,
    ) -> list[float]:
        """For each pair the sum of the log-probabilities of the target's tokens and its end, in nats.

        `overflow` and `max_source_tokens` are those of `generate` (None: the model's own), but that a source is never
        split.
        """
        config = self._reading(overflow, max_source_tokens)
        inputs, outputs = self._inputs(sources, "sources", config), texts_of(targets, "targets")
        check_pairs(inputs, outputs)
        tokenizer, most = self.source_tokenizer, self.network.max_length
        how, limit = "error" if config.overflow == "split" else config.overflow, source_limit(self.network, config)
        spelled = (
            answer_ids(outputs, self.target_tokenizer, self.marks)
            if self.hearing is None
            else self.target_tokenizer.encode_batch(outputs)
        )
        for row, ids in enumerate(spelled):
            engine.check_length(ids, most, what=f"target {row + 1}")
        if self.hearing is not None:
            clips = [clip for clip in inputs if isinstance(clip, Tensor)]
            ended = [[*self.target_tokenizer.visible(ids), self.marks.end] for ids in spelled]
            return self.hearing.scores(self.network, clips, ended, self.marks, overflow=how)
        texts = [text for text in inputs if isinstance(text, str)]
        read = [
            prepare(text, ids, tokenizer=tokenizer, limit=limit, overflow=how, row=row, most=most)[0]
            for row, (text, ids) in enumerate(zip(texts, tokenizer.encode_batch(texts), strict=True))
        ]
        # Nothing answered by nothing is what `generate` gives without asking the model.
        asked = [row for row in range(len(texts)) if not asks_nothing(texts[row], self.parts.fronts) or outputs[row]]
        pairs = [(read[row], spelled[row]) for row in asked]
        scores = [0.0] * len(texts)
        found = engine.forced_scores(self.network, pairs, self.marks, window=limit)
        for row, score in zip(asked, found, strict=True):
            scores[row] = score
        return scores

    def _reading(self, overflow: str | None, max_source_tokens: int | None) -> GenerationConfig:
        """The search settings with another way to read long sources."""
        asked = {"overflow": overflow, "max_source_tokens": max_source_tokens}
        return override(self.generation, {name: value for name, value in asked.items() if value is not None})

    def attention(
        self,
        source: str,
        target: str | None = None,
        *,
        overflow: str | None = None,
        max_source_tokens: int | None = None,
    ) -> AttentionMaps:
        """The attention weights of every layer and head for one pair; without a target, for the model's own answer.

        They are there whatever back end computes the answers. `overflow` and `max_source_tokens` are those of
        `generate` (None: the model's own), but that a source is never split: `truncate` cuts one that is too long,
        under `window` its maps are whole, and a token's row in the encoder's is zero outside of the window that it was
        read in. DataError for an empty source, or a text that is too long, ModelError for an ensemble.
        """
        if self.hearing is not None:
            raise ModelError("attention is looked at in a model that reads text, but this one hears. Load another.")
        for name, text in (("source", source), ("target", "" if target is None else target)):
            if not isinstance(text, str):
                raise DataError(f"`{name}` must be one text, but is {show(text)}.")
        if isinstance(self.network, Ensemble):
            raise ModelError("attention is looked at in one model, but this is an ensemble. Load one of its members.")
        most, config = self.network.max_length, self._reading(overflow, max_source_tokens)
        source = str(self._inputs(source, "source", config)[0])
        if config.overflow not in ("truncate", "window"):
            config = override(config, {"overflow": "error"})
            remedy, ids = "Shorten it, or ask for `overflow` truncate or window", self.source_tokenizer.encode(source)
            limit = source_limit(self.network, config)
            check_source(ids, limit, most=most, row=0, what="the source", remedy=remedy)
        asked = self._sources([source], config, 0)
        if not asked:
            raise DataError(f"`source` must hold a token to look at, but {show(source)} has none.")
        if target is None and self.labels:
            long = {"overflow": config.overflow, "max_source_tokens": config.max_source_tokens}
            target = self.generate(source, **long)[0].text
        if target is None:
            answer = engine.answer(self.network, asked, config, self.marks)[0][0].ids
        else:
            answer = answer_ids([clean_text(target)], self.target_tokenizer, self.marks)[0]
            engine.check_length(answer, most, what="the target")
        if not answer:
            raise DataError(f"`target` must hold a token to look at, but {show(target)} has none.")
        read = asked[0].ids
        assert isinstance(read, list)
        return attention_maps(self, read, answer, window=source_limit(self.network, config))

    def quantize(self, kind: str = "int8") -> Model:
        """The same model with a copy of the network whose weights have eight bits, for faster answers on a CPU.

        The copy is not trained, saved or exported; this model stays as it is. ConfigError for another `kind` or device.
        """
        check_quantize(kind, device=self.network.device, dtype=self.network.output.weight.dtype)
        network = copy.deepcopy(self.network).eval()
        network.settled = True
        quantize_network(network)
        return Model.from_parts(replace(self._silent, network=network))

    def save(self, folder: str | Path, format: str = "antiphon") -> Path:
        """Write a model folder that `load` reads; with `format` "huggingface", one that transformers reads too.

        ModelError where no family of checkpoints can express it, or a network made by hand has what no setting says.
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

    def _inputs(
        self, inputs: object, what: str, config: GenerationConfig, *, names: bool = True
    ) -> Sequence[str | Tensor]:
        """The inputs as a list: texts, in the template of training, or the samples of a model that hears."""
        if self.hearing is not None:
            return self.hearing.clips(inputs, what)
        return framed(texts_of(inputs, what, names=names), self.parts.template if config.template else "")

    def _sources(
        self, rows: Sequence[str | Tensor], config: GenerationConfig, first_row: int
    ) -> list[engine.SourceInput]:
        """What the engine is asked: nothing for an empty text or clip, several parts for one that is split."""
        prefixes = self._prefixes(config.prefix, len(rows))
        restrictions = restrict(config, self.restrictor, count=len(rows), first_row=first_row)
        sources: list[engine.SourceInput] = []
        for i, (parts, gaps) in enumerate(self._parts(rows, config, first_row)):
            row = first_row + i
            if parts:
                check_parts(restrictions[i], len(parts), row=row)
            # A prefix begins the whole answer, so that only the first part has it.
            sources += [
                engine.SourceInput(part, row, n, () if n else prefixes[i], restrictions[i], gap)
                for n, (part, gap) in enumerate(zip(parts, gaps, strict=True))
            ]
        return sources

    def _parts(
        self, rows: Sequence[str | Tensor], config: GenerationConfig, first_row: int
    ) -> Sequence[tuple[Sequence[Part], Sequence[str]]]:
        """For each row the parts in which it is answered, none where it is empty, and what stood before each."""
        overflow = config.overflow
        if self.hearing is not None:
            if config.max_source_tokens is not None:
                raise ConfigError("`max_source_tokens` must be left out for a model that hears, but is given.")
            clips = [row for row in rows if isinstance(row, Tensor)]
            heard = [self.hearing.parts(clip, overflow=overflow, row=row) for row, clip in enumerate(clips, first_row)]
            return [(parts, [" "] * len(parts)) for parts in heard]
        limit, most = source_limit(self.network, config), self.network.max_length
        tokenizer, fronts = self.source_tokenizer, self.parts.fronts
        back = self.parts.template.partition("{}")[2]
        texts, around = [row for row in rows if isinstance(row, str)], sum(map(len, tokenizer.frame))
        read = functools.partial(
            pieces_of, tokenizer=tokenizer, limit=limit, overflow=overflow, fronts=fronts, back=back, most=most
        )
        return [
            ([], []) if len(ids) <= around or asks_nothing(text, fronts) else read(text, ids, row=row)
            for row, (text, ids) in enumerate(zip(texts, tokenizer.encode_batch(texts), strict=True), first_row)
        ]

    def _prefixes(self, prefix: str | tuple[str | None, ...] | None, count: int) -> list[tuple[int, ...]]:
        """The ids with which the answer of each of `count` rows begins."""
        rows = prefix if isinstance(prefix, tuple) else (prefix,) * count
        if len(rows) != count:
            raise ConfigError(f"`prefix` must be one text, or one for each of the {count} inputs, but has {len(rows)}.")
        known: dict[str | None, tuple[int, ...]] = {None: (), "": ()}
        for text in rows:
            if text is not None and text not in known:
                ids = self.marks.bare(answer_ids([text], self.target_tokenizer, self.marks)[0])
                known[text] = tuple(id for id in ids if id != self.marks.end)
        return [known[text] for text in rows]
